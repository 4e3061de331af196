from typing import Any

import pytest

from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, Ready
from bedrock_batch_assets_tests.local_aws_fixture import FAST, LocalAws


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_record": 1}, "min_record"),
        ({"min_records": -1}, "min_records"),
        ({"min_records": "many"}, "min_records"),
        ({"seconds": {"Submited": 1}}, "Submited"),
        ({"seconds": {"Submitted": -1}}, "seconds.Submitted"),
        ({"clock": "fast"}, "clock"),
        ({"record_faults": {"error": 1.5}}, "record_faults.error"),
        ({"record_faults": {"error": 0.6, "missing": 0.6}}, "more than 1"),
        ({"job_endings": [{"status": "Done"}]}, "status"),
        ({"job_endings": [{"name": "x"}]}, "status"),
        ({"api_faults": [{"operation": "PutObject"}]}, "code is missing"),
        ({"api_faults": [{"operation": "PutObject", "code": "Odd"}]}, "Odd"),
        ({"api_faults": [{"operation": "PutObject", "code": "Odd", "status": 200}]}, "status"),
        ({"api_faults": [{"operation": "PutObject", "code": "drop", "when": "during"}]}, "when"),
        ({"event_faults": {"drop": 0.6, "twice": 0.6}}, "more than 1"),
        ({"request_rates": {"*": 0}}, "request_rates"),
        ([], "JSON object"),
    ],
)
def test_settings_that_do_not_fit_are_refused(local_aws: LocalAws, change: Any, message: str) -> None:
    """A wrong name or value is 400 with a message that names it, and nothing is changed."""
    before = local_aws.settings()
    status, answer = local_aws.request("PUT", "settings", change)
    assert status == 400
    assert message in answer["message"]
    assert local_aws.settings() == before


def test_a_change_of_settings_leaves_the_others(local_aws: LocalAws) -> None:
    """Single steps can be set, lists are replaced, and the answer has all settings."""
    local_aws.put_settings({"min_records": 5, "job_endings": [{"status": "Failed"}]})
    after = local_aws.put_settings({"seconds": {"InProgress": 9}, "job_endings": []})
    assert after["min_records"] == 5
    assert after["job_endings"] == []
    assert after["seconds"] == {"per_record": 0.0, **FAST["seconds"], "InProgress": 9}
    assert local_aws.settings() == after


def test_reset_forgets_everything(ready: Ready) -> None:
    """After a reset there are no jobs, bills, calls, objects, roles or queues, and settings are as at the start."""
    first = ready.aws.settings()
    ready.aws.client("sqs").create_queue(QueueName="q")
    ready.aws.wait_for_job(ready.submit())
    ready.aws.put_settings({"min_records": 1, "clock": "manual"})
    ready.aws.reset()
    assert ready.aws.jobs() == []
    assert ready.aws.max_in_flight() == {}
    assert ready.aws.ledger() == []
    assert ready.aws.calls() == {}
    assert ready.aws.settings() == first
    assert ready.aws.client("s3").list_buckets()["Buckets"] == []
    assert ready.aws.client("iam").list_roles()["Roles"] == []
    assert "QueueUrls" not in ready.aws.client("sqs").list_queues()


def test_calls_are_counted_by_operation(ready: Ready) -> None:
    """Each API call counts, of every service; the control endpoint does not."""
    before = ready.aws.calls()
    s3 = ready.aws.client("s3")
    s3.put_object(Bucket="data", Key="x", Body=b"1")
    s3.head_object(Bucket="data", Key="x")
    ready.aws.client("bedrock").list_model_invocation_jobs()
    ready.aws.client("sqs").list_queues()
    ready.aws.client("sts").get_caller_identity()
    after = ready.aws.calls()
    new = {name: number - before.get(name, 0) for name, number in after.items() if number != before.get(name, 0)}
    assert new == {
        "PutObject": 1, "HeadObject": 1, "ListModelInvocationJobs": 1, "ListQueues": 1, "GetCallerIdentity": 1,
    }  # fmt: skip


def test_the_ledger_names_job_and_record(ready: Ready) -> None:
    """Each entry of the ledger tells whose record it is; entries can be had for one job."""
    first, second = ready.submit(jobName="one"), ready.submit(jobName="two")
    for arn in (first, second):
        ready.aws.wait_for_job(arn)
    status, answer = ready.aws.request("GET", f"ledger?jobArn={first}")
    assert status == 200
    assert len(answer["records"]) == 100
    entry = answer["records"][0]
    assert (entry["jobArn"], entry["jobName"], entry["mode"], entry["modelId"]) == (first, "one", "batch", HAIKU)
    assert entry["recordId"].startswith("rec")
    assert len(entry["digest"]) == 64
    assert len(ready.aws.ledger()) == 200


def test_unknown_requests_are_told_what_there_is(local_aws: LocalAws) -> None:
    """A wrong path is 404, a wrong method 405, time that cannot be moved 400."""
    assert local_aws.request("GET", "nothing")[0] == 404
    assert local_aws.request("POST", "jobs")[0] == 405
    status, answer = local_aws.request("POST", "advance", {"seconds": 1})
    assert (status, "manual" in answer["message"]) == (400, True)
    local_aws.put_settings({"clock": "manual"})
    assert local_aws.request("POST", "advance", {"seconds": -1})[0] == 400
    assert local_aws.request("POST", "advance", {})[0] == 400
