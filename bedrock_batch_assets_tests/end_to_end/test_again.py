"""Asking again for chunks that are done costs nothing."""

from collections import Counter

from bedrock_batch_assets_tests.end_to_end.scenario import (
    AGAIN,
    HUNDREDS,
    HUNDREDS_CHUNKS,
    HUNDREDS_PER_JOB,
    Again,
    Finished,
    billed,
    jobs_of,
)
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


def test_chosen_chunks_alone(again: Again) -> None:
    """A backfill of three chosen chunks runs exactly these."""
    assert again.backfill.status == "COMPLETED_SUCCESS"
    assert sorted(run.partition or "" for run in again.backfill.runs) == AGAIN


def test_chunks_are_materialized_again(ui: Ui, finished: Finished, again: Again) -> None:
    """The chosen chunks' parts come from the new runs, the others' from earlier ones."""
    new = {run.partition: run.id for run in again.backfill.runs}
    parts = ui.web.materializations("result_parts", HUNDREDS_CHUNKS)
    assert {chunk: part.run_id for chunk, part in parts.items() if chunk in AGAIN} == new
    assert {part.run_id for chunk, part in parts.items() if chunk not in AGAIN}.isdisjoint(new.values())


def test_nothing_is_billed_again(aws: LocalAws, finished: Finished, again: Again) -> None:
    """Chunks that run again collect what their jobs left: no further job, and no further record on the bill."""
    assert jobs_of(aws, HUNDREDS) == finished.jobs
    assert billed(aws, HUNDREDS) == finished.ledger


def test_table_is_built_again(finished: Finished, again: Again) -> None:
    """The table is built again after its parts, with the same account of its rows."""
    assert again.table.run_id != finished.table.run_id
    assert again.table.at > max(run.ended_at or 0.0 for run in again.backfill.runs)
    names = ("ok", "error", "truncated", "skipped", "missing", "dagster/row_count", "version")
    assert {name: again.table.metadata[name] for name in names} == {
        name: finished.table.metadata[name] for name in names
    }
    assert Counter(again.table.metadata)["ok"] == HUNDREDS_PER_JOB * len(HUNDREDS_CHUNKS)
