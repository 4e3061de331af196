"""The executor of all runs: in this process, as Dagster's own, but that it can let the process go and go on in another.

Only an instance file with a launcher that parks makes a difference: see deploy/dagster-ecs-parked.yaml.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import DagsterExecutionInterruptedError, InitExecutorContext

from bedrock_batch_assets.internals import parked_plans

# `runs_executor` imports this module only if these are there.
from bedrock_batch_assets.internals.run_bases import InProcessExecutor, RetryMode
from bedrock_batch_assets.parking.claims import RunClaims
from bedrock_batch_assets.parking.marks import Mark, read_mark, write_mark
from bedrock_batch_assets.parking.parked import parked_for


class ParkingExecutor(InProcessExecutor):
    """Executes a run's steps in this process. A resumed run's finished steps do not run again."""

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """The events of the run's steps.

        Raises:
            DagsterExecutionInterruptedError: The run is parked, or another process works on it: this one ends, and the
                run does not.
        """
        instance, run_id = plan_context.instance, plan_context.run_id
        if plan_context.resume_from_failure:
            self._claim(instance, run_id)
            keys, outputs, failures = parked_plans.steps_left(instance, run_id, execution_plan)
            # They are in the log; the run ends as failed if this yields them again.
            yield from failures
            if not keys:
                return
            events = parked_plans.execute_steps(self, plan_context, execution_plan, keys, outputs)
        else:
            events = super().execute(plan_context, execution_plan)
        for event in events:
            yield event
            job = parked_for(run_id) if event.is_step_up_for_retry else None
            if job is not None:
                _close(events)
                resumes = getattr(read_mark(instance, run_id), "resumes", 0)
                write_mark(instance, run_id, Mark(state="parked", job=job, resumes=resumes))
                raise DagsterExecutionInterruptedError(f"Parked until job {job} has ended")

    @staticmethod
    def _claim(instance: dg.DagsterInstance, run_id: str) -> None:
        """Be the one process that goes on with the run."""
        mark = read_mark(instance, run_id)
        if mark is None:
            # Resumed by a launcher that does not park.
            return
        if not RunClaims.of_environment(run_id).work(mark.resumes):
            raise DagsterExecutionInterruptedError(f"Another process goes on with run {run_id}")
        write_mark(instance, run_id, Mark(state="working", job=mark.job, resumes=mark.resumes))


@dg.executor(name="in_process")
def parking_executor(context: InitExecutorContext) -> ParkingExecutor:
    """In one process per run, since a run mostly waits."""
    del context
    return ParkingExecutor(retries=RetryMode.ENABLED)


def _close(events: Iterator[dg.DagsterEvent]) -> None:
    close = getattr(events, "close", None)
    if close is not None:
        close()
