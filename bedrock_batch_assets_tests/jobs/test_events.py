"""The queue of state-change events: read, understood, emptied."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_batch_assets.jobs.events import JobEvent, drain_events, read_event
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz"
# The example of "Monitor job state changes using Amazon EventBridge" in the Amazon Bedrock User Guide.
EVENT: dict[str, Any] = {
    "version": "0",
    "id": "a1b2c3d4",
    "detail-type": "Batch Inference Job State Change",
    "source": "aws.bedrock",
    "account": "123456789012",
    "time": "Wed Aug 28 22:58:30 UTC 2024",
    "region": "us-east-1",
    "resources": [ARN],
    "detail": {
        "version": "0.0",
        "accountId": "123456789012",
        "batchJobName": "demo-00000-0123456789ab",
        "batchJobArn": ARN,
        "batchModelId": "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
        "status": "Completed",
        "failureMessage": "",
        "creationTime": "Aug 28, 2024, 10:47:53 PM",
    },
}


@pytest.fixture
def jobs(local_aws: LocalAws) -> BedrockBatchJobs:
    url = local_aws.client("sqs").create_queue(QueueName="job-events")["QueueUrl"]
    return BedrockBatchJobs(event_queue_url=url)


def send(local_aws: LocalAws, jobs: BedrockBatchJobs, *bodies: str) -> None:
    for body in bodies:
        local_aws.client("sqs").send_message(QueueUrl=jobs.event_queue_url, MessageBody=body)


def waiting(local_aws: LocalAws, jobs: BedrockBatchJobs) -> int:
    """Messages in the queue, those that somebody has received and not deleted included."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = local_aws.client("sqs").get_queue_attributes(QueueUrl=jobs.event_queue_url, AttributeNames=names)
    return sum(int(found["Attributes"][name]) for name in names)


def drain(jobs: BedrockBatchJobs, **options: Any) -> tuple[int, list[JobEvent], list[str]]:
    events: list[JobEvent] = []
    malformed: list[str] = []
    read = drain_events(jobs, events.extend, malformed.append, deadline=time.monotonic() + 10, **options)
    return read, events, malformed


def test_the_documented_event_is_understood() -> None:
    """The service's own example tells the job, its name and its status."""
    event = read_event(json.dumps(EVENT))
    assert event == JobEvent(ARN, "demo-00000-0123456789ab", "Completed")
    assert event.finished


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", json.dumps(EVENT | {"detail-type": "Model Customization Job State Change"}),
     json.dumps(EVENT | {"detail": {"status": "Completed"}}), json.dumps(EVENT | {"detail": {"batchJobArn": 1}})],
)  # fmt: skip
def test_anything_else_is_no_event(text: str) -> None:
    """Broken JSON, other events and events without a job or a status are none, and raise nothing."""
    assert read_event(text) is None


def test_all_messages_are_read_and_deleted_the_malformed_ones_too(local_aws: LocalAws, jobs: BedrockBatchJobs) -> None:
    """Twelve events and a broken message in between are read in two calls, and the queue is empty after them."""
    send(local_aws, jobs, *[json.dumps(EVENT)] * 6, "{broken", *[json.dumps(EVENT)] * 6)
    read, events, malformed = drain(jobs)
    assert (read, len(events), malformed) == (13, 12, ["{broken"])
    assert waiting(local_aws, jobs) == 0
    assert local_aws.calls()["ReceiveMessage"] == 2


def test_reading_is_bounded(local_aws: LocalAws, jobs: BedrockBatchJobs) -> None:
    """No call is made beyond the number of messages, or after the deadline; what is left stays in the queue."""
    send(local_aws, jobs, *[json.dumps(EVENT)] * 15)
    assert drain(jobs, max_messages=10)[0] == 10
    assert waiting(local_aws, jobs) == 5
    assert drain_events(jobs, lambda _: None, lambda _: None, deadline=time.monotonic()) == 0
    assert waiting(local_aws, jobs) == 5


def test_a_message_is_deleted_only_after_it_was_handled(local_aws: LocalAws, jobs: BedrockBatchJobs) -> None:
    """A crash while events are handled leaves them in the queue, to come again."""
    send(local_aws, jobs, json.dumps(EVENT))

    def crash(events: list[JobEvent]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        drain_events(jobs, crash, lambda _: None, deadline=time.monotonic() + 10)
    assert waiting(local_aws, jobs) == 1


def test_a_queue_that_is_not_there_is_an_error(local_aws: LocalAws) -> None:
    """A wrong queue is told by SQS's own error, and not taken for an empty one."""
    url = f"{local_aws.endpoint_url}/123456789012/none"
    with pytest.raises(ClientError, match="queue"):
        drain(BedrockBatchJobs(event_queue_url=url))
