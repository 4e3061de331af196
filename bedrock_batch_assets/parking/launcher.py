"""A run launcher under which runs wait without a process: named in deploy/dagster-ecs-parked.yaml.

Dagster's run monitoring asks a launcher, every half minute, whether a run's worker is healthy, and resumes a run whose
worker is not. A parked run is healthy until its job has ended. So monitoring itself brings it back, in the same run.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterInstance, DagsterRun, Field

from bedrock_batch_assets.internals.dagster_internals import cancel_queued_run
from bedrock_batch_assets.internals.ecs_launcher import EcsRunLauncher
from bedrock_batch_assets.internals.run_bases import (
    CheckRunHealthResult,
    ResumeRunContext,
    WorkerStatus,
    instance_of_launcher,
)
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.parking.claims import RunClaims
from bedrock_batch_assets.parking.marks import Mark, read_mark, write_mark
from bedrock_batch_assets.parking.parked import DEFAULT_PARK_AFTER_SECONDS, PARK_AFTER_SETTING
from bedrock_batch_assets.runs.heartbeat import BEAT_SECONDS, last_beat
from bedrock_batch_assets.runs.job_notices import has_finished_notice

# Whoever asks for a task has its answer by then, and ECS knows the task.
RESUME_SECONDS = 180.0
# EcsRunLauncher's tag on a run.
_TASK_TAG = "ecs/task_arn"
# Without a notice of the sensor the service is asked about a parked run's job that often.
_LOOK_SECONDS = 120.0
# The pause after a task that could not be started.
_RETRY_SECONDS = 30.0
# So many beats may be missing before a worker counts as gone, whatever ECS says of the task that is known.
_BEATS = 2

# What run monitoring takes for healthy.
_HEALTHY = (WorkerStatus.RUNNING, WorkerStatus.SUCCESS)

logger = logging.getLogger(__name__)


class ParkingEcsRunLauncher(EcsRunLauncher):
    """Dagster's EcsRunLauncher, with runs that let their task go while their job runs.

    Args:
        park_after_seconds: A run whose job has not ended after so many seconds of waiting lets its task go.
        settings: Those of EcsRunLauncher.
    """

    def __init__(self, park_after_seconds: int = DEFAULT_PARK_AFTER_SECONDS, **settings: Any) -> None:
        super().__init__(**settings)
        self.park_after_seconds = park_after_seconds
        self._jobs = BatchJobs()
        self._looked_at: dict[str, float] = {}

    @property
    def instance(self) -> DagsterInstance:
        """The instance that it launches runs of."""
        return instance_of_launcher(self)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The settings in dagster.yaml."""
        description = "A run whose job has not ended after so many seconds lets its task go until the job has ended."
        settings: dict[str, Any] = super().config_type()  # type: ignore[no-untyped-call]
        return {
            **settings,
            # Required: the run's process reads it where it is written.
            PARK_AFTER_SETTING: Field(int, description=description),
        }

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """Make the launcher from its entry in dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run needs another worker."""
        mark = read_mark(self.instance, run.run_id)
        if mark is not None and mark.state == "parked":
            if time.time() >= mark.not_before and self._has_ended(mark.job):
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"job {mark.job} has ended")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "parked")
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if mark is not None and mark.state == "resuming" and time.time() - mark.at < RESUME_SECONDS:
            # What ECS says counts if it is about the task that was asked for, and not about the one before.
            is_known = run.tags.get(_TASK_TAG) != mark.replaces and found.status is not WorkerStatus.UNKNOWN
            if not is_known:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "a worker is coming")
        if found.status is not WorkerStatus.RUNNING and self._beats(run.run_id):
            # A task that is not the one in the run's tags works on it.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the run gives signs of life")
        if found.status is WorkerStatus.SUCCESS and mark is not None:
            # The task has ended and the run has not: monitoring would leave it as it is.
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the task has ended")
        return found

    def resume_run(self, context: ResumeRunContext) -> None:
        """Give the run another worker. It never raises, since that would fail the run: monitoring looks again."""
        run = context.dagster_run
        mark = read_mark(self.instance, run.run_id) or Mark(state="working")
        try:
            # Another daemon may have done it since this one looked.
            is_needed = self.check_run_worker_health(run).status not in _HEALTHY
            number = self._number_to_start(run, mark) if is_needed else None
            if number is None:
                return
            task = run.tags.get(_TASK_TAG, "")
            asked_for = Mark(state="resuming", job=mark.job, resumes=number, replaces=task)
            write_mark(self.instance, run.run_id, asked_for)
            super().resume_run(context)
        except Exception as error:
            logger.exception("Run %s cannot be resumed now", run.run_id)
            self.instance.report_engine_event(f"The run cannot be resumed now, trying again: {error}", run)
            again = read_mark(self.instance, run.run_id) or mark
            write_mark(
                self.instance,
                run.run_id,
                Mark(state="parked", job=mark.job, resumes=again.resumes, not_before=time.time() + _RETRY_SECONDS),
            )

    def terminate(self, run_id: str) -> bool:
        """Terminate a run. One that is parked is cancelled here, and job_status_sensor stops its job."""
        mark = read_mark(self.instance, run_id)
        run = self.instance.get_run_by_id(run_id)
        if mark is None or mark.has_process or run is None or run.is_finished:
            return bool(super().terminate(run_id))
        if mark.state == "resuming":
            # Its task may be on the way. A worker that finds its run cancelled does nothing.
            super().terminate(run_id)
        return cancel_queued_run(self.instance, run, "Terminated while it waits without a task; its job is stopped.")

    def _number_to_start(self, run: DagsterRun, mark: Mark) -> int | None:
        """The number of the process to start; None if somebody else starts it."""
        claims = RunClaims.of_environment(run.run_id)
        number = mark.resumes + 1
        while not claims.start(number):
            if claims.start_age(number) < RESUME_SECONDS:
                return None
            # Whoever claimed it died before the task was asked for.
            number += 1
        # It may have been started between the look at the run and the claim.
        now = read_mark(self.instance, run.run_id) or Mark(state="working")
        return number if now.resumes == mark.resumes else None

    def _has_ended(self, job: str) -> bool:
        if not job or has_finished_notice(self.instance, job):
            return True
        now = time.monotonic()
        if now - self._looked_at.get(job, -_LOOK_SECONDS) < _LOOK_SECONDS:
            return False
        self._looked_at[job] = now
        try:
            return self._jobs.get(job).finished
        except Exception:  # whatever it is, the next look may tell
            logger.exception("Bedrock does not tell whether job %s has ended", job)
            return False

    def _beats(self, run_id: str) -> bool:
        beat = last_beat(self.instance, run_id)
        return beat is not None and time.time() - beat.at < _BEATS * BEAT_SECONDS
