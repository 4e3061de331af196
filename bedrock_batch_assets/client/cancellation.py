"""Cancelling a batch: its backfills and runs are asked to end, and looked at until nothing of it goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedrock_batch_assets.client.batch_status import BatchFacts, active_backfills, active_runs
from bedrock_batch_assets.client.webserver import Backfill, Run, Webserver
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.tags import JOB_ARN_TAG

# The sensor asks for a new input's chunks within 5 s. So a batch whose input is younger than a minute is watched for so
# long beyond the moment in which nothing of it was left.
SETTLE_SECONDS = 10.0
YOUNG_INPUT_SECONDS = 60.0


@dataclass(frozen=True)
class Cancellation:
    """What cancelling a batch came to. `jobs` are their states by ARN; `left` names what has not ended in time."""

    batch: str
    backfills: Sequence[str] = ()
    runs: Sequence[str] = ()
    jobs: dict[str, str] = field(default_factory=dict)
    left: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "batch": self.batch,
            "backfills_cancelled": list(self.backfills),
            "runs_ended": list(self.runs),
            "jobs": self.jobs,
            "not_ended": list(self.left),
        }


class BatchEnding:
    """A batch that is being cancelled. Call `look` again and again, until it `is_over`.

    Args:
        batch: The batch key.
        webserver: Its Dagster.
        jobs: Its Bedrock.
        now: Seconds of a clock that only goes forward, for tests.
    """

    def __init__(
        self, batch: str, webserver: Webserver, jobs: BatchJobs, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._batch = batch
        self._webserver = webserver
        self._jobs = jobs
        self._now = now
        # What was asked to end so far, in order.
        self._runs: dict[str, Run] = {}
        self._backfills: dict[str, None] = {}
        self._quiet_since: float | None = None
        self.is_over = False

    def look(self) -> Cancellation:
        """Ask all that goes on to end, and tell what has ended so far. Jobs are told of once all is over."""
        runs = self._webserver.runs(self._batch)
        all_backfills = self._webserver.backfills(min((run.created_at for run in runs), default=0.0))
        facts = BatchFacts(self._batch, runs=runs, backfills=all_backfills)
        backfills, active = active_backfills(facts), active_runs(facts)
        self._ask_to_end(backfills, active)
        self.is_over = self._has_settled(runs, is_quiet=not (backfills or active))
        going_on = {run.id for run in active}
        ended = [run_id for run_id in self._runs if run_id not in going_on]
        return Cancellation(
            self._batch,
            backfills=list(self._backfills),
            runs=ended,
            jobs=self._states_of_jobs(ended, runs) if self.is_over else {},
            left=[*(f"backfill {item.id}" for item in backfills), *(f"run {run.id}" for run in active)],
        )

    def _ask_to_end(self, backfills: Sequence[Backfill], active: Sequence[Run]) -> None:
        for backfill in backfills:
            if backfill.status == "REQUESTED":
                self._webserver.cancel_backfill(backfill.id)
            self._backfills[backfill.id] = None
        # A crashed run that is to be retried cannot be terminated; its backfill's end, or its retry's, is its own.
        to_ask = [run for run in active if run.status != "CANCELING" and not run.to_be_retried]
        self._webserver.terminate_runs([run.id for run in to_ask])
        self._runs.update({run.id: run for run in active})

    def _has_settled(self, runs: Sequence[Run], *, is_quiet: bool) -> bool:
        """Whether nothing of the batch has been active for long enough."""
        if not is_quiet:
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = self._now()
        return self._now() - self._quiet_since >= self._settle_seconds(runs)

    def _settle_seconds(self, runs: Sequence[Run]) -> float:
        """How long nothing must happen before the batch counts as ended."""
        made = self._webserver.materializations("input_dataset", [self._batch]).get(self._batch)
        if made is None or time.time() - made.at > YOUNG_INPUT_SECONDS:
            return 0.0
        # Its chunks were asked for already, or they are about to be.
        asked = any(run.partition != self._batch and run.created_at >= made.at for run in runs)
        return 0.0 if asked else SETTLE_SECONDS

    def _states_of_jobs(self, ended: Sequence[str], runs: Sequence[Run]) -> dict[str, str]:
        """The status of each job that one of the ended runs owned, by ARN."""
        known = self._runs | {run.id: run for run in runs}
        tags = [known[run_id].tags for run_id in ended]
        arns = dict.fromkeys(found[JOB_ARN_TAG] for found in tags if JOB_ARN_TAG in found)
        return {arn: self._jobs.get(arn).status for arn in arns}
