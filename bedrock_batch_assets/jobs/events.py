"""State-change events of jobs, from an SQS queue that an EventBridge rule fills.

Delivery is best-effort: events may be lost, late, doubled or out of order. So an event is a reason to
look; the state of a job is read from the service itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import FINISHED

DETAIL_TYPE = "Batch Inference Job State Change"

# The most that one ReceiveMessage or DeleteMessageBatch takes (Amazon SQS API Reference).
_MESSAGES_PER_CALL = 10
# A long poll asks all of SQS's servers; a short one may miss messages (Amazon SQS Developer Guide).
_WAIT_SECONDS = 1
# A hundred jobs send some 500 events in their lives; what is left over is read by the next tick.
MAX_MESSAGES = 500


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A job's status has changed, some time ago."""

    arn: str
    name: str
    status: str

    @property
    def finished(self) -> bool:
        """Whether that status can no longer change."""
        return self.status in FINISHED


class _Detail(msgspec.Struct, rename="camel"):
    batch_job_arn: str
    status: str
    batch_job_name: str = ""


class _Event(msgspec.Struct, rename="kebab"):
    detail: _Detail
    detail_type: str


def drain_events(
    jobs: BatchJobs,
    on_events: Callable[[list[JobEvent]], None],
    on_malformed: Callable[[str], None],
    *,
    deadline: float,
    max_messages: int = MAX_MESSAGES,
) -> int:
    """Read the queue until it is empty, and delete what was read: the queue is this platform's own.

    Messages are deleted when `on_events` has returned, so that a crash in between gives them again.

    Args:
        jobs: Has the queue's URL.
        on_events: Takes the events of one call.
        on_malformed: Called with the text, cut short, of each message that is no such event.
        deadline: No further call is made after it (monotonic seconds).
        max_messages: No further call is made after so many.

    Returns:
        The number of messages.

    Raises:
        ConfigurationError: Access is denied.
        botocore.exceptions.ClientError: There is no such queue, or SQS refuses.
        botocore.exceptions.BotoCoreError: SQS cannot be reached.
    """
    sqs = jobs.client("sqs")
    url = jobs.event_queue_url
    read = 0
    while read < max_messages and time.monotonic() < deadline:
        with errors_explained("sqs:ReceiveMessage", url):
            answer = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=_MESSAGES_PER_CALL, WaitTimeSeconds=_WAIT_SECONDS
            )
        messages = answer.get("Messages", [])
        if not messages:
            break
        events: list[JobEvent] = []
        for message in messages:
            event = read_event(message["Body"])
            if event is None:
                on_malformed(message["Body"][:200])
            else:
                events.append(event)
        on_events(events)
        handles = [{"Id": str(place), "ReceiptHandle": item["ReceiptHandle"]} for place, item in enumerate(messages)]
        with errors_explained("sqs:DeleteMessage", url):
            sqs.delete_message_batch(QueueUrl=url, Entries=handles)
        read += len(messages)
        if len(messages) < _MESSAGES_PER_CALL:
            # Most likely these are the last ones. If not, the next tick reads the rest.
            break
    return read


def read_event(text: str) -> JobEvent | None:
    """The event in a message, or None if it is something else."""
    try:
        event = msgspec.json.decode(text, type=_Event)
    except msgspec.DecodeError:
        return None
    if event.detail_type != DETAIL_TYPE:
        return None
    return JobEvent(arn=event.detail.batch_job_arn, name=event.detail.batch_job_name, status=event.detail.status)
