"""Credentials in files, as people have them: `~/.aws/credentials`, `~/.aws/config`, programs and sign-ins."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from botocore.credentials import SSOProvider

_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
# botocore makes the id of a sign-in from this: hashlib.sha1(b"https://example.awsapps.com/start").
_START_URL = "https://example.awsapps.com/start"


class AwsFiles:
    """The files of one user, who has no AWS variables in the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.credentials = folder / "credentials"
        self.sign_ins = folder / "sso"
        self.sign_ins.mkdir()
        self.config.write_text("")
        self.credentials.write_text("")

    def write_keys(self, key: str, profile: str = "default") -> None:
        """Write temporary keys, as a sign-in tool does."""
        self.credentials.write_text(
            f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = secret\naws_session_token = token\n"
        )

    def write_program(self, code: str) -> None:
        """Let the default profile have a `credential_process` that runs some Python."""
        program = self.folder / "program.py"
        program.write_text(code)
        self.config.write_text(f"[default]\ncredential_process = {shlex.join([sys.executable, str(program)])}\n")

    def write_sso_profile(self) -> None:
        """Let the default profile be one of IAM Identity Center."""
        self.config.write_text(
            f"[default]\nsso_start_url = {_START_URL}\nsso_region = us-east-1\nsso_account_id = 123456789012\n"
            "sso_role_name = Analyst\n"
        )

    def sign_in(self, expires_at: str) -> None:
        """Leave the token that `aws sso login` leaves."""
        token = {"startUrl": _START_URL, "region": "us-east-1", "accessToken": "token", "expiresAt": expires_at}
        (self.sign_ins / "e8be5486177c5b5392bd9aa76563515b29358e6e.json").write_text(json.dumps(token))


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsFiles:
    """Empty files, which boto3 reads in this test instead of those of the user. Ask for `local_aws` before it."""
    files = AwsFiles(tmp_path)
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(files.config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files.credentials))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # botocore looks up the home folder when it is imported.
    monkeypatch.setattr(SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(files.sign_ins))
    return files
