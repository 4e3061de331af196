import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.settings import Settings, changed
from bedrock_batch_assets_tests.local_aws.conftest import Ready, records
from bedrock_batch_assets_tests.local_aws_fixture import refused


def run_job(ready: Ready, faults: dict[str, Any]) -> list[bytes]:
    """Run a job with record faults and return its output lines."""
    ready.aws.put_settings({"record_faults": faults})
    assert ready.aws.wait_for_job(ready.submit())["status"] == "Completed"
    files = ready.aws.read_outputs("s3://data/out/")
    return [line for name, text in files.items() if name.endswith("jsonl.out") for line in text.split(b"\n") if line]


def test_record_errors(ready: Ready) -> None:
    """A share of the records gets the error that is set, with a code as text and `retryable`; they are not billed."""
    fault = {"error": 0.4, "error_code": "500", "error_message": "try again", "error_retryable": True}
    lines = [json.loads(line) for line in run_job(ready, fault)]
    errors = [line["error"] for line in lines if "error" in line]
    assert 20 <= len(errors) <= 60
    assert errors[0] == {"errorCode": "500", "errorMessage": "try again", "retryable": True}
    assert len(ready.aws.ledger()) == 100 - len(errors)


def test_records_cut_short(ready: Ready) -> None:
    """A truncated record says so in its stop reason."""
    lines = [json.loads(line) for line in run_job(ready, {"truncate": 1})]
    assert {line["modelOutput"]["stop_reason"] for line in lines} == {"max_tokens"}


def test_records_that_go_missing(ready: Ready) -> None:
    """A missing record has no line, is not counted as processed, and not billed."""
    lines = run_job(ready, {"missing": 0.5})
    (job,) = ready.aws.jobs()
    assert 0 < len(lines) < 100
    assert len(lines) == job["processedRecordCount"] == len(ready.aws.ledger())
    assert job["totalRecordCount"] == 100


def test_records_that_come_twice(ready: Ready) -> None:
    """A doubled record has two equal lines and one entry in the bill."""
    lines = run_job(ready, {"twice": 1})
    assert len(lines) == 200
    assert len(set(lines)) == 100
    assert ready.aws.ledger_summary()["records"] == 100


def test_records_that_come_back_corrupt(ready: Ready) -> None:
    """A corrupt line is no JSON, and is billed."""
    lines = run_job(ready, {"corrupt": 1})
    for line in lines:
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)
    assert ready.aws.ledger_summary()["records"] == 100


def test_record_faults_follow_from_seed_content_and_try() -> None:
    """The same seed strikes the same records; a second try is drawn anew, unless faults are permanent."""
    settings = changed(Settings(), {"record_faults": {"error": 0.5}})
    digests = [bytes([i]) * 32 for i in range(200)]

    def struck(settings: Settings, tries: int) -> list[list[str | None]]:
        faults = Faults(settings)
        return [[faults.record(digest) for digest in digests] for _ in range(tries)]

    first, second = struck(settings, 2)
    assert struck(settings, 1) == [first]
    assert first != second
    assert 60 < first.count("error") < 140
    assert struck(changed(settings, {"seed": 1}), 1) != [first]
    permanent = struck(changed(settings, {"record_faults": {"permanent": True}}), 2)
    assert permanent[0] == permanent[1]


def test_a_fault_before_the_call_leaves_no_trace(ready: Ready) -> None:
    """An error before a Create means there is no job; it strikes as often as its count says."""
    ready.aws.put_settings(
        {"api_faults": [{"operation": "CreateModelInvocationJob", "code": "InternalServerException", "count": 1}]}
    )
    with refused("InternalServerException", status=500):
        ready.submit()
    assert ready.aws.jobs() == []
    ready.submit()
    assert len(ready.aws.jobs()) == 1


def test_a_fault_after_the_call_hides_what_was_done(ready: Ready) -> None:
    """An error after a Create means that the job exists although the caller saw a failure."""
    fault = {"operation": "CreateModelInvocationJob", "code": "ThrottlingException", "when": "after", "count": 1}
    ready.aws.put_settings({"api_faults": [fault]})
    with refused("ThrottlingException", status=429):
        ready.submit()
    assert [job["name"] for job in ready.aws.jobs()] == ["job"]


def test_a_dropped_connection_after_create(ready: Ready) -> None:
    """The connection closes without an answer, and the job exists; retried with its token it is the same job."""
    fault = {"operation": "CreateModelInvocationJob", "code": "drop", "when": "after", "count": 1}
    ready.aws.put_settings({"api_faults": [fault]})
    with pytest.raises(ConnectionClosedError):
        ready.submit(clientRequestToken="token-1")
    assert len(ready.aws.jobs()) == 1
    ready.submit(clientRequestToken="token-1")
    assert len(ready.aws.jobs()) == 1


def test_a_fault_strikes_its_operation_only_and_a_share_of_the_calls(ready: Ready) -> None:
    """With a share of one half some calls fail, and other operations never do."""
    fault = {"operation": "ListModelInvocationJobs", "code": "ThrottlingException", "share": 0.5}
    ready.aws.put_settings({"api_faults": [fault]})
    bedrock = ready.aws.client("bedrock", retries=False)
    outcomes = []
    for _ in range(40):
        try:
            bedrock.list_model_invocation_jobs()
            outcomes.append(True)
        except bedrock.exceptions.ThrottlingException:
            outcomes.append(False)
    assert 5 < sum(outcomes) < 35
    ready.submit()


@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [("PutObject", "SlowDown", 503), ("GetObject", "AccessDenied", 403), ("ListObjectsV2", "InternalError", 500)],
)
def test_faults_of_s3(ready: Ready, operation: str, code: str, status: int) -> None:
    """S3's operations can fail, too, with an error that boto3 reads."""
    ready.aws.put_settings({"api_faults": [{"operation": operation, "code": code}]})
    s3 = ready.aws.client("s3", retries=False)
    calls = {
        "PutObject": lambda: s3.put_object(Bucket="data", Key="x", Body=b""),
        "GetObject": lambda: s3.get_object(Bucket="data", Key="in/rows.jsonl"),
        "ListObjectsV2": lambda: s3.list_objects_v2(Bucket="data"),
    }
    with refused(code, status=status):
        calls[operation]()


@pytest.mark.parametrize(
    ("service", "operation", "call"),
    [
        ("sqs", "ListQueues", lambda client: client.list_queues()),
        ("events", "ListRules", lambda client: client.list_rules()),
        ("iam", "ListRoles", lambda client: client.list_roles()),
        ("sts", "GetCallerIdentity", lambda client: client.get_caller_identity()),
    ],
)
def test_faults_of_the_other_services(ready: Ready, service: str, operation: str, call: Any) -> None:
    """Each protocol's errors are read by boto3; without the fault the call works."""
    client = ready.aws.client(service, retries=False)
    call(client)
    ready.aws.put_settings({"api_faults": [{"operation": operation, "code": "AccessDenied", "message": "no"}]})
    with refused("AccessDenied", "no", status=403):
        call(client)


EXPIRED: dict[str, tuple[str, int, Callable[[Any], object]]] = {
    "s3": ("ExpiredToken", 400, lambda client: client.list_objects_v2(Bucket="data")),
    "bedrock": ("ExpiredTokenException", 403, lambda client: client.list_model_invocation_jobs()),
    "bedrock-runtime": ("ExpiredTokenException", 403, lambda client: client.invoke_model(modelId="m", body=b"{}")),
    "sqs": ("ExpiredToken", 403, lambda client: client.list_queues()),
    "sts": ("ExpiredToken", 403, lambda client: client.get_caller_identity()),
}


@pytest.mark.parametrize("service", EXPIRED)
@pytest.mark.parametrize(
    "setting", [{"expired_access_keys": ["local"]}, {"api_faults": [{"operation": "*", "code": "expired"}]}]
)
def test_expired_credentials(ready: Ready, service: str, setting: dict[str, Any]) -> None:
    """Each service answers expired credentials in its own words, by key or by operation."""
    code, status, call = EXPIRED[service]
    ready.aws.put_settings(setting)
    with refused(code, "expired", status=status):
        call(ready.aws.client(service, retries=False))


def test_a_head_of_expired_credentials_has_no_code(ready: Ready) -> None:
    """S3's answer to a HEAD has no body: boto3 sees the status alone."""
    ready.aws.put_settings({"expired_access_keys": ["local"]})
    with refused("400", "Bad Request", status=400):
        ready.aws.client("s3", retries=False).head_object(Bucket="data", Key="in/rows.jsonl")


def test_other_keys_are_accepted(ready: Ready) -> None:
    """Only the keys that are named have expired."""
    ready.aws.put_settings({"expired_access_keys": ["loca", "another"]})
    ready.aws.client("s3").list_objects_v2(Bucket="data")


def test_a_fault_that_lasts_for_some_time() -> None:
    """With `seconds`, a fault strikes each call for so long, from the first call that it strikes."""
    times = iter((2000.0, 2004.9, 2005.0, 9999.0))
    settings = changed(Settings(), {"api_faults": [{"operation": "PutObject", "code": "expired", "seconds": 5}]})
    faults = Faults(settings, now=lambda: next(times))
    assert [faults.api("PutObject") is not None for _ in range(4)] == [True, True, False, False]


def test_who_has_no_credentials_can_ask_for_a_role(ready: Ready) -> None:
    """AssumeRoleWithWebIdentity is not signed, and reaches STS all the same."""
    client = ready.aws.client("sts")
    role = client.assume_role_with_web_identity(
        RoleArn=ready.role, RoleSessionName="test", WebIdentityToken="a token of a cluster"
    )
    assert role["Credentials"]["AccessKeyId"]


def test_a_slow_call(ready: Ready) -> None:
    """A delay without a code makes a call slow, and it succeeds."""
    ready.aws.put_settings({"api_faults": [{"operation": "ListModelInvocationJobs", "delay_seconds": 0.3}]})
    started = time.perf_counter()
    ready.aws.client("bedrock").list_model_invocation_jobs()
    assert time.perf_counter() - started >= 0.3


def test_other_settings_do_not_restart_the_count_of_a_fault(ready: Ready) -> None:
    """A count that is used up stays so when something else is set."""
    ready.aws.put_settings(
        {"api_faults": [{"operation": "CreateModelInvocationJob", "code": "AccessDeniedException", "count": 1}]}
    )
    with refused("AccessDeniedException"):
        ready.submit()
    ready.aws.put_settings({"min_records": 10})
    ready.submit()


def test_a_share_of_jobs_ends_badly() -> None:
    """With a share, some jobs get the ending, the same ones for the same seed."""
    settings = changed(Settings(), {"job_endings": [{"status": "Failed", "share": 0.3}]})

    def endings() -> list[bool]:
        faults = Faults(settings)
        return [faults.ending(f"job-{index}") is not None for index in range(200)]

    assert 30 < sum(endings()) < 90
    assert endings() == endings()


def test_billing_the_same_record_twice_shows_in_the_summary(ready: Ready) -> None:
    """Two jobs of the same input are billed twice, and the ledger's summary names each digest."""
    ready.aws.wait_for_job(ready.submit())
    assert ready.aws.ledger_summary()["billedMoreThanOnce"] == {}
    ready.aws.wait_for_job(ready.submit())
    summary = ready.aws.ledger_summary()
    assert set(summary["billedMoreThanOnce"].values()) == {2}
    assert len(summary["billedMoreThanOnce"]) == len(records(100))
    assert (summary["records"], summary["distinctDigests"]) == (200, 100)
