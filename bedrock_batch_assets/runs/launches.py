"""Runs that the launcher could not start. Each next try waits longer, and its log quotes the launcher's error.

A launcher fails for minutes or hours (no capacity, an image or a permission that is missing), and Dagster's run retries
try again at once: 27 times a minute were seen, until the last of them was used up. So a retry of a run that never
started is kept out of the queue for a while.
"""

from collections.abc import Mapping

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import RETRY_NUMBER_TAG
from bedrock_batch_assets.tags import ASKED_AGAIN_TAG

# A tag: how often in a row the run's work was launched and did not start.
FAILED_LAUNCHES_TAG = "bedrock/failed_launches"

FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 120.0
# Run monitoring fails a run that is created and not queued for `start_timeout_seconds`: a wait is shorter than that.
_SHARE_OF_START_TIMEOUT = 2 / 3


def failed_launches(instance: DagsterInstance, run: DagsterRun) -> tuple[int, str]:
    """How often in a row the work of a new run has failed to start, and the launcher's last error.

    Returns:
        (0, "") for a run that continues no earlier run, or one that did start.
    """
    if FAILED_LAUNCHES_TAG in run.tags and ASKED_AGAIN_TAG in run.tags and RETRY_NUMBER_TAG not in run.tags:
        # The sensor asked for the work again, after a run whose retries were used up.
        return _number(run.tags), ""
    if run.parent_run_id is None or RETRY_NUMBER_TAG not in run.tags:
        return 0, ""
    parent = instance.get_run_record_by_id(run.parent_run_id)
    if parent is None or not never_started(parent):
        return 0, ""
    return _number(parent.dagster_run.tags) + 1, what_was_said(instance, run.parent_run_id)


def never_started(record: dg.RunRecord) -> bool:
    """Whether the run failed before a process of it began to work."""
    return record.dagster_run.status is DagsterRunStatus.FAILURE and record.start_time is None


def wait_seconds(instance: DagsterInstance, failures: int) -> float:
    """How long a run waits before it is queued after so many failed launches: 5 s, 10 s, 20 s, up to 2 minutes."""
    longest = LONGEST_WAIT_SECONDS
    if instance.run_monitoring_enabled and instance.run_monitoring_start_timeout_seconds > 0:
        longest = min(longest, _SHARE_OF_START_TIMEOUT * instance.run_monitoring_start_timeout_seconds)
    return min(longest, FIRST_WAIT_SECONDS * 2.0 ** (min(failures, 20) - 1))


def what_was_said(instance: DagsterInstance, run_id: str) -> str:
    """Why the run did not start, in the words of the launcher's error; empty if there are none."""
    types = {dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_FAILURE}
    said = ""
    for entry in instance.all_logs(run_id, of_type=types):
        event = entry.dagster_event
        data = event.event_specific_data if event is not None else None
        error = getattr(data, "error", None)
        if error is not None:
            while error.cause is not None:
                error = error.cause
            said = " ".join(error.message.split())
        elif event is not None and event.is_failure and not said:
            said = " ".join((event.message or "").split())
    return said


def _number(tags: Mapping[str, str]) -> int:
    text = tags.get(FAILED_LAUNCHES_TAG, "0")
    return int(text) if text.isdigit() else 0
