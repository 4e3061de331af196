"""A newer input while jobs of the earlier one are on their way: what goes on, what ends, and how it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus

from bedrock_batch_assets_tests.dagster_in_process import InProcessDagster, in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws, wait_until


@pytest.fixture
def platform(local_aws: LocalAws, tmp_path: Path) -> Iterator[InProcessDagster]:
    with in_process_dagster(local_aws, tmp_path) as running:
        yield running


def start_jobs(platform: InProcessDagster, rows: int) -> dict[str, str]:
    """Start a batch, and wait until each chunk's job is in progress. Returns the run of each chunk."""
    platform.aws.put_settings({"seconds": {"InProgress": 600}})
    platform.read_input("demo", rows)
    platform.sensors()
    platform.backfill_daemon()
    runs = platform.dequeue()
    for run_id in runs:
        platform.start(run_id)
    wait_until(lambda: [job["status"] for job in platform.aws.jobs()] == ["InProgress"] * len(runs))
    return {platform.run(run_id).tags["dagster/partition"]: run_id for run_id in runs}


def jobs_of(platform: InProcessDagster, chunk: str) -> list[str]:
    """The statuses of the chunk's jobs."""
    return [str(job["status"]) for job in platform.aws.jobs() if job["name"].startswith(f"{chunk}-")]


def test_fewer_rows_end_the_work_on_what_is_gone_and_nothing_else(platform: InProcessDagster) -> None:
    """The dropped chunk's job is stopped, the others' go on; no backfill ends red, and no record is paid twice."""
    runs = start_jobs(platform, 300)
    platform.read_input("demo", 200)
    (earlier,) = platform.backfills()
    assert (earlier.status, "newer input" in earlier.description) == (BulkActionStatus.CANCELING, True)
    # The run of the chunk that is gone ends before the daemon has seen anything, and stops its job.
    wait_until(lambda: platform.run(runs["demo-00002"]).is_finished)
    assert jobs_of(platform, "demo-00002")[0] in {"Stopping", "Stopped"}
    platform.sensors()
    platform.backfill_daemon()
    platform.join()
    assert {platform.run(run_id).status for run_id in runs.values()} == {DagsterRunStatus.CANCELED}
    # Nobody wants the third job any more; nobody may stop the first two, which the new runs attach to.
    platform.sensors()
    platform.sensors()
    assert [jobs_of(platform, f"demo-0000{index}") for index in range(2)] == [["InProgress"]] * 2
    platform.backfill_daemon()
    again = platform.dequeue()
    assert len(again) == 2
    platform.aws.put_settings({"seconds": {"InProgress": 0.05}})
    for run_id in again:
        assert platform.execute(run_id).status is DagsterRunStatus.SUCCESS
    platform.settle()
    statuses = sorted(backfill.status.value for backfill in platform.backfills())
    assert statuses == ["CANCELED", "COMPLETED_SUCCESS"]
    assert len(platform.aws.jobs()) == 3
    paid = [record["recordId"] for record in platform.aws.ledger()]
    assert len(paid) == len(set(paid))
    assert platform.storage.table_manifest("demo").total.rows == 200


def test_a_chunk_whose_rows_are_gone_gives_up_its_job(platform: InProcessDagster) -> None:
    """Its job is stopped, and the new rows have a chunk of their own; a chunk with rows that stay keeps its job."""
    start_jobs(platform, 200)
    changed = [f"topic {row}" for row in range(99)] + [f"another topic {row}" for row in range(101)]
    platform.read_input("demo", 200, s3_uri=platform.put_csv("changed.csv", changed))
    platform.backfill_daemon()
    platform.join()
    wait_until(lambda: set(jobs_of(platform, "demo-00001")) == {"Stopped"})
    assert jobs_of(platform, "demo-00000") == ["InProgress"]
    platform.sensors()
    platform.backfill_daemon()
    platform.backfill_daemon()
    for run_id in platform.dequeue():
        platform.start(run_id)
    wait_until(lambda: len(platform.aws.jobs()) == 3)
    platform.aws.put_settings({"seconds": {"InProgress": 0.05}})
    platform.join()
    platform.settle()
    assert sorted(job["status"] for job in platform.aws.jobs()) == ["Completed", "Completed", "Stopped"]
    assert sorted(backfill.status.value for backfill in platform.backfills()) == ["CANCELED", "COMPLETED_SUCCESS"]


def test_more_rows_that_a_person_cancels_stop_the_jobs_that_made_way(platform: InProcessDagster) -> None:
    """The backfill that was to take the jobs over is cancelled before it has a run: then nobody wants them."""
    start_jobs(platform, 100)
    platform.read_input("demo", 200)
    platform.backfill_daemon()
    platform.join()
    platform.sensors()
    (backfill,) = [item for item in platform.backfills() if item.status is BulkActionStatus.REQUESTED]
    platform.web.cancel_backfill(backfill.backfill_id)
    platform.backfill_daemon()
    platform.sensors()
    wait_until(lambda: jobs_of(platform, "demo-00000")[0] in {"Stopping", "Stopped"})
