"""Batches, as a person sees them: launched, followed to their end, looked at, cancelled."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bedrock_batch_assets.client.batch_status import (
    BatchFacts,
    BatchState,
    BatchStatus,
    ChunkFailure,
    batch_status,
    status_by_events,
)
from bedrock_batch_assets.client.batch_view import BatchView, BatchViewer
from bedrock_batch_assets.client.cancellation import BatchEnding, Cancellation
from bedrock_batch_assets.client.request_file import run_config
from bedrock_batch_assets.client.webserver import (
    Backfill,
    DagsterRefusedError,
    Materialization,
    Run,
    UnreachableError,
    Webserver,
)
from bedrock_batch_assets.errors import BatchError, LapsedCredentialsError, RequestError, did_you_mean
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.partition_keys import batch_of_chunk, is_batch_key
from bedrock_batch_assets.storage.bucket import BatchBucket, NotMaterializedError
from bedrock_batch_assets.tags import JOB_ARN_TAG

if TYPE_CHECKING:
    from bedrock_batch_assets.pilots.pilot import PilotReport
    from bedrock_batch_assets.request import BatchRequest
    from bedrock_batch_assets.storage.manifests import BatchManifest, TableManifest

Look = TypeVar("Look")

# The pause between looks is a twentieth of the time waited so far: a batch of seconds is noticed at once, and one of
# hours costs little.
MIN_POLL_SECONDS = 2.0
MAX_POLL_SECONDS = 15.0
# A pilot takes seconds.
_PILOT_POLL_SECONDS = 0.5
# A webserver or a code server that is replaced, a database that fails over and credentials that are renewed are back by
# then. A batch takes hours, so a wait of minutes costs nobody anything.
UNREACHABLE_GRACE_SECONDS = 600.0
# Batches that are looked at on S3 at the same time.
_PARALLEL_LOOKS = 8


class BatchFailedError(BatchError):
    """The batch ended without a result table. The message says why."""


class Batches:
    """All batches of one platform.

    Args:
        webserver: Its Dagster.
        storage: Its bucket.
        jobs: Its Bedrock.
        sleep: Time, for tests.
        now: Seconds of a clock that only goes forward, for tests.
    """

    def __init__(
        self,
        webserver: Webserver,
        storage: BatchBucket,
        jobs: BatchJobs,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.webserver = webserver
        self.storage = storage
        self.jobs = jobs
        self._sleep = sleep
        self._now = now

    def launch(self, batch: str, request: "BatchRequest") -> str:
        """Start a batch, as the UI does: add its partition, materialize its input. Returns the run's id.

        Raises:
            RequestError: Dagster finds that the request does not fit.
            UnreachableError: Dagster does not answer.
        """
        self.webserver.code_location()
        self.webserver.add_batch(batch)
        return self.webserver.launch("input_dataset", batch, run_config(request))

    def try_rows(self, batch: str, request: "BatchRequest", rows: int, seed: int | None) -> str:
        """Start a pilot of a batch: `rows` rows of it, random ones of `seed` or the first ones. Returns the run's id.

        Raises:
            RequestError: Dagster finds that the request does not fit.
            UnreachableError: Dagster does not answer.
        """
        self.webserver.code_location()
        self.webserver.add_batch(batch)
        chosen = {"sample": "first"} if seed is None else {"seed": seed}
        return self.webserver.launch("pilot", batch, {**run_config(request), "rows": rows, **chosen})

    def pilot(self, batch: str, run_id: str, on_answered: Callable[[int], None] = lambda _: None) -> "PilotReport":
        """Wait for a pilot, and return what it showed.

        Args:
            batch: The batch.
            run_id: The pilot's run.
            on_answered: Told how many rows have been answered, after each look.

        Raises:
            BatchFailedError: The pilot failed, or another one followed it.
            UnreachableError: Dagster does not answer.
        """
        from bedrock_batch_assets.pilots.pilot import ROWS_ANSWERED, find_report

        while (run := self.webserver.run(run_id)).active or run.retried_as:
            run_id = run.retried_as or run_id
            on_answered(sum(text.endswith(ROWS_ANSWERED) for text in self.webserver.log_messages(run_id)))
            self._sleep(_PILOT_POLL_SECONDS)
        if run.status != "SUCCESS":
            raise BatchFailedError(self.webserver.failure_of(run_id))
        report = find_report(self.storage, batch)
        if report is None or report.run_id != run_id:
            raise BatchFailedError(
                f"Another pilot of batch {batch} has followed: see {self.webserver.run_link(run_id)}"
            )
        return report

    def follow(self, batch: str, run_id: str) -> Iterator[BatchStatus]:
        """The batch's state, again and again, until the table of the input that run `run_id` reads is there.

        Tables of earlier launches do not count: the input has to be that run's, the table has to carry its version
        and to be newer than all of its parts. The last state is `done`.

        Raises:
            BatchFailedError: The batch failed, was cancelled, or was launched again meanwhile.
            UnreachableError: Dagster did not answer for ten minutes.
            DagsterRefusedError: It answered with an error for ten minutes, as without its database or its code server.
            botocore.exceptions.ClientError: AWS answered with an error for ten minutes.
        """
        current = run_id

        def look() -> BatchStatus:
            nonlocal current
            status, current = self._step(batch, current)
            return status

        for status in self._looks(look):
            yield status
            if status.state is BatchState.done:
                return

    def _looks(self, look: Callable[[], Look]) -> Iterator[Look]:
        """What a look shows, again and again, ever more rarely. Errors that may pass are waited out for ten minutes."""
        started = answered = self._now()
        while True:
            try:
                found = look()
                answered = self._now()
            except Exception as error:
                if not _may_pass(error) or self._now() - answered > UNREACHABLE_GRACE_SECONDS:
                    raise
            else:
                yield found
            self._sleep(min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, (self._now() - started) / 20)))

    def last_request(self, batch: str) -> str:
        """The config of the batch's last launch, refused or not, as the launchpad takes it.

        Raises:
            RequestError: There is no such batch, or it was never launched.
        """
        self.require(batch)
        runs = self.webserver.runs(batch)
        for asset in ("input_dataset", "pilot"):
            run = next((run for run in runs if asset in run.assets), None)
            if run is not None:
                text = self.webserver.run_config_of(run.id)
                return text.replace(f"  {asset}:", "  input_dataset:", 1)
        raise RequestError(f"Batch {batch} was never launched.")

    def watch(self, batch: str) -> Iterator[BatchView]:
        """How far a batch is, again and again, until it has ended. Errors that may pass are waited out, see `follow`.

        Raises:
            RequestError: There is no such batch.
        """
        self.require(batch)
        viewer = BatchViewer(self.webserver)

        def look() -> BatchView:
            facts = self.facts(batch)
            return viewer.view(facts, batch_status(facts))

        for view in self._looks(look):
            yield view
            if view.status.state.final or view.status.state is BatchState.new:
                return

    def status(self, batch: str, *, with_jobs: bool = True) -> BatchStatus:
        """The state of one batch.

        Raises:
            RequestError: There is no such batch.
        """
        status = batch_status(self.facts(batch, with_jobs=with_jobs))
        if status.state is BatchState.new:
            self.require(batch)
        return replace(status, failures=[self._explained(item) for item in status.failures])

    def require(self, batch: str) -> None:
        """Check that there is such a batch.

        Raises:
            RequestError: There is none. Names one that is like it.
        """
        known = self.webserver.batch_keys()
        if batch not in known:
            meant = did_you_mean(batch, known)
            raise RequestError(f"There is no batch {batch!r}.{meant} `bedrock-batch status` lists all of them.")

    def _explained(self, failure: ChunkFailure) -> ChunkFailure:
        reason = self.webserver.failure_of(failure.run_id)
        return replace(failure, reason=reason, url=self.webserver.run_link(failure.run_id))

    def statuses(self) -> list[BatchStatus]:
        """The state of all batches, oldest first.

        What Dagster knows of all of them is asked in a few queries, whatever their number. S3 and Bedrock are asked
        only about batches that these do not show to be done, with an answer for every row.
        """
        keys = self.webserver.batch_keys()
        backfills = self.webserver.backfills()
        # The parts are read after the runs: a run that ended in between has left its part then.
        unfinished = self.webserver.unfinished_runs()
        parts: dict[str, dict[str, Materialization]] = {}
        for chunk, part in self.webserver.materializations("result_parts", self.webserver.chunk_keys()).items():
            parts.setdefault(batch_of_chunk(chunk) or "", {})[chunk] = part
        inputs = self.webserver.materializations("input_dataset", keys)
        tables = self.webserver.materializations("result_table", keys, metadata=True)
        known = {
            key: BatchFacts(
                batch=key,
                runs=unfinished.get(key, []),
                backfills=backfills,
                input=inputs.get(key),
                parts=parts.get(key, {}),
                table_event=tables.get(key),
            )
            for key in keys
        }
        found = {key: status for key, facts in known.items() if (status := status_by_events(facts))}
        left = [key for key in keys if key not in found]
        if left:
            # Here, and not in several threads at once.
            self.storage.client("s3")

        def look(key: str) -> BatchStatus:
            manifest = self.storage.find_batch_manifest(key) if is_batch_key(key) else None
            chunk_keys = set(_chunk_keys(manifest))
            facts = replace(
                known[key],
                manifest=manifest,
                table=self._table(key) if manifest else None,
                parts={chunk: part for chunk, part in known[key].parts.items() if chunk in chunk_keys},
            )
            status = batch_status(facts)
            # Its earlier runs tell how a batch that is not done came to be so.
            return status if status.state is BatchState.done else batch_status(self.facts(key, backfills=backfills))

        with ThreadPoolExecutor(max_workers=_PARALLEL_LOOKS) as pool:
            found.update(zip(left, pool.map(look, left), strict=True))
        return [found[key] for key in keys]

    def facts(self, batch: str, *, with_jobs: bool = True, backfills: Sequence[Backfill] | None = None) -> BatchFacts:
        """Everything that the state of a batch depends on."""
        # A person may add any partition in the UI. If its name cannot name a batch, it has nothing on S3.
        manifest = self.storage.find_batch_manifest(batch) if is_batch_key(batch) else None
        keys = _chunk_keys(manifest)
        # The parts are read after the runs: a run that ended in between has left its part then.
        found = self.webserver.runs(batch)
        inputs = self.webserver.materializations("input_dataset", [batch])
        oldest_active = min((run.created_at for run in found), default=0.0)
        return BatchFacts(
            batch=batch,
            manifest=manifest,
            table=self._table(batch) if manifest else None,
            runs=found,
            # A backfill is made after the run that reads its input.
            backfills=self.webserver.backfills(oldest_active) if backfills is None else backfills,
            input=inputs.get(batch),
            parts=self.webserver.materializations("result_parts", keys),
            table_event=self.webserver.materializations("result_table", [batch], metadata=True).get(batch),
            jobs=self._jobs(batch, found) if with_jobs else {},
        )

    def cancel(self, batch: str, *, timeout: float) -> Iterator[Cancellation]:
        """End everything that goes on for the batch; its runs stop their jobs. What has come in stays.

        Yields what has happened so far after each look, and lastly the outcome.

        Args:
            batch: The batch.
            timeout: Seconds to wait for the end at most.

        Raises:
            RequestError: There is no such batch.
        """
        self.require(batch)
        deadline = self._now() + timeout
        ending = BatchEnding(batch, self.webserver, self.jobs, now=self._now)
        while True:
            yield ending.look()
            if ending.is_over or self._now() >= deadline:
                return
            self._sleep(MIN_POLL_SECONDS)

    def _step(self, batch: str, run_id: str) -> tuple[BatchStatus, str]:
        run = self.webserver.run(run_id)
        if run.active or run.retried_as:
            return BatchStatus(batch, BatchState.reading), run.retried_as or run_id
        if run.status == "FAILURE":
            raise BatchFailedError(self.webserver.failure_of(run_id))
        if run.status == "CANCELED":
            raise BatchFailedError(f"The run that reads the input was cancelled: {self.webserver.run_link(run_id)}")
        status = batch_status(self.facts(batch))
        if status.input_run is None and status.version is not None:
            # The input is on S3, and the run that read it has succeeded.
            raise DagsterRefusedError(f"Dagster does not show the input of batch {batch} at the moment.")
        if status.input_run != run_id and status.state is not BatchState.reading:
            raise BatchFailedError(
                f"Batch {batch} was launched again by run {status.input_run}, so the table of this launch is not "
                f"made. See: bedrock-batch status {batch}"
            )
        if status.state is BatchState.canceled:
            raise BatchFailedError(f"Batch {batch} was cancelled. What has come in is kept.")
        if status.state is BatchState.failed:
            raise BatchFailedError(self._why_failed(status))
        return status, run_id

    def _why_failed(self, status: BatchStatus) -> str:
        reason = self.webserver.failure_of(status.failed_run) if status.failed_run else "see the runs of its backfill"
        link = f" {self.webserver.run_link(status.failed_run)}" if status.failed_run else ""
        if not status.failed_chunks:
            return f"Batch {status.batch} failed: {reason}{link}"
        count = len(status.failed_chunks)
        total = sum(status.chunks.values())
        return (
            f"Batch {status.batch} failed in {count} of {total} chunks; {status.failed_chunks[0]}: {reason}{link} "
            "Launch the same request again to retry: finished chunks and jobs are kept."
        )

    def _table(self, batch: str) -> "TableManifest | None":
        try:
            return self.storage.table_manifest(batch)
        except NotMaterializedError:
            return None

    def _jobs(self, batch: str, runs: Sequence[Run]) -> dict[str, JobState]:
        """The states of the jobs that active runs own, by ARN."""
        wanted = {run.tags[JOB_ARN_TAG] for run in runs if run.active and JOB_ARN_TAG in run.tags}
        found: dict[str, JobState] = {}
        if not wanted:
            return found
        for state in self.jobs.list(name_contains=batch):
            if state.arn in wanted:
                found[state.arn] = state
                if len(found) == len(wanted):
                    break
        return found


def _chunk_keys(manifest: "BatchManifest | None") -> list[str]:
    return list(manifest.keyed_chunks()) if manifest else []


def _may_pass(error: Exception) -> bool:
    """Whether an error may pass by itself while a batch is followed."""
    from botocore.exceptions import BotoCoreError, ClientError

    from bedrock_batch_assets.aws.error_kinds import is_passing

    if isinstance(error, BotoCoreError | ClientError):
        return is_passing(error)
    return isinstance(error, UnreachableError | DagsterRefusedError | LapsedCredentialsError)
