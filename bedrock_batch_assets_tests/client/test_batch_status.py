from dataclasses import replace

import msgspec
import pytest

from bedrock_batch_assets.client.batch_status import (
    BatchFacts,
    BatchState,
    BatchStatus,
    ChunkState,
    TableState,
    batch_status,
    status_by_events,
)
from bedrock_batch_assets.client.webserver import Backfill, Materialization, Run
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.records.reasons import Reason
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry, PartSummary, TableManifest

CHUNKS = ("b-00000", "b-00001")
# The input is read at 100; what is before is of an earlier launch.
INPUT_AT = 100.0


def _manifest(version: str = "v2", entries: tuple[str, str] = ("e0", "e1")) -> BatchManifest:
    return BatchManifest(
        batch="b",
        version=version,
        request={},
        model_id="m",
        base_model_id="m",
        processor="anthropic",
        parameters={},
        template="{topic}",
        output_format=OutputFormat.parquet,
        rows_key="rows",
        schema=b"",
        row_count=250,
        records_per_job=130,
        chunks=[ChunkEntry(0, 120, entries[0]), ChunkEntry(120, 130, entries[1])],
    )


def _table(version: str) -> TableManifest:
    total = PartSummary(
        version=version, rows=250, ok=240, error=4, truncated=3, skipped=2, missing=1, input_tokens=70, output_tokens=90
    )
    return TableManifest(batch="b", version=version, output_format=OutputFormat.parquet, parts=[], total=total)


def _part(chunk: str, version: str, at: float = 150.0) -> Materialization:
    return Materialization(chunk, "r", at, version)


def _chunk_run(chunk: str, status: str, *, at: float = 110.0, tags: dict[str, str] | None = None) -> Run:
    assets = frozenset({"jsonl_chunks", "batch_job_outputs", "result_parts"})
    ended = at + 5 if status in {"SUCCESS", "FAILURE", "CANCELED"} else None
    return Run(f"{chunk}-{status}-{at}", status, {"dagster/partition": chunk, **(tags or {})}, assets, at, ended)


def _job(arn: str, processed: int | None) -> JobState:
    return JobState(arn, "name", "InProgress", None, "m", None, None, "s3://b/o/", 130, processed, processed, 0)


def _facts(*runs: Run, **changes: object) -> BatchFacts:
    """The input of version v2 was read at 100 by run `input`."""
    facts = BatchFacts("b", manifest=_manifest(), runs=runs, input=Materialization("b", "input", INPUT_AT, "v2"))
    return replace(facts, **changes)  # type: ignore[arg-type]


BOTH_PARTS = {chunk: _part(chunk, version) for chunk, version in zip(CHUNKS, ("e0", "e1"), strict=True)}
DONE = _facts(parts=BOTH_PARTS, table=_table("v2"), table_event=Materialization("b", "t", 160.0, "v2"))


def _chunks(status: BatchStatus) -> dict[str, int]:
    return {state.value: count for state, count in status.chunks.items()}


def test_a_partition_alone_is_new() -> None:
    """A batch of which there is nothing but its key is new, with no rows and no table."""
    status = batch_status(BatchFacts("b"))
    assert (status.state, status.rows, status.table) == (BatchState.new, 0, TableState.none)


@pytest.mark.parametrize(
    ("status", "state"),
    [("QUEUED", "reading input"), ("STARTED", "reading input"), ("FAILURE", "failed"), ("CANCELED", "canceled")],
)
def test_a_batch_without_input_is_what_its_input_run_is(status: str, state: str) -> None:
    """Before the first input is in, the run that reads it gives the state."""
    run = Run("r", status, {}, frozenset({"input_dataset"}), 1.0)
    found = batch_status(BatchFacts("b", runs=[run]))
    assert found.state.value == state
    assert found.failed_run == ("r" if status == "FAILURE" else None)


def test_a_new_input_waits_for_the_sensor() -> None:
    """With the input in and nothing else, all chunks wait and the batch is not final."""
    status = batch_status(_facts())
    assert status.state is BatchState.waiting
    assert not status.state.final
    assert _chunks(status) == {"waiting": 2}
    assert (status.rows, status.rows_done, status.version, status.input_run) == (250, 0, "v2", "input")


def test_a_backfill_without_runs_is_running() -> None:
    """From the backfill's request on the batch runs, though no run is there yet; others' backfills do not count."""
    mine = Backfill("x", "REQUESTED", {"bedrock/batch": "b", "bedrock/version": "v2"})
    assert batch_status(_facts(backfills=[mine])).state is BatchState.running
    for other in ({"bedrock/batch": "c"}, {"bedrock/batch": "b", "bedrock/version": "v1"}):
        assert batch_status(_facts(backfills=[replace(mine, tags=other)])).state is BatchState.waiting
    assert batch_status(_facts(backfills=[replace(mine, status="COMPLETED_SUCCESS")])).state is BatchState.waiting


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("QUEUED", "queued"),
        ("NOT_STARTED", "queued"),
        ("STARTING", "running"),
        ("STARTED", "running"),
        ("SUSPENDED", "running"),
        ("CANCELING", "running"),
        ("FAILURE", "failed"),
        ("CANCELED", "canceled"),
        ("SUCCESS", "waiting"),
    ],
)
def test_a_chunk_is_what_its_newest_run_is(status: str, state: str) -> None:
    """The newest run of this input gives a chunk's state; without a part even a success is none."""
    runs = [_chunk_run(CHUNKS[0], status, at=120.0), _chunk_run(CHUNKS[0], "FAILURE", at=110.0)]
    assert _chunks(batch_status(_facts(*runs))) == ({state: 1, "waiting": 1} if state != "waiting" else {"waiting": 2})


def test_a_crashed_run_that_will_be_retried_is_not_failed() -> None:
    """Between a crash and its automatic retry the chunk is queued; once the retry is there, that one counts."""
    crashed = _chunk_run(CHUNKS[0], "FAILURE", tags={"dagster/will_retry": "true"})
    status = batch_status(_facts(crashed))
    assert (status.state, _chunks(status)) == (BatchState.running, {"queued": 1, "waiting": 1})
    retried = replace(crashed, tags={**crashed.tags, "dagster/auto_retry_run_id": "n"})
    failed = _chunk_run(CHUNKS[0], "FAILURE", at=130.0)
    status = batch_status(_facts(failed, retried))
    assert (status.state, status.failed_run) == (BatchState.failed, failed.id)


@pytest.mark.parametrize(
    "run",
    [
        _chunk_run(CHUNKS[0], "FAILURE", at=50.0),
        _chunk_run(CHUNKS[0], "FAILURE", at=110.0, tags={"bedrock/version": "v1"}),
    ],
    ids=["ended before the input was read", "of another version"],
)
def test_a_failure_of_an_earlier_input_does_not_count(run: Run) -> None:
    """A relaunched batch is not failed by what failed before."""
    status = batch_status(_facts(run))
    assert (status.state, _chunks(status)) == (BatchState.waiting, {"waiting": 2})


def test_a_failure_waits_for_the_other_chunks() -> None:
    """A batch with a failed chunk runs on until the others have ended, and is failed then, with the chunk named."""
    failed, other = _chunk_run(CHUNKS[0], "FAILURE"), _chunk_run(CHUNKS[1], "STARTED")
    status = batch_status(_facts(other, failed))
    assert (status.state, status.failed_chunks) == (BatchState.running, [CHUNKS[0]])
    status = batch_status(_facts(failed, parts={CHUNKS[1]: BOTH_PARTS[CHUNKS[1]]}))
    assert (status.state, status.failed_run) == (BatchState.failed, failed.id)
    assert status.rows_done == 130


def test_cancelled_chunks_make_a_cancelled_batch() -> None:
    """A batch whose missing chunks were cancelled is cancelled, not failed."""
    status = batch_status(_facts(_chunk_run(CHUNKS[0], "CANCELED"), parts={CHUNKS[1]: BOTH_PARTS[CHUNKS[1]]}))
    assert (status.state, _chunks(status)) == (BatchState.canceled, {"canceled": 1, "succeeded": 1})


def test_records_done_are_finished_chunks_and_what_jobs_report() -> None:
    """Rows of finished chunks count whole, those of running ones as far as their jobs have come."""
    run = _chunk_run(CHUNKS[1], "STARTED", tags={"bedrock/job_arn": "arn-1"})
    facts = _facts(run, parts={CHUNKS[0]: BOTH_PARTS[CHUNKS[0]]}, jobs={"arn-1": _job("arn-1", 30)})
    status = batch_status(facts)
    assert (status.rows_done, dict(status.jobs)) == (150, {"InProgress": 1})
    assert batch_status(replace(facts, jobs={"arn-1": _job("arn-1", None)})).rows_done == 120
    # A job of another input may have been larger than the chunk is now.
    assert batch_status(replace(facts, jobs={"arn-1": _job("arn-1", 900)})).rows_done == 250


def test_parts_of_an_earlier_input_do_not_count() -> None:
    """A part made from other rows, prompt or model leaves its chunk to be done."""
    status = batch_status(_facts(parts={CHUNKS[0]: _part(CHUNKS[0], "old"), CHUNKS[1]: BOTH_PARTS[CHUNKS[1]]}))
    assert (status.state, _chunks(status)) == (BatchState.waiting, {"waiting": 1, "succeeded": 1})


def test_done_needs_the_table_of_this_input() -> None:
    """All parts in and a newer table of this version: done, with the table's account."""
    status = batch_status(DONE)
    assert (status.state, status.table, status.rows_done) == (BatchState.done, TableState.current, 250)
    assert status.records == {"ok": 240, "error": 4, "truncated": 3, "skipped": 2, "missing": 1}
    assert (status.input_tokens, status.output_tokens) == (70, 90)


@pytest.mark.parametrize(
    "event",
    [None, Materialization("b", "t", 160.0, "v1"), Materialization("b", "t", 140.0, "v2")],
    ids=["no table", "a table of an earlier input", "a table older than its newest part"],
)
def test_an_old_table_is_not_done(event: Materialization | None) -> None:
    """Waiting for a relaunched batch is never satisfied by a table that was there before."""
    assert batch_status(replace(DONE, table_event=event)).state is BatchState.waiting


def test_a_table_of_an_earlier_input_is_told() -> None:
    """While the new chunks run, the table on S3 is shown as what it is."""
    status = batch_status(replace(DONE, table=_table("v1"), parts={}))
    assert (status.table, status.table_version) == (TableState.earlier, "v1")


def test_a_failed_table_is_a_failed_batch() -> None:
    """Parts all in, table run failed after them: failed, with that run; an older failure says nothing."""
    run = Run("t", "FAILURE", {"dagster/partition": "b"}, frozenset({"result_table"}), 170.0, 171.0)
    facts = replace(DONE, table_event=None, runs=[run])
    assert (batch_status(facts).state, batch_status(facts).failed_run) == (BatchState.failed, "t")
    assert batch_status(replace(facts, runs=[replace(run, created_at=120.0)])).state is BatchState.waiting
    # The input was read again after the table had failed: this launch has not asked for it yet.
    again = Materialization("b", "input", 180.0, "v2")
    assert batch_status(replace(facts, input=again)).state is BatchState.waiting


def test_reading_the_input_again_is_reading() -> None:
    """A relaunch counts from its first moment, though everything of the last launch is still there."""
    run = Run("again", "QUEUED", {"dagster/partition": "b"}, frozenset({"input_dataset"}), 200.0)
    assert batch_status(replace(DONE, runs=[run])).state is BatchState.reading


def test_a_status_is_plain_json() -> None:
    """The JSON form names every chunk state, also those with no chunk."""
    plain = batch_status(DONE).to_json()
    assert plain["chunks"] == {**dict.fromkeys([state.value for state in ChunkState], 0), "succeeded": 2}
    assert (plain["state"], plain["result_table"]) == ("done", "current")


@pytest.mark.parametrize(
    ("version", "metadata", "cost"),
    [
        ("v2", {"cost_usd": 1.25}, 1.25),
        ("v2", {"cost": "not known: no table"}, None),
        # Of another table than the one that is there.
        ("v1", {"cost_usd": 1.25}, None),
    ],
)
def test_the_cost_is_that_of_the_table_that_is_there(
    version: str, metadata: dict[str, object], cost: float | None
) -> None:
    """It is what the table's own materialization says, and not known otherwise; JSON has it, too."""
    facts = replace(DONE, table_event=Materialization("b", "t", 160.0, version, metadata))
    status = batch_status(facts)
    assert status.cost_usd == cost
    assert status.to_json()["cost_usd"] == cost


def test_reasons_are_those_of_the_table() -> None:
    """A batch whose table has failed rows says why, in JSON as well."""
    table = _table("v2")
    reasons = [Reason("error", "400: odd", 4, 17)]
    total = msgspec.structs.replace(table.total, reasons=reasons)
    status = batch_status(replace(DONE, table=msgspec.structs.replace(table, total=total)))
    assert list(status.reasons) == reasons
    expected = {"status": "error", "text": "400: odd", "rows": 4, "first_row": 17}
    assert status.to_json()["errors_by_reason"] == [expected]


ALL_OK = PartSummary(version="v2", rows=250, ok=250, error=0, truncated=0, skipped=0, missing=0, input_tokens=70)
TABLE_METADATA = {
    "dagster/row_count": 250,
    "parts": 2,
    "model": "m",
    **ALL_OK.statuses(),
    "input_tokens": 70,
    "output_tokens": 0,
    "cost_usd": 0.25,
}
DONE_AND_OK = replace(
    DONE,
    table=TableManifest(batch="b", version="v2", output_format=OutputFormat.parquet, parts=[], total=ALL_OK),
    table_event=Materialization("b", "t", 160.0, "v2", TABLE_METADATA),
)


def test_events_alone_say_the_same_of_a_batch_that_is_done() -> None:
    """What Dagster's events say of a batch that is done is what S3 says, too."""
    without_s3 = replace(DONE_AND_OK, manifest=None, table=None)
    assert status_by_events(without_s3) == batch_status(DONE_AND_OK)


@pytest.mark.parametrize(
    "change",
    [
        {"table_event": None},
        {"table_event": Materialization("b", "t", 160.0, "v1", TABLE_METADATA)},
        {"table_event": Materialization("b", "t", 160.0, "v2", {})},
        {"table_event": Materialization("b", "t", 160.0, "v2", {**TABLE_METADATA, "ok": 249, "error": 1})},
        {"input": None},
        {"input": Materialization("b", "input", INPUT_AT, "v3")},
        {"parts": {**BOTH_PARTS, CHUNKS[1]: _part(CHUNKS[1], "e1", at=170.0)}},
        {"runs": [_chunk_run(CHUNKS[0], "STARTED")]},
        {"runs": [_chunk_run(CHUNKS[0], "FAILURE", tags={"dagster/will_retry": "true"})]},
        {"backfills": [Backfill("f", "REQUESTED", {"bedrock/batch": "b"})]},
    ],
)
def test_events_alone_say_nothing_of_any_other_batch(change: dict[str, object]) -> None:
    """A table of another input, an older one, one with failed rows, work that goes on: S3 has to be asked."""
    assert status_by_events(replace(DONE_AND_OK, manifest=None, table=None, **change)) is None  # type: ignore[arg-type]
