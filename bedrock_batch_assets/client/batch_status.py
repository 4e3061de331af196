"""The true state of a batch, judged from what Dagster, S3 and Bedrock say about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from bedrock_batch_assets.asset_names import PILOT
from bedrock_batch_assets.client.webserver import Backfill, Materialization, Run
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.records.reasons import Reason
from bedrock_batch_assets.storage.manifests import ROW_STATUSES, BatchManifest, TableManifest
from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG, VERSION_TAG

# Failures that are looked into: each takes a query.
MOST_FAILURES = 20


class ChunkState(StrEnum):
    """What is true of one chunk, for the batch's input as it is now."""

    waiting = "waiting"
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"


class BatchState(StrEnum):
    """What is true of the whole batch."""

    new = "new"  # a partition, and nothing else
    reading = "reading input"
    waiting = "waiting"  # the sensor is about to ask for its chunks, or for its table
    running = "running"
    done = "done"
    failed = "failed"
    canceled = "canceled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens unless a person acts."""
        return self in {BatchState.done, BatchState.failed, BatchState.canceled}


class TableState(StrEnum):
    """What is true of the result table on S3."""

    none = "none"
    current = "current"
    earlier = "of an earlier input"


@dataclass(frozen=True)
class BatchFacts:
    """The facts about one batch.

    `manifest` and `table` are from S3. `runs` are newest first; `input`, `parts` (by chunk key) and
    `table_event` are the latest materializations; `jobs` are by ARN, and may be empty if Bedrock was not asked.
    """

    batch: str
    manifest: BatchManifest | None = None
    table: TableManifest | None = None
    runs: Sequence[Run] = ()
    backfills: Sequence[Backfill] = ()
    input: Materialization | None = None
    parts: Mapping[str, Materialization] = field(default_factory=dict)
    table_event: Materialization | None = None
    jobs: Mapping[str, JobState] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkFailure:
    """A run that failed: of a chunk, of the input or of the table, then `chunk` is None. `reason` may not be known."""

    chunk: str | None
    run_id: str
    reason: str = ""
    url: str = ""


@dataclass(frozen=True)
class BatchStatus:
    """The state of one batch. Counts are rows (records), but for chunks and tokens.

    `started_at` is when the input was read, or its run made, in seconds since the epoch. `failures` are the first 20.
    """

    batch: str
    state: BatchState
    model_id: str | None = None
    version: str | None = None
    input_run: str | None = None
    rows: int = 0
    rows_done: int = 0
    # Rows that had their answer before this input; rows whose record an earlier row has.
    rows_reused: int = 0
    rows_repeated: int = 0
    chunks: Mapping[ChunkState, int] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    table: TableState = TableState.none
    table_version: str | None = None
    records: Mapping[str, int] = field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    failed_chunks: Sequence[str] = ()
    failed_run: str | None = None
    reasons: Sequence[Reason] = ()
    # USD that the table's answers cost; None if there is no table, or if the price is not known.
    cost_usd: float | None = None
    started_at: float | None = None
    failures: Sequence[ChunkFailure] = ()

    def to_json(self) -> dict[str, Any]:
        """The status as plain data."""
        return {
            "batch": self.batch,
            "state": self.state.value,
            "model_id": self.model_id,
            "version": self.version,
            "rows": self.rows,
            "rows_done": self.rows_done,
            "rows_reused": self.rows_reused,
            "rows_repeated": self.rows_repeated,
            "chunks": {state.value: self.chunks.get(state, 0) for state in ChunkState},
            "jobs": dict(self.jobs),
            "result_table": self.table.value,
            "result_table_version": self.table_version,
            "records": dict(self.records),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "failed_chunks": list(self.failed_chunks),
            "failed_run": self.failed_run,
            "failures": [asdict(failure) for failure in self.failures],
            "started_at": self.started_at,
            "cost_usd": self.cost_usd,
            "errors_by_reason": [asdict(reason) for reason in self.reasons],
        }


def batch_status(facts: BatchFacts) -> BatchStatus:
    """Judge the facts about a batch. Its pilots are no part of it."""
    facts = replace(facts, runs=[run for run in facts.runs if run.assets != {PILOT}])
    manifest = facts.manifest
    table, records, tokens = _table(facts)
    if manifest is None:
        state, failed_run = _state_without_input(facts)
        failures = [ChunkFailure(None, failed_run)] if failed_run else []
        return BatchStatus(facts.batch, state, failed_run=failed_run, started_at=_started_at(facts), failures=failures)
    chunks = manifest.keyed_chunks()
    states = chunk_states(facts)
    jobs = _jobs_in_flight(facts)
    rows_done = 0
    for key, entry in chunks.items():
        if states[key] is ChunkState.succeeded:
            rows_done += entry.row_count
        elif key in jobs:
            rows_done += min(jobs[key].processed or 0, entry.row_count)
    state, failed_run = _state(facts, manifest, states)
    failed = [key for key in chunks if states[key] is ChunkState.failed]
    return BatchStatus(
        batch=facts.batch,
        state=state,
        model_id=manifest.model_id,
        version=manifest.version,
        input_run=facts.input.run_id if facts.input else None,
        rows=manifest.row_count,
        rows_done=manifest.rows_done(rows_done),
        rows_reused=manifest.reused,
        rows_repeated=manifest.repeated,
        chunks=Counter(states.values()),
        jobs=Counter(job.status for job in jobs.values()),
        table=table,
        table_version=facts.table.version if facts.table else None,
        records=records,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        failed_chunks=failed,
        failed_run=failed_run,
        reasons=facts.table.total.reasons if facts.table else (),
        cost_usd=_cost(facts),
        started_at=_started_at(facts),
        failures=_failures(facts, failed, failed_run),
    )


def status_by_events(facts: BatchFacts) -> BatchStatus | None:
    """The status of a batch that Dagster's events alone show to be done, with an answer for every row.

    Its table has the version of the input and is newer than all parts, and nothing goes on. None if any of that is not
    so: then S3 has to be asked, too.
    """
    event = facts.table_event
    if event is None or facts.input is None or event.version is None or event.version != facts.input.version:
        return None
    if active_backfills(facts) or any(run.assets != {PILOT} for run in active_runs(facts)):
        return None
    if any(part.at > event.at for part in facts.parts.values()):
        return None
    found = event.metadata
    rows, parts, ok = (found.get(name) for name in ("dagster/row_count", "parts", "ok"))
    if not isinstance(rows, int) or not isinstance(parts, int) or ok != rows:
        return None
    cost = found.get("cost_usd")
    return BatchStatus(
        batch=facts.batch,
        state=BatchState.done,
        model_id=found.get("model"),
        version=event.version,
        input_run=facts.input.run_id,
        rows=rows,
        rows_done=rows,
        chunks={ChunkState.succeeded: parts},
        table=TableState.current,
        table_version=event.version,
        records={name: int(found.get(name) or 0) for name in ROW_STATUSES},
        input_tokens=found.get("input_tokens"),
        output_tokens=found.get("output_tokens"),
        failed_chunks=[],
        reasons=[],
        failures=[],
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
        started_at=facts.input.at,
    )


def _started_at(facts: BatchFacts) -> float | None:
    if facts.input is not None:
        return facts.input.at
    return min((run.created_at for run in facts.runs), default=None)


def _failures(facts: BatchFacts, failed: Sequence[str], failed_run: str | None) -> list[ChunkFailure]:
    """The last run of each failed chunk; or the failed run, if it is none of a chunk's."""
    newest: dict[str, str] = {}
    for run in facts.runs:
        if run.partition is not None and run.status == "FAILURE":
            newest.setdefault(run.partition, run.id)
    found = [ChunkFailure(key, newest[key]) for key in failed[:MOST_FAILURES] if key in newest]
    return found or ([ChunkFailure(None, failed_run)] if failed_run else [])


def chunk_states(facts: BatchFacts) -> dict[str, ChunkState]:
    """The state of each chunk, by chunk key, for the input as it is now."""
    manifest = facts.manifest
    if manifest is None:
        return {}
    runs: dict[str, list[Run]] = {}
    for run in facts.runs:
        runs.setdefault(run.partition or "", []).append(run)
    states: dict[str, ChunkState] = {}
    for key, entry in manifest.keyed_chunks().items():
        part = facts.parts.get(key)
        is_current = part is not None and part.version == entry.version
        states[key] = _chunk_state(runs.get(key, []), facts, manifest.version, is_current=is_current)
    return states


def active_runs(facts: BatchFacts) -> list[Run]:
    """Runs of the batch that have not ended."""
    return [run for run in facts.runs if run.active]


def active_backfills(facts: BatchFacts) -> list[Backfill]:
    """Backfills of the batch that may still start runs."""
    return [backfill for backfill in facts.backfills if backfill.active and backfill.tags.get(BATCH_TAG) == facts.batch]


def _chunk_state(runs: Sequence[Run], facts: BatchFacts, version: str, *, is_current: bool) -> ChunkState:
    active = [run for run in runs if run.active]
    if active:
        is_queued = all(run.status in {"QUEUED", "NOT_STARTED", "MANAGED"} or run.to_be_retried for run in active)
        return ChunkState.queued if is_queued else ChunkState.running
    if is_current:
        return ChunkState.succeeded
    # The end of a backfill counts only if it was for this input.
    since = facts.input.at if facts.input else 0.0
    for run in runs:
        is_of_this_input = run.tags.get(VERSION_TAG, version) == version and (run.ended_at or run.created_at) >= since
        if is_of_this_input:
            return {"FAILURE": ChunkState.failed, "CANCELED": ChunkState.canceled}.get(run.status, ChunkState.waiting)
    return ChunkState.waiting


def _table(facts: BatchFacts) -> tuple[TableState, dict[str, int], tuple[int | None, int | None]]:
    if facts.table is None or facts.manifest is None:
        return TableState.none, {}, (None, None)
    total = facts.table.total
    is_current = facts.table.version == facts.manifest.version
    return (
        TableState.current if is_current else TableState.earlier,
        total.statuses(),
        (total.input_tokens, total.output_tokens),
    )


def _cost(facts: BatchFacts) -> float | None:
    """The cost that the table's materialization says, if that is of the table that is there."""
    event = facts.table_event
    if event is None or facts.table is None or event.version != facts.table.version:
        return None
    cost = event.metadata.get("cost_usd")
    return float(cost) if isinstance(cost, int | float) else None


def _state_without_input(facts: BatchFacts) -> tuple[BatchState, str | None]:
    run = next((run for run in facts.runs if "input_dataset" in run.assets), None)
    if run is None:
        return BatchState.new, None
    if run.active:
        return BatchState.reading, None
    if run.status == "FAILURE":
        return BatchState.failed, run.id
    return (BatchState.canceled if run.status == "CANCELED" else BatchState.new), None


def _state(
    facts: BatchFacts, manifest: BatchManifest, states: Mapping[str, ChunkState]
) -> tuple[BatchState, str | None]:
    active = active_runs(facts)
    if any("input_dataset" in run.assets for run in active):
        return BatchState.reading, None
    backfills = [
        item for item in active_backfills(facts) if item.tags.get(VERSION_TAG, manifest.version) == manifest.version
    ]
    if active or backfills:
        return BatchState.running, None
    counts = Counter(states.values())
    if counts[ChunkState.failed]:
        failed = {key for key, state in states.items() if state is ChunkState.failed}
        run = next((run for run in facts.runs if run.partition in failed and run.status == "FAILURE"), None)
        return BatchState.failed, run.id if run else None
    if counts[ChunkState.canceled]:
        return BatchState.canceled, None
    if counts[ChunkState.waiting]:
        return BatchState.waiting, None
    return _state_of_table(facts, manifest)


def _state_of_table(facts: BatchFacts, manifest: BatchManifest) -> tuple[BatchState, str | None]:
    """The batch's state when all of its parts are in and nothing runs."""
    newest_part = max((part.at for part in facts.parts.values()), default=0.0)
    event = facts.table_event
    if event is not None and event.version == manifest.version and event.at >= newest_part:
        return BatchState.done, None
    run = next((run for run in facts.runs if "result_table" in run.assets), None)
    # A failure before the input was read again belongs to an earlier launch: this one asks for its table anew.
    if run is not None and run.created_at >= max(newest_part, facts.input.at if facts.input else 0.0):
        if run.status == "FAILURE":
            return BatchState.failed, run.id
        if run.status == "CANCELED":
            return BatchState.canceled, None
    return BatchState.waiting, None


def _jobs_in_flight(facts: BatchFacts) -> dict[str, JobState]:
    """The jobs that running runs own, by chunk key."""
    found: dict[str, JobState] = {}
    for run in facts.runs:
        job = facts.jobs.get(run.tags.get(JOB_ARN_TAG, ""))
        if run.active and job is not None and run.partition is not None:
            found.setdefault(run.partition, job)
    return found
