"""The run queue's view of a batch: tags that its concurrency limits count.

Asset definitions cannot tag runs, and a run that a person starts in the UI carries no tags of ours (Dagster issues
15752 and 33430). The coordinator is the one place that sees every run, whoever launched it: UI, backfill, sensor or
command line. It runs in the webserver and in the daemon, so it uses the instance and no code of the assets.
"""

import itertools
import threading
from typing import Any, cast

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator, SubmitRunContext

from bedrock_batch_assets.internals.dagster_internals import instance_of, let_backfills_wait_for_code_servers
from bedrock_batch_assets.runs.database import outlast
from bedrock_batch_assets.runs.identity import identity_tags
from bedrock_batch_assets.runs.launches import FAILED_LAUNCHES_TAG, failed_launches, wait_seconds

# For so long a call waits for the database: a failover takes one to two minutes (Amazon RDS User Guide, "Failing over a
# Multi-AZ DB instance").
DATABASE_SECONDS = 300.0


class BatchRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, with every run of a batch tagged for the limits in dagster.yaml.

    - `bedrock/batch`: the batch.
    - `bedrock/partition`: the chunk (or batch) that the run works on; a limit of one keeps two runs off it.
    - `bedrock/model`: the base model, on runs that own a job; its limit is the number of jobs in flight.

    A retry of a run that the launcher could not start is queued after a wait that grows.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Set up the queue, and the daemon that it is made in."""
        super().__init__(*arguments, **options)
        # Otherwise backfills fail while the code server restarts, and cancel their runs, which wait for paid jobs.
        let_backfills_wait_for_code_servers()

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run, then queue it: at once, or after a wait if its work could not be launched before.

        Waits for the database: a run that is made and not queued would wait for ever.
        """
        tries = itertools.count()

        def submit() -> DagsterRun:
            run = instance_of(self).get_run_by_id(context.dagster_run.run_id) if next(tries) else None
            if run is not None and run.status is not DagsterRunStatus.NOT_STARTED:
                # An earlier try has queued it, and the daemon may have started it since.
                return run
            return self._submit(context)

        return outlast(submit, seconds=DATABASE_SECONDS)

    def _submit(self, context: SubmitRunContext) -> DagsterRun:
        run, instance = context.dagster_run, instance_of(self)
        tags = dict(identity_tags(instance, run))
        failures, said = failed_launches(instance, run) if tags else (0, "")
        if failures or FAILED_LAUNCHES_TAG in run.tags:
            # A retry has the tags of its parent: one that did start begins to count anew.
            tags[FAILED_LAUNCHES_TAG] = str(failures)
        if tags:
            instance.add_run_tags(run.run_id, tags)
        if failures:
            return self._queue_later(run, failures, said)
        return super().submit_run(context)

    def _queue_later(self, run: DagsterRun, failures: int, said: str) -> DagsterRun:
        seconds = wait_seconds(instance_of(self), failures)
        times = "once" if failures == 1 else f"{failures} times in a row"
        reason = f" The launcher said: {said}" if said else ""
        instance_of(self).report_engine_event(
            f"This run's work could not be launched, {times}: it is queued again in {seconds:g} s.{reason}", run
        )
        # In the daemon: retries and sensors submit their runs there. If it ends meanwhile, run monitoring fails the
        # run after `start_timeout_seconds`, and Dagster retries it.
        timer = threading.Timer(seconds, lambda: outlast(lambda: self._queue(run.run_id), seconds=DATABASE_SECONDS))
        timer.daemon = True
        timer.start()
        return run

    def _queue(self, run_id: str) -> None:
        run = instance_of(self).get_run_by_id(run_id)
        # A person may have cancelled or deleted it while it waited.
        if run is not None and run.status is DagsterRunStatus.NOT_STARTED:
            super().submit_run(SubmitRunContext(run, workspace=cast(Any, None)))
