"""A batch from the UI: what a person sees when it is done."""

from collections import Counter

from bedrock_batch_assets.tags import BATCH_TAG, MODEL_TAG, PARTITION_TAG
from bedrock_batch_assets_tests.end_to_end.scenario import (
    CHUNK_ASSETS,
    HAIKU,
    HUNDREDS,
    HUNDREDS_CHUNKS,
    HUNDREDS_PER_JOB,
    Finished,
    Launched,
)
from bedrock_batch_assets_tests.end_to_end.ui import Edge, Ui

ROWS = HUNDREDS_PER_JOB * len(HUNDREDS_CHUNKS)


def test_lineage(ui: Ui) -> None:
    """The lineage page shows five assets with five edges, three of which cross between the sets, and the pilot."""
    partitions, edges = ui.lineage()
    crossing = "SpecificPartitionsPartitionMapping"
    assert partitions == {
        "input_dataset": "batches",
        "jsonl_chunks": "chunks",
        "batch_job_outputs": "chunks",
        "result_parts": "chunks",
        "result_table": "batches",
        "pilot": "batches",
    }
    assert {edge for edge in edges if edge.mapping == crossing} == {
        Edge("input_dataset", "jsonl_chunks", crossing),
        Edge("input_dataset", "result_parts", crossing),
        Edge("result_parts", "result_table", crossing),
    }
    assert {(edge.upstream, edge.downstream) for edge in edges if edge.mapping != crossing} == {
        ("jsonl_chunks", "batch_job_outputs"),
        ("batch_job_outputs", "result_parts"),
    }


def test_chunks(ui: Ui, finished: Finished) -> None:
    """The input becomes chunk partitions of the three chunk assets, in order."""
    for asset in CHUNK_ASSETS:
        assert ui.partitions(asset, HUNDREDS) == HUNDREDS_CHUNKS
    assert ui.materialization("input_dataset", HUNDREDS).metadata["chunks"] == len(HUNDREDS_CHUNKS)


def test_backfill_of_the_sensor(ui: Ui, finished: Finished) -> None:
    """The sensor starts one backfill for the batch, and that makes one run per chunk, of all three chunk assets."""
    backfills = [item for item in ui.web.backfills() if item.tags[BATCH_TAG] == HUNDREDS]
    page = finished.of_sensor
    assert [item.id for item in backfills] == [page.id]
    assert page.status == "COMPLETED_SUCCESS"
    assert page.assets == set(CHUNK_ASSETS)
    assert sorted(run.partition or "" for run in page.runs) == HUNDREDS_CHUNKS
    assert {run.assets for run in page.runs} == {frozenset(CHUNK_ASSETS)}
    assert {run.status for run in page.runs} == {"SUCCESS"}


def test_tags(finished: Finished) -> None:
    """Runs of the sensor's and of the person's backfill carry batch, chunk and model, for the queue's limits."""
    for run in [*finished.of_sensor.runs, *finished.of_person.runs]:
        tags = {name: run.tags[name] for name in (BATCH_TAG, PARTITION_TAG, MODEL_TAG)}
        assert tags == {BATCH_TAG: HUNDREDS, PARTITION_TAG: run.partition, MODEL_TAG: HAIKU}


def test_input_metadata(ui: Ui, launched: Launched, finished: Finished) -> None:
    """The input's materialization tells its rows, model and what is about to be sent."""
    event = ui.materialization("input_dataset", HUNDREDS)
    assert event.run_id == launched.hundreds
    expected = {"dagster/row_count": ROWS, "records_to_send": ROWS, "skipped_rows": 0, "model_id": HAIKU}
    assert expected.items() <= event.metadata.items()


def test_table_metadata(finished: Finished) -> None:
    """The table's materialization accounts for every row by status, and these add up to the rows of the input."""
    metadata = finished.table.metadata
    statuses = {name: metadata[name] for name in ("ok", "error", "truncated", "skipped", "missing")}
    assert sum(statuses.values()) == metadata["dagster/row_count"] == ROWS
    assert statuses["ok"] == ROWS
    assert metadata["parts"] == len(HUNDREDS_CHUNKS)
    assert metadata["input_tokens"] > ROWS
    assert metadata["output_tokens"] > ROWS


def test_checks(ui: Ui, finished: Finished) -> None:
    """The run that built the table evaluated the table's checks, and all passed."""
    checks = ui.checks("result_table", finished.table.run_id)
    assert set(checks.values()) == {"SUCCEEDED"}
    assert {"rows_accounted_for", "built_from_current_input"} <= checks.keys()


def test_partition_states(ui: Ui, finished: Finished) -> None:
    """Every partition of the batch is shown as materialized in every asset, and none of it as anything else."""
    for asset in ("input_dataset", "result_table"):
        assert ui.partition_states(asset).of(HUNDREDS) == {"materialized": {HUNDREDS}}
    for asset in CHUNK_ASSETS:
        states = ui.partition_states(asset).of(HUNDREDS)
        # Some are being made again by then, as a later test has them.
        assert states.get("materialized", set()) | states.get("materializing", set()) == set(HUNDREDS_CHUNKS)
        assert not states.keys() - {"materialized", "materializing"}


def test_observations(ui: Ui, finished: Finished) -> None:
    """Jobs in flight are observed on their chunk's partition of batch_job_outputs, with status and ARN."""
    arns = {job["arn"]: job["name"] for job in finished.jobs}
    seen = ui.observations("batch_job_outputs", HUNDREDS_CHUNKS)
    assert seen
    for chunk, metadata in seen:
        assert arns[metadata["job_arn"]].startswith(f"{chunk}-")
        assert metadata["status"] in {"Submitted", "Validating", "Scheduled", "InProgress", "Completed"}


def test_bill(finished: Finished) -> None:
    """Every record was paid for exactly once, at batch price, although some chunks had two runs."""
    times = Counter(entry["digest"] for entry in finished.ledger)
    assert len(times) == ROWS
    assert set(times.values()) == {1}
    assert {entry["mode"] for entry in finished.ledger} == {"batch"}
    chunks = Counter(entry["jobName"].rpartition("-")[0] for entry in finished.ledger)
    assert chunks == dict.fromkeys(HUNDREDS_CHUNKS, HUNDREDS_PER_JOB)


def test_sensors(ui: Ui, finished: Finished) -> None:
    """No tick of a sensor fails on the way."""
    assert ui.failed_ticks() == []
