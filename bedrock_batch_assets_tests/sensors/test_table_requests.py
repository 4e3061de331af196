"""A result table that failed, was wiped, or has no manifest to be made from: when it is asked for, and how often."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import AssetKey, DagsterRunStatus

from bedrock_batch_assets.client.batch_status import BatchState
from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.sensors import batch_progress
from bedrock_batch_assets.sensors.table_needs import MAX_TIMES
from bedrock_batch_assets_tests.dagster_in_process import InProcessDagster, asset_names, in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


@pytest.fixture
def platform(local_aws: LocalAws, tmp_path: Path) -> Iterator[InProcessDagster]:
    with in_process_dagster(local_aws, tmp_path) as running:
        yield running


class Later:
    """The sensor's time, ahead of the clock by so many seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(batch_progress, "time", SimpleNamespace(time=lambda: time.time() + self.seconds))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


# Every copy inside the bucket: that is how parts are put in place.
DENIED = {"api_faults": [{"operation": "CopyObject", "code": "AccessDenied", "status": 403}]}


def tables(platform: InProcessDagster, batch: str) -> list[str]:
    """How the runs of the batch's table ended, oldest first."""
    runs = [run for run in platform.instance.get_runs() if run.tags.get("dagster/partition") == batch]
    return [run.status.value for run in reversed(runs) if "result_table" in asset_names(run)]


def test_batches_that_the_same_fault_stopped_recover_by_themselves(platform: InProcessDagster, later: Later) -> None:
    """Two tables fail while S3 denies an action; each is asked for again, ever more rarely, until it is allowed."""
    for batch in ("one", "two"):
        platform.read_input(batch, 100)
    platform.step()
    platform.aws.put_settings(DENIED)
    platform.step()
    assert [tables(platform, batch) for batch in ("one", "two")] == [["FAILURE"], ["FAILURE"]]
    asked = 1
    for seconds, more in ((30, 0), (90, 1), (100, 0), (150, 1), (200, 0)):
        # Since the last failure, which was just now.
        later.seconds = seconds
        platform.lose_cursors()
        platform.step()
        asked += more
        assert [len(tables(platform, batch)) for batch in ("one", "two")] == [asked] * 2, seconds
    assert "asked for again" in platform.skip_reason("batch_progress_sensor")
    platform.aws.put_settings({"api_faults": []})
    platform.step()
    assert [len(tables(platform, batch)) for batch in ("one", "two")] == [asked] * 2
    # Another batch's table says that the fault is over.
    platform.read_input("three", 100)
    for _ in range(4):
        platform.lose_cursors()
        platform.step()
    assert [tables(platform, batch)[-1] for batch in ("one", "two", "three")] == ["SUCCESS"] * 3
    # The third has the records of the others.
    assert len(platform.aws.jobs()) == 2
    before = platform.counts()
    later.seconds = 24 * 3600
    assert platform.step() == []
    assert platform.counts() == before


def test_there_is_an_end_to_asking(platform: InProcessDagster, later: Later) -> None:
    """A table that fails each time is left to a person after ten more runs; launched again, it is asked for at once."""
    platform.read_input("demo", 100)
    platform.step()
    platform.aws.put_settings(DENIED)
    for _ in range(MAX_TIMES + 3):
        platform.step()
        later.seconds += 24 * 3600
    assert tables(platform, "demo") == ["FAILURE"] * (MAX_TIMES + 1)
    platform.aws.put_settings({"api_faults": []})
    platform.read_input("demo", 100)
    platform.step()
    assert tables(platform, "demo")[-1] == "SUCCESS"


def test_a_launch_that_waits_is_not_told_of_the_last_ones_failure(platform: InProcessDagster) -> None:
    """`launch --wait` after a table that failed goes on to the new table: the old failure is of the earlier launch."""
    platform.read_input("demo", 100)
    platform.step()
    platform.aws.put_settings(DENIED)
    platform.step()
    assert tables(platform, "demo") == ["FAILURE"]
    platform.aws.put_settings({"api_faults": []})
    batches = Batches(platform.web, platform.storage, BedrockBatchJobs(), sleep=lambda _: None)
    states = batches.follow("demo", platform.read_input("demo", 100))
    assert next(states).state is BatchState.waiting
    platform.step()
    assert next(states).state is BatchState.done


def test_a_table_that_was_wiped_is_built_again(platform: InProcessDagster) -> None:
    """A person wipes result_table in the UI: it is asked for again, once, and no job is."""
    platform.read_input("demo", 100)
    platform.settle()
    platform.instance.wipe_assets([AssetKey("result_table")])
    platform.settle()
    assert tables(platform, "demo") == ["SUCCESS", "SUCCESS"]
    assert len(platform.aws.jobs()) == len(platform.backfills()) == 1
    before = platform.counts()
    platform.lose_cursors()
    platform.sensors()
    assert platform.counts() == before


def test_a_manifest_that_is_not_where_the_sensor_looks_is_told(platform: InProcessDagster, later: Later) -> None:
    """Input in, and its manifest under another prefix: the sensor's page says so until it is there, and keeps on."""
    key = platform.storage.layout.batch_manifest("demo")
    platform.read_input("demo", 100)
    manifest = platform.storage.objects.get_bytes(key)
    platform.storage.objects.delete([key])
    for _ in range(3):
        platform.sensors()
        later.seconds += 40
        assert f"{platform.storage.uri(key)}, but nothing is there" in platform.skip_reason("batch_progress_sensor")
    assert platform.backfills() == []
    # The manifest of an earlier input is not this one's either.
    platform.storage.objects.put_bytes(key, manifest.replace(b'"version": "', b'"version": "x'))
    platform.sensors()
    assert "of the input is there" in platform.skip_reason("batch_progress_sensor")
    platform.storage.objects.put_bytes(key, manifest)
    later.seconds += 40
    platform.sensors()
    assert len(platform.backfills()) == 1


def test_a_batch_deleted_before_its_sensor_saw_it_is_not_begun(platform: InProcessDagster) -> None:
    """Deleted in the UI right after its input was in: no backfill, so none that ends red; nor for deleted chunks."""
    # With a cursor the inputs are events; without one they are found in a look at all batches.
    platform.sensors()
    for batch in ("whole", "chunks", "one"):
        platform.read_input(batch, 200)
    platform.web.delete_partitions("batches", ["whole"])
    platform.web.delete_partitions("chunks", ["chunks-00000", "chunks-00001", "one-00000"])
    platform.sensors()
    platform.lose_cursors()
    platform.sensors()
    (backfill,) = platform.backfills()
    assert backfill.tags["bedrock/batch"] == "one"
    platform.backfill_daemon()
    (run_id,) = platform.dequeue()
    assert platform.run(run_id).tags["dagster/partition"] == "one-00001"
    assert platform.backfills()[0].status.value == "REQUESTED"


def test_a_part_of_nobodys_batch_stops_no_tick(platform: InProcessDagster) -> None:
    """A person may report a materialization of any partition: the sensor goes on with the batches that there are."""
    event: Any = {"eventType": "ASSET_MATERIALIZATION", "assetKey": {"path": ["result_parts"]}}
    mutation = (
        "mutation Report($params: ReportRunlessAssetEventsParams!) { reportRunlessAssetEvents(eventParams: $params) "
        "{ __typename } }"
    )
    platform.web.query(mutation, {"params": {**event, "partitionKeys": ["no chunk at all"]}})
    platform.read_input("demo", 100)
    platform.sensors()
    assert len(platform.backfills()) == 1


def test_a_finished_table_outlives_its_cleaning_up(platform: InProcessDagster) -> None:
    """Without s3:DeleteObject the table is there and its run succeeds; the parts that stay waiting are told."""
    repeated = platform.put_csv("repeated.csv", [f"topic {row % 100}" for row in range(200)])
    platform.read_input("demo", 200, s3_uri=repeated)
    platform.step()
    platform.aws.put_settings({"api_faults": [{"operation": "DeleteObjects", "code": "AccessDenied", "status": 403}]})
    (run,) = platform.step()
    assert run.status is DagsterRunStatus.SUCCESS
    messages = [entry.user_message for entry in platform.instance.all_logs(run.run_id)]
    assert any("s3:DeleteObject" in message for message in messages)


def test_the_model_stays_known_when_the_input_is_wiped(platform: InProcessDagster) -> None:
    """Runs that are queued after a person wiped input_dataset count towards the same model's limit."""
    platform.read_input("demo", 100)
    platform.sensors()
    platform.instance.wipe_assets([AssetKey("input_dataset")])
    platform.backfill_daemon()
    (run_id,) = platform.dequeue()
    assert platform.run(run_id).tags["bedrock/model"] == "anthropic.claude-3-haiku-20240307-v1:0"


def test_an_old_input_is_not_asked_for_when_the_clock_jumps(platform: InProcessDagster) -> None:
    """A backfill that was made for an event says which: clocks that differ by an hour change nothing."""
    platform.read_input("demo", 100)
    platform.sensors()
    (backfill,) = platform.backfills()
    platform.instance.update_backfill(backfill._replace(backfill_timestamp=backfill.backfill_timestamp - 3600.0))
    assert datetime.fromtimestamp(platform.backfills()[0].backfill_timestamp, UTC) < datetime.now(UTC) - timedelta(
        minutes=30
    )
    platform.web.cancel_backfill(backfill.backfill_id)
    platform.backfill_daemon()
    platform.lose_cursors()
    platform.sensors()
    assert len(platform.backfills()) == 1
