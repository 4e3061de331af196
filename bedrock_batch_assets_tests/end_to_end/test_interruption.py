"""A person interrupts jobs that are in progress, and asks for their chunks again later."""

from collections import Counter

from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG
from bedrock_batch_assets_tests.end_to_end.scenario import (
    LONG,
    LONG_CHUNKS,
    LONG_PER_JOB,
    Interrupted,
    Ledger,
    Resumed,
    billed,
    jobs_of,
)
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

TERMINATED, CANCELLED = LONG_CHUNKS


def test_terminated_run(interrupted: Interrupted) -> None:
    """A run that is terminated while its job is in progress ends as CANCELED."""
    assert interrupted.terminated.status == "CANCELED"
    assert interrupted.terminated.partition == TERMINATED


def test_cancelled_backfill(interrupted: Interrupted) -> None:
    """A backfill that is cancelled ends as CANCELED, and so do its runs."""
    assert interrupted.cancelled.status == "CANCELED"
    assert {run.status for run in interrupted.cancelled.runs} == {"CANCELED"}
    assert sorted(run.partition or "" for run in interrupted.cancelled.runs) == LONG_CHUNKS


def test_jobs_are_stopped(interrupted: Interrupted) -> None:
    """Terminating a run and cancelling a backfill stop the jobs in progress, part of their records answered."""
    for job in interrupted.jobs.values():
        assert [status for status, _ in job["transitions"]][-2:] == ["InProgress", "Stopping"]
        assert 0 < job["processedRecordCount"] < job["totalRecordCount"] == LONG_PER_JOB


def test_progress(interrupted: Interrupted) -> None:
    """While a job is in progress, its counts are observed on its chunk's partition, growing up to the stop."""
    for chunk, job in interrupted.jobs.items():
        own = [metadata for partition, metadata in interrupted.observations if partition == chunk]
        counts = [metadata["records_processed"] for metadata in own if "records_processed" in metadata]
        assert 0 < min(counts) <= max(counts) <= job["processedRecordCount"]
        assert {metadata["records_total"] for metadata in own if "records_processed" in metadata} == {LONG_PER_JOB}


def test_partition_states(interrupted: Interrupted) -> None:
    """Interrupted chunks have their records rendered, and neither answers nor rows of the result."""
    assert interrupted.states["jsonl_chunks"] == {"materialized": set(LONG_CHUNKS)}
    for asset in ("batch_job_outputs", "result_parts"):
        assert set().union(*interrupted.states[asset].values()) == set(LONG_CHUNKS)
        assert not interrupted.states[asset].keys() & {"materialized", "materializing"}


def test_interrupted_chunks_stay_so(ui: Ui, interrupted: Interrupted, resumed: Resumed) -> None:
    """Nobody but the person starts an interrupted chunk again."""
    runs = ui.runs({BATCH_TAG: LONG})
    of_person = {resumed.of_terminated.id, resumed.of_cancelled.id}
    by_itself = {run.id for run in interrupted.cancelled.runs}
    assert {run.id for run in runs if run.partition in LONG_CHUNKS} == of_person | by_itself


def test_stopped_job(aws: LocalAws, interrupted: Interrupted, resumed: Resumed) -> None:
    """A chunk whose job was stopped asks with a second job for the records that the first left, and for no others."""
    assert resumed.of_cancelled.status == "SUCCESS"
    _check_second_job(aws, interrupted, CANCELLED)


def test_stopping_job(aws: LocalAws, interrupted: Interrupted, resumed: Resumed) -> None:
    """A chunk that is asked for again while its job is still stopping waits for that, then asks for what is left."""
    assert resumed.of_terminated.status == "SUCCESS"
    assert resumed.of_terminated.tags[JOB_ARN_TAG] in {job["arn"] for job in _jobs_of_chunk(aws, TERMINATED)}
    _check_second_job(aws, interrupted, TERMINATED)


def test_bill(aws: LocalAws, resumed: Resumed) -> None:
    """In the end every record of the interrupted batch was paid for exactly once, at batch price."""
    ledger = billed(aws, LONG)
    times = Counter(entry["digest"] for entry in ledger)
    assert len(times) == LONG_PER_JOB * len(LONG_CHUNKS)
    assert set(times.values()) == {1}
    assert {entry["mode"] for entry in aws.ledger()} == {"batch"}


def test_table(resumed: Resumed) -> None:
    """The interrupted batch gets its table when both chunks are in, with an answer on every row."""
    rows = LONG_PER_JOB * len(LONG_CHUNKS)
    metadata = resumed.table.metadata
    assert (metadata["dagster/row_count"], metadata["ok"], metadata["missing"]) == (rows, rows, 0)


def _check_second_job(aws: LocalAws, interrupted: Interrupted, chunk: str) -> None:
    first, second = _jobs_of_chunk(aws, chunk)
    assert first["status"] == "Stopped"
    assert second["status"] == "Completed"
    ledger = billed(aws, LONG)
    paid_then, paid_later = _records(ledger, first["arn"]), _records(ledger, second["arn"])
    assert paid_then == _records(interrupted.ledger, first["arn"])
    assert len(paid_then) == interrupted.jobs[chunk]["processedRecordCount"]
    assert not paid_then & paid_later
    assert len(paid_later) == second["totalRecordCount"] == LONG_PER_JOB - len(paid_then)


def _jobs_of_chunk(aws: LocalAws, chunk: str) -> list[dict[str, object]]:
    return [job for job in jobs_of(aws, LONG) if job["name"].startswith(f"{chunk}-")]


def _records(ledger: Ledger, arn: object) -> set[str]:
    return {entry["recordId"] for entry in ledger if entry["jobArn"] == arn}
