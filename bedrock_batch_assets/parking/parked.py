"""What a step does to let its run's process go while a job runs."""

from typing import TYPE_CHECKING

import dagster as dg

from bedrock_batch_assets.internals import parked_plans
from bedrock_batch_assets.internals.dagster_internals import MAX_RUNTIME_TAGS, launcher_settings
from bedrock_batch_assets.runs.job_notices import clear_finished_notice

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

PARK_AFTER_SETTING = "park_after_seconds"
DEFAULT_PARK_AFTER_SECONDS = 300
# Dagster's own retries of a step have nothing to do with it: the executor ends the process before one comes.
_NO_LIMIT = 10**9

# The jobs that runs of this process have parked for, by run id. A process has one run.
_parked_for: dict[str, str] = {}


class Parked(dg.RetryRequested):
    """Raised in a step: end this process, and run the step again when the job has ended."""

    def __init__(self, instance: "DagsterInstance", run_id: str, job: str) -> None:
        super().__init__(max_retries=_NO_LIMIT)
        # A notice that came ahead of the service would bring the run back at once, again and again.
        clear_finished_notice(instance, job)
        _parked_for[run_id] = job


def parked_for(run_id: str) -> str | None:
    """The job that the run of this process has been parked for; None if it has not."""
    return _parked_for.get(run_id)


def park_after_seconds(instance: "DagsterInstance", run: "DagsterRun") -> float | None:
    """After how many seconds of waiting a run lets its process go; None if it waits with it to the end.

    That is so unless dagster.yaml names a launcher that parks, run monitoring may resume the run once more, and the
    installed Dagster has the parts that it takes. A run with a longest run time does not park either: monitoring counts
    the parked time, and would end the run and its retries one after the other.
    """
    settings = launcher_settings(instance)
    if settings is None or PARK_AFTER_SETTING not in settings[1]:
        return None
    is_limited = not MAX_RUNTIME_TAGS.isdisjoint(run.tags) or instance.run_monitoring_max_runtime_seconds > 0
    if is_limited:
        return None
    if not parked_plans.are_available() or not parked_plans.will_resume(instance, run.run_id):
        return None
    return float(settings[1][PARK_AFTER_SETTING])


def runs_executor() -> dg.ExecutorDefinition:
    """The executor of all runs: in one process, since a run mostly waits. It parks if Dagster can."""
    if not parked_plans.are_available():
        return dg.in_process_executor
    from bedrock_batch_assets.parking.executor import parking_executor

    return parking_executor
