"""Credentials that cannot be used: real boto3 sessions on real files, real answers of the stand-in, one line each."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from bedrock_batch_assets.errors import (
    AccessDeniedError,
    BatchError,
    ConfigurationError,
    CredentialsError,
    LapsedCredentialsError,
)
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.aws_files import AwsFiles
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU

BODY: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}
CALLS: dict[str, Callable[[], object]] = {
    "HEAD": lambda: BatchStorage(bucket="data", max_attempts=1).objects.head("key"),
    "GET": lambda: BatchStorage(bucket="data", max_attempts=1).objects.get_bytes("key"),
    "jobs": lambda: list(BedrockBatchJobs(max_attempts=1).list()),
    "on demand": lambda: OnDemand().invoke(HAIKU, "InvokeModel", BODY),
}


def failure(call: str) -> BatchError:
    """What a person gets for a call to AWS: one line."""
    with pytest.raises(BatchError) as raised:
        CALLS[call]()
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    return raised.value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "status", "message", "words"),
    [
        ("expired", None, "", "have expired.*renew them"),
        (
            "UnrecognizedClientException",
            403,
            "The security token included in the request is invalid.",
            "not know.*renew",
        ),
        ("InvalidClientTokenId", 403, "The security token included in the request is invalid.", "not know.*renew"),
        (
            "InvalidSignatureException",
            403,
            "The request signature we calculated does not match",
            "signature.*secret key",
        ),
        ("RequestExpired", 400, "Request has expired.", "have expired.*renew them"),
        ("RequestTimeTooSkewed", 403, "The difference between the request time", "clock of this machine.*NTP"),
        ("InvalidSignatureException", 403, "Signature expired: x is now earlier than y", "clock of this machine.*NTP"),
        ("SignatureDoesNotMatch", 403, "Signature not yet current: x is still later than y", "clock of this machine"),
    ],
)
def test_a_refusal_of_the_credentials_says_what_it_is(
    local_aws: LocalAws, call: str, code: str, status: int | None, message: str, words: str
) -> None:
    """Each service's refusal names what was asked, AWS's code and what to do, also if a HEAD has no code at all."""
    local_aws.create_bucket("data")
    fault = {"operation": "*", "code": code, "status": status, "message": message}
    local_aws.put_settings({"api_faults": [fault]})
    error = failure(call)
    assert isinstance(error, LapsedCredentialsError)
    text = str(error)
    assert re.search(words, text), text
    assert message.rstrip(".") in text
    assert ("ExpiredToken" if code == "expired" else code) in text


def test_no_credentials_at_all(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """Without any credentials the line says where they are looked for."""
    for call in CALLS:
        error = failure(call)
        assert type(error) is CredentialsError
        assert "There are no AWS credentials: set AWS_PROFILE" in str(error)
    assert local_aws.calls() == {}


def test_a_profile_that_is_not_there(local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the profile and those that there are."""
    aws_files.config.write_text("[profile research]\nregion = us-east-1\n[profile prod]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_PROFILE", "reserach")
    for call in CALLS:
        error = failure(call)
        assert type(error) is CredentialsError
        assert "no AWS profile 'reserach' in ~/.aws" in str(error)
        assert "choose one of prod, research" in str(error)


def test_half_of_the_credentials(local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names what is missing, and where: in the file, or in the environment."""
    aws_files.credentials.write_text("[default]\naws_access_key_id = key\n")
    assert "~/.aws/credentials lacks aws_secret_access_key" in str(failure("HEAD"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert "environment variables lack AWS_SECRET_ACCESS_KEY" in str(failure("jobs"))


def test_a_file_that_cannot_be_parsed(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """The line names the file."""
    aws_files.config.write_text("[default\nregion us-east-1\n")
    assert str(aws_files.config) in str(failure("HEAD"))


def test_sso_without_a_sign_in(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """Nobody has signed in: the line names the command."""
    aws_files.write_sso_profile()
    error = failure("HEAD")
    assert isinstance(error, LapsedCredentialsError)
    assert "SSO sign-in of the default AWS profile is missing or has expired" in str(error)
    assert "run `aws sso login`" in str(error)


def test_sso_whose_sign_in_has_expired(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """The token of the last sign-in is too old: the line names the command."""
    aws_files.write_sso_profile()
    aws_files.sign_in("2020-01-01T00:00:00Z")
    assert "run `aws sso login`" in str(failure("jobs"))


def test_an_sso_session_without_a_token(
    local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of the newer kind, with a session of its own, is named with its option."""
    aws_files.config.write_text(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Analyst\n"
        "[sso-session corp]\nsso_start_url = https://nobody.awsapps.com/start\nsso_region = us-east-1\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "dev")
    assert "run `aws sso login --profile dev`" in str(failure("GET"))


ROLE = "arn:aws:iam::999999999999:role/Batch"
ROLE_PROFILE = f"[profile base]\n[default]\nrole_arn = {ROLE}\nsource_profile = base\n"
DENIAL = (
    f"User: arn:aws:iam::123456789012:user/me is not authorized to perform: sts:AssumeRole on resource: {ROLE} because "
    "no identity-based policy allows the sts:AssumeRole action"
)


@pytest.mark.parametrize("call", CALLS)
def test_a_role_that_may_not_be_assumed(local_aws: LocalAws, aws_files: AwsFiles, call: str) -> None:
    """The line names the role and sts:AssumeRole, with AWS's reason, and not the action that was never tried."""
    aws_files.config.write_text(ROLE_PROFILE)
    aws_files.write_keys("key", "base")
    fault = {"operation": "AssumeRole", "code": "AccessDenied", "message": DENIAL}
    local_aws.put_settings({"api_faults": [fault]})
    error = failure(call)
    assert isinstance(error, AccessDeniedError)
    assert f"may not assume the role {ROLE}. AWS says: {DENIAL}." in str(error)
    assert "allow sts:AssumeRole" in str(error)
    assert "bedrock:" not in str(error)


def test_a_role_whose_source_has_expired(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """The keys that assume the role have expired: the line says so, and names the role."""
    aws_files.config.write_text(ROLE_PROFILE)
    aws_files.write_keys("old", "base")
    local_aws.put_settings({"expired_access_keys": ["old"]})
    error = failure("jobs")
    assert isinstance(error, LapsedCredentialsError)
    assert ROLE in str(error)
    assert "have expired" in str(error)


def test_an_outage_of_sts_is_no_fault_of_the_credentials(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """If the role cannot be assumed at the moment, nobody is told to change anything."""
    aws_files.config.write_text(ROLE_PROFILE)
    aws_files.write_keys("key", "base")
    local_aws.put_settings({"api_faults": [{"operation": "AssumeRole", "code": "ServiceUnavailable", "status": 503}]})
    error = failure("HEAD")
    assert isinstance(error, LapsedCredentialsError)
    assert "at the moment" in str(error)


def test_a_missing_web_identity_file(local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that a cluster mounts is not there: the line names the file and the variable."""
    path = aws_files.folder / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    error = failure("HEAD")
    assert type(error) is CredentialsError
    assert f"web identity token file {path} cannot be read" in str(error)
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in str(error)


def test_a_web_identity_that_has_expired(
    local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is too old for STS: the line says who has to renew it."""
    path = aws_files.folder / "token"
    path.write_text("token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    fault = {
        "operation": "AssumeRoleWithWebIdentity",
        "code": "ExpiredTokenException",
        "status": 400,
        "message": "Token expired: current date/time 1 must be before the expiration date/time 0",
    }
    local_aws.put_settings({"api_faults": [fault]})
    error = failure("jobs")
    assert isinstance(error, LapsedCredentialsError)
    assert "web identity token" in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize(
    ("code", "words", "is_renewable"),
    [
        (
            "import sys; sys.exit('Your session\\nhas expired')",
            "failed (Your session has expired): run it by hand",
            True,
        ),
        ("import sys; sys.exit(1)", "failed without a word: run it by hand", True),
        ("print('Enter MFA code:')", "prints something else than the JSON", False),
        ("print('[]')", "prints something else than the JSON", False),
        ("print('{\"Version\": 2}')", "prints something else than AWS tools expect", False),
        ("print('{\"Version\": 1}')", "prints something else than AWS tools expect", False),
    ],
)
def test_a_broken_credential_process(
    local_aws: LocalAws, aws_files: AwsFiles, code: str, words: str, is_renewable: bool
) -> None:
    """A program that fails is quoted, and can be waited for; one that prints something else has to be mended."""
    aws_files.write_program(code)
    error = failure("HEAD")
    assert words in str(error)
    assert "credential_process of the default AWS profile" in str(error)
    assert isinstance(error, LapsedCredentialsError) == is_renewable


def test_a_credential_process_that_is_not_there(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """The line names the program."""
    aws_files.config.write_text("[default]\ncredential_process = /nowhere/get-keys --json\n")
    error = failure("HEAD")
    assert type(error) is CredentialsError
    assert "cannot be started (No such file or directory: /nowhere/get-keys)" in str(error)


def test_a_credential_process_that_gives_out_expired_keys(local_aws: LocalAws, aws_files: AwsFiles) -> None:
    """Keys whose time was over before they came are no RuntimeError."""
    keys = {
        "Version": 1,
        "AccessKeyId": "old",
        "SecretAccessKey": "secret",
        "SessionToken": "token",
        "Expiration": "2020-01-01T00:00:00Z",
    }
    aws_files.write_program(f"print({json.dumps(keys)!r})")
    error = failure("HEAD")
    assert isinstance(error, LapsedCredentialsError)
    assert "have expired, and their source gives out no newer ones" in str(error)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_REGION", "us east 1", "Check AWS_REGION"),
        ("AWS_ENDPOINT_URL", "localhost:4566", "AWS_ENDPOINT_URL"),
    ],
)
def test_a_place_that_is_none(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """A Region or an address that boto3 cannot use is one line that names the variable."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv(name, value)
    error = failure("HEAD")
    assert isinstance(error, ConfigurationError)
    assert words in str(error)


def test_no_region(local_aws: LocalAws, aws_files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Region the line names the variable."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    aws_files.write_keys("key")
    assert "set AWS_REGION" in str(failure("jobs"))
