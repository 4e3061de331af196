"""Waiting for a job: the one place where a run spends its hours.

Dagster is adding a run state for "waiting on external work, with no worker". Once it can be used, only this module
has to change.
"""

from collections.abc import Callable

from bedrock_batch_assets.aws.error_kinds import can_be_waited_out, error_code
from bedrock_batch_assets.errors import LapsedCredentialsError, UnreachableServiceError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState

# A job can be unknown for a while after Create: the Terraform provider allows its first Get 5 minutes.
NOT_FOUND_GRACE_SECONDS = 300.0
MIN_POLL_SECONDS = 1.0
# How often a sleeping run looks for a notice. Each look reads Dagster's database once.
NOTICE_SECONDS = 2.0


def poll_seconds(waited: float, longest: float, jitter: float) -> float:
    """Seconds until the next look at a job that has been waited for since `waited` seconds.

    A twentieth of the time waited so far, so that a job of seconds is noticed at once, one of hours costs a call a
    minute, and nobody waits more than 5 % too long; jittered by a fifth, so that jobs started together spread.
    """
    return min(longest, max(MIN_POLL_SECONDS, waited / 20)) * (0.8 + 0.4 * jitter)


def wait_until_finished(
    jobs: BatchJobs,
    arn: str,
    *,
    on_change: Callable[[JobState, float | None], None],
    on_trouble: Callable[[str], None],
    clock: Clock,
    has_finished_notice: Callable[[], bool] = lambda: False,
    on_wait: Callable[[float], None] = lambda _: None,
) -> JobState:
    """Look at a job until it has finished, however long that takes, and return its last state.

    Throttling, server errors, broken connections and credentials that have expired only slow it down. `on_change` is
    called for each new status and each tenth of the records, not for each look, with the seconds that are left at the
    pace so far (None if that is not known); and `on_trouble` once for each run of failing looks.
    `has_finished_notice` says whether the sensor has seen the job finished: then the next look comes at once. It may
    be wrong, or never say so. `on_wait` is told, before each pause, for how many seconds the job has been waited for;
    what it raises ends the waiting.

    Raises:
        ConfigurationError: Access is denied.
        botocore.exceptions.ClientError: The service does not know the job, or refuses to tell.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    started = clock.now()
    shown: tuple[str, int] | None = None
    pace = _Pace()
    failures = 0
    told = False
    while True:
        try:
            state = jobs.get(arn)
        except (ClientError, BotoCoreError, UnreachableServiceError, LapsedCredentialsError) as error:
            unknown = isinstance(error, ClientError) and error_code(error) == "ResourceNotFoundException"
            in_grace = unknown and shown is None and clock.now() - started < NOT_FOUND_GRACE_SECONDS
            if not (in_grace or can_be_waited_out(error)):
                raise
            if failures == 0:
                on_trouble(f"Bedrock does not answer for the job at the moment, still waiting: {error}")
            clock.sleep(clock.backoff(failures, jobs.max_poll_seconds))
            failures += 1
            continue
        failures = 0
        left = pace.seconds_left(state, clock.now())
        if state.progress != shown:
            shown = state.progress
            on_change(state, left)
        if state.finished:
            return state
        on_wait(clock.now() - started)
        seconds = poll_seconds(clock.now() - started, jobs.max_poll_seconds, clock.random())
        if told:
            # The notice was earlier than the service's own answer, so the next look waits as long as any other.
            clock.sleep(seconds)
            told = False
        else:
            told = _sleep_until_notice(clock, seconds, has_finished_notice)


class _Pace:
    """How fast a job processes records, since the first of them was seen processed."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def seconds_left(self, state: JobState, now: float) -> float | None:
        """How long the rest will take at this pace; None if that is not known."""
        if state.finished or not state.processed or not state.total:
            return None
        if self._first is None:
            self._first = (now, state.processed)
        since, processed = self._first
        if state.processed == processed or now <= since:
            return None
        return (state.total - state.processed) * (now - since) / (state.processed - processed)


def _sleep_until_notice(clock: Clock, seconds: float, has_finished_notice: Callable[[], bool]) -> bool:
    """Sleep, and look for a notice meanwhile. Returns whether there was one before the time was over."""
    end = clock.now() + seconds
    while (left := end - clock.now()) > NOTICE_SECONDS:
        clock.sleep(NOTICE_SECONDS)
        if has_finished_notice():
            return True
    clock.sleep(max(0.0, left))
    return False
