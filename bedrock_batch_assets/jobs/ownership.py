"""The one job for a piece of work: find it or create it, and never create it twice.

The service's own list of jobs is the record. A name is looked up before every Create; in between, the
idempotency token, made from the same name, lets the service itself recognise the repetition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bedrock_batch_assets.aws.error_kinds import can_be_waited_out, error_code
from bedrock_batch_assets.error_codes import plain
from bedrock_batch_assets.errors import BatchError, LapsedCredentialsError, UnreachableServiceError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState

# Other users of the account hold the quota of jobs in flight: keep the run's place in Dagster's queue and ask again.
_WAITABLE = plain("ServiceQuotaExceededException")
LONGEST_CREATE_BACKOFF_SECONDS = 60.0
# Tries of Create that end in a conflict while the service lists no job of that name.
MAX_CONFLICTS = 10


class JobRefusedError(BatchError):
    """The service refused to create a job, for a reason that trying again does not change."""


@dataclass(frozen=True, slots=True)
class JobOrder:
    """The work of a job. `input_uri` is a folder of its own, `output_uri` the chunk's output folder."""

    name: JobName
    model_id: str
    invocation_type: Literal["InvokeModel", "Converse"]
    input_uri: str
    output_uri: str


def find_or_create(
    jobs: BatchJobs,
    order: JobOrder,
    *,
    on_trouble: Callable[[str], None],
    clock: Clock,
) -> tuple[str, bool]:
    """The ARN of the order's job, and whether this call asked for it.

    Waits while the account's quota of jobs in flight is taken, the API is throttled or down, or the credentials have
    expired.

    Raises:
        JobRefusedError: The service will not run this job.
        ConfigurationError: Access is denied, or no role is configured.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    attempt = 0
    conflicts = 0
    while True:
        try:
            known = jobs.find_family(order.name).get(order.name)
            if known is not None:
                return known.arn, False
            arn = jobs.create(
                order.name,
                model_id=order.model_id,
                invocation_type=order.invocation_type,
                input_uri=order.input_uri,
                output_uri=order.output_uri,
            )
            return arn, True
        except (ClientError, BotoCoreError, UnreachableServiceError, LapsedCredentialsError) as error:
            code = error_code(error) if isinstance(error, ClientError) else ""
            if code == "ConflictException" and conflicts < MAX_CONFLICTS:
                # The token was used, so the job exists, and the next look finds it.
                conflicts += 1
            elif plain(code) == _WAITABLE or can_be_waited_out(error):
                if attempt == 0:
                    on_trouble(f"Bedrock takes no new job at the moment, trying again until it does: {error}")
            else:
                raise JobRefusedError(
                    f"Bedrock refused job {order.name} for model {order.model_id}: {error}"
                ) from error
        clock.sleep(clock.backoff(attempt, LONGEST_CREATE_BACKOFF_SECONDS))
        attempt += 1


def latest(family: dict[JobName, JobState]) -> JobState | None:
    """The job of the last wave, or None if there is none."""
    return next(reversed(family.values()), None)
