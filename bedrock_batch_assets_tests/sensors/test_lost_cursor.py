"""What becomes of batches when the sensors' cursors are lost, or the code location gets another name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus

from bedrock_batch_assets_tests.dagster_in_process import InProcessDagster, in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


@pytest.fixture
def platform(local_aws: LocalAws, tmp_path: Path) -> Iterator[InProcessDagster]:
    with in_process_dagster(local_aws, tmp_path) as running:
        yield running


def forget(platform: InProcessDagster) -> None:
    """Let the sensors tick without their cursors, and then under another location name, as `dg dev` gives one."""
    platform.lose_cursors()
    platform.sensors()
    platform.locate(f"location-{len(platform.backfills())}-{len(platform.instance.get_runs())}")
    platform.sensors()


def test_a_batch_is_run_once_whenever_the_cursor_is_lost(platform: InProcessDagster) -> None:
    """The cursor goes at every step of a batch's life: one backfill, a run a chunk, one table, no record paid twice."""
    run_id = platform.launch("demo", 200)
    forget(platform)
    assert platform.dequeue() == [run_id]
    platform.execute(run_id)
    forget(platform)  # asks for the chunks
    forget(platform)
    platform.backfill_daemon()
    forget(platform)
    first, second = platform.dequeue()
    forget(platform)
    platform.execute(first)
    forget(platform)
    platform.execute(second)
    forget(platform)  # asks for the table
    forget(platform)
    (table,) = platform.dequeue()
    forget(platform)
    assert platform.execute(table).status is DagsterRunStatus.SUCCESS
    platform.backfill_daemon()
    forget(platform)
    assert platform.dequeue() == []
    # The input, two chunks, the table; one backfill; a job a chunk.
    assert platform.counts() == (4, 1, 2)
    ledger = [record["recordId"] for record in platform.aws.ledger()]
    assert len(ledger) == len(set(ledger)) == 200
    assert platform.backfills()[0].status is BulkActionStatus.COMPLETED_SUCCESS


def test_what_a_person_cancelled_or_deleted_stays_so(platform: InProcessDagster) -> None:
    """A cancelled batch, a failed one and a deleted one have no new run, backfill or job, until somebody asks."""
    for batch in ("cancelled", "failed", "deleted"):
        platform.read_input(batch, 100)
    platform.sensors()
    assert len(platform.backfills()) == 3
    platform.backfill_daemon()
    chunk_runs = {platform.run(run_id).tags["bedrock/batch"]: run_id for run_id in platform.dequeue()}
    # A step that fails: the stand-in refuses every new job.
    platform.aws.put_settings(
        {"api_faults": [{"operation": "CreateModelInvocationJob", "code": "ValidationException"}]}
    )
    assert platform.execute(chunk_runs["failed"]).status is DagsterRunStatus.FAILURE
    platform.aws.put_settings({"api_faults": []})
    for batch in ("cancelled", "deleted"):
        platform.instance.report_run_canceled(platform.run(chunk_runs[batch]))
        (backfill,) = [item for item in platform.backfills() if item.tags["bedrock/batch"] == batch]
        platform.web.cancel_backfill(backfill.backfill_id)
    platform.web.delete_partitions("chunks", ["deleted-00000"])
    platform.web.delete_partitions("batches", ["deleted"])
    platform.backfill_daemon()
    platform.backfill_daemon()
    assert {item.tags["bedrock/batch"]: item.status.value for item in platform.backfills()} == {
        "cancelled": "CANCELED",
        "failed": "COMPLETED_FAILED",
        "deleted": "CANCELED",
    }
    before = platform.counts()
    for _ in range(2):
        forget(platform)
        platform.backfill_daemon()
        assert platform.dequeue() == []
    assert platform.counts() == before
    # The same request again is a new ask.
    platform.read_input("cancelled", 100)
    forget(platform)
    assert len(platform.backfills()) == before[1] + 1
    assert platform.backfills()[0].tags["bedrock/batch"] == "cancelled"


def test_a_table_that_a_person_terminated_is_not_built_behind_her_back(platform: InProcessDagster) -> None:
    """The run of result_table was cancelled: another location name, whose run keys are new, does not ask again."""
    platform.read_input("demo", 100)
    platform.step()
    platform.sensors()
    (table,) = platform.dequeue()
    platform.instance.report_run_canceled(platform.run(table))
    before = platform.counts()
    forget(platform)
    assert platform.dequeue() == []
    assert platform.counts() == before
    platform.read_input("demo", 100)
    forget(platform)
    assert len(platform.dequeue()) == 1
