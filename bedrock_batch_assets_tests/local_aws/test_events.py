import json
from typing import Any

from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, Ready

ACCOUNT = "123456789012"


def make_rule(ready: Ready, queue: str, pattern: dict[str, Any], state: str = "ENABLED") -> str:
    """A rule on the default bus that sends to a new queue; returns the queue's URL."""
    url: str = ready.aws.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    events = ready.aws.client("events")
    events.put_rule(Name=queue, EventPattern=json.dumps(pattern), State=state)
    events.put_targets(Rule=queue, Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}"}])
    return url


def received(ready: Ready, url: str) -> list[dict[str, Any]]:
    """All messages of a queue."""
    found: list[dict[str, Any]] = []
    while True:
        messages = ready.aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        if not messages:
            return found
        found += [json.loads(message["Body"]) for message in messages]


PATTERN = {"source": ["aws.bedrock"], "detail-type": ["Batch Inference Job State Change"]}


def test_a_rule_delivers_each_state_change_to_its_queue(slow: Ready) -> None:
    """Every status comes as an event in the documented form."""
    url = make_rule(slow, "all", PATTERN)
    arn = slow.submit(jobName="demo-1")
    slow.aws.advance(100)
    events = received(slow, url)
    assert [event["detail"]["status"] for event in events] == [
        "Submitted", "Validating", "Scheduled", "InProgress", "Completed",
    ]  # fmt: skip
    event = events[-1]
    assert event["version"] == "0"
    assert event["source"] == "aws.bedrock"
    assert event["detail-type"] == "Batch Inference Job State Change"
    assert (event["account"], event["region"], event["resources"]) == (ACCOUNT, "us-east-1", [arn])
    assert event["time"].split()[4] == "UTC"
    detail = event["detail"]
    assert detail.pop("creationTime").endswith(("AM", "PM"))
    assert detail == {
        "version": "0.0",
        "accountId": ACCOUNT,
        "batchJobName": "demo-1",
        "batchJobArn": arn,
        "batchModelId": f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}",
        "status": "Completed",
        "failureMessage": "",
    }
    assert len({event["id"] for event in events}) == 5


def test_patterns_match_status_and_name_prefix(slow: Ready) -> None:
    """A rule for some statuses of jobs with a name prefix gets these alone; a disabled rule gets nothing."""
    detail = {"status": ["Completed", "Failed"], "batchJobName": [{"prefix": "demo-"}]}
    url = make_rule(slow, "some", PATTERN | {"detail": detail})
    disabled = make_rule(slow, "off", PATTERN, "DISABLED")
    slow.submit(jobName="demo-1")
    slow.submit(jobName="other-1")
    slow.aws.put_records("data", "few/rows.jsonl", [{"modelInput": {}}])
    slow.submit(jobName="demo-2", uri="s3://data/few/")
    slow.aws.advance(100)
    got = {(event["detail"]["batchJobName"], event["detail"]["status"]) for event in received(slow, url)}
    assert got == {("demo-1", "Completed"), ("demo-2", "Failed")}
    assert received(slow, disabled) == []


def test_a_failure_carries_its_message(slow: Ready) -> None:
    """The event of a failed job has the job's message."""
    url = make_rule(slow, "all", PATTERN)
    slow.aws.put_records("data", "few/rows.jsonl", [{"modelInput": {}}])
    arn = slow.submit(uri="s3://data/few/")
    slow.aws.advance(100)
    assert received(slow, url)[-1]["detail"]["failureMessage"] == slow.aws.job(arn)["message"]


def test_events_can_be_dropped_or_doubled(slow: Ready) -> None:
    """With the share at 1 no event comes, or each comes twice."""
    url = make_rule(slow, "all", PATTERN)
    slow.aws.put_settings({"event_faults": {"drop": 1}})
    slow.submit()
    slow.aws.advance(100)
    assert received(slow, url) == []
    slow.aws.put_settings({"event_faults": {"drop": 0, "twice": 1}})
    slow.submit()
    slow.aws.advance(100)
    assert len(received(slow, url)) == 10


def test_a_queue_that_is_gone_stops_nothing(slow: Ready) -> None:
    """Jobs go on when their events cannot be delivered."""
    url = make_rule(slow, "gone", PATTERN)
    slow.aws.client("sqs").delete_queue(QueueUrl=url)
    arn = slow.submit()
    slow.aws.advance(100)
    assert slow.aws.job(arn)["status"] == "Completed"
