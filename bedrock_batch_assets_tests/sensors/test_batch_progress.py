"""The sensor that carries a batch from its input to its chunks, and from its chunks to its table."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from bedrock_batch_assets.sensors.batch_progress import CHUNK_ASSETS, batch_progress_sensor
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def tick(bench: Bench, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=bench.instance, cursor=cursor, resources={"storage": bench.storage})
    result = batch_progress_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def chunks_asked_for(result: dg.SensorResult) -> dict[str, set[str]]:
    """Partition keys by asset of the one backfill that a tick asks for."""
    (request,) = result.run_requests or ()
    assert request.asset_graph_subset is not None
    return {
        key.to_user_string(): set(subset.get_partition_keys())
        for key, subset in request.asset_graph_subset.partitions_subsets_by_asset_key.items()
    }


def start(bench: Bench, count: int, key: str = "a.csv") -> None:
    uri = bench.put_csv(key, ["topic"], [[f"topic {index}"] for index in range(count)])
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100)


def test_a_new_input_asks_for_one_backfill_over_its_own_chunks(bench: Bench) -> None:
    """One backfill of the three chunk assets, over exactly the batch's chunks, tagged with batch and version."""
    start(bench, 300)
    result = tick(bench, None)
    keys = {f"jokes-{index:05d}" for index in range(3)}
    assert chunks_asked_for(result) == dict.fromkeys(CHUNK_ASSETS, keys)
    assert (result.run_requests or ())[0].tags["bedrock/batch"] == "jokes"
    assert tick(bench, result.cursor).run_requests == []


def test_the_table_is_asked_for_when_the_last_part_is_in_and_only_then(bench: Bench) -> None:
    """Two of three parts ask for nothing; the third asks for the table, with a key that a second tick repeats."""
    start(bench, 300)
    cursor = tick(bench, None).cursor
    for key in ("jokes-00002", "jokes-00000"):
        assert bench.chunk(key).success
    early = tick(bench, cursor)
    assert early.run_requests == []
    assert bench.chunk("jokes-00001").success
    (request,) = tick(bench, early.cursor).run_requests or ()
    assert (request.asset_selection, request.partition_key) == ([AssetKey("result_table")], "jokes")
    (again,) = tick(bench, early.cursor).run_requests or ()
    assert request.run_key
    assert again.run_key == request.run_key


def test_parts_of_an_earlier_input_do_not_count(bench: Bench) -> None:
    """After a changed input the old parts ask for no table; only the chunk of the new record is asked for."""
    start(bench, 300)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    bench.table("jokes")
    cursor = tick(bench, tick(bench, None).cursor).cursor
    rows = [[f"topic {index}"] for index in range(300)]
    rows[250] = ["another"]
    uri = bench.put_csv("b.csv", ["topic"], rows)
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100)
    result = tick(bench, cursor)
    assert chunks_asked_for(result) == {asset: {"jokes-00003"} for asset in CHUNK_ASSETS}
    check = dg.AssetCheckKey(dg.AssetKey("result_table"), "built_from_current_input")
    for topic in ("another", "yet another"):
        rows[250] = [topic]
        uri = bench.put_csv("b.csv", ["topic"], rows)
        bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100)
        stale = bench.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
        assert stale.status.value == "FAILED"


def test_the_same_input_again_asks_for_nothing(bench: Bench) -> None:
    """Materializing an unchanged input again starts no chunk and builds no table a second time."""
    start(bench, 200)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    bench.table("jokes")
    cursor = tick(bench, None).cursor
    start(bench, 200)
    assert tick(bench, cursor).run_requests == []


def test_an_input_that_only_lost_rows_asks_for_its_table(bench: Bench) -> None:
    """If the last chunk is gone and no other has changed, no job is asked for, and the table without it is."""
    start(bench, 300)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    bench.table("jokes")
    cursor = tick(bench, None).cursor
    start(bench, 200)
    (request,) = tick(bench, cursor).run_requests or ()
    assert (request.asset_selection, request.partition_key) == ([AssetKey("result_table")], "jokes")
    bench.table("jokes")
    assert len(bench.read_table("jokes")) == 200


def test_a_part_made_again_asks_for_the_table_again(bench: Bench) -> None:
    """A chunk that a person materialized again is in the table after the next tick."""
    start(bench, 200)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    bench.table("jokes")
    cursor = tick(bench, None).cursor
    bench.chunk("jokes-00001")
    (request,) = tick(bench, cursor).run_requests or ()
    assert request.asset_selection == [AssetKey("result_table")]


def test_a_lost_cursor_repeats_nothing(bench: Bench) -> None:
    """With no cursor, or one that cannot be read, a finished batch asks for nothing."""
    start(bench, 200)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    bench.table("jokes")
    for cursor in (None, "{broken", "[]"):
        assert tick(bench, cursor).run_requests == []


def add_backfill(bench: Bench, status: BulkActionStatus, tags: Mapping[str, str] | None = None) -> None:
    version = bench.storage.batch_manifest("jokes").version
    backfill: Any = PartitionBackfill(
        backfill_id=f"backfill {status}",
        status=status,
        from_failure=False,
        tags={"bedrock/batch": "jokes", "bedrock/version": version, **(tags or {})},
        backfill_timestamp=time.time(),
        asset_selection=[],
    )
    bench.instance.add_backfill(backfill)


def test_a_backfill_in_progress_is_not_asked_for_a_second_time(bench: Bench) -> None:
    """The event of the input read again, as after a lost cursor, starts no second backfill beside the first."""
    start(bench, 200)
    add_backfill(bench, BulkActionStatus.REQUESTED)
    assert tick(bench, None).run_requests == []


@pytest.mark.parametrize(
    ("status", "tags", "is_over"),
    [
        (dg.DagsterRunStatus.CANCELED, {}, True),
        (dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "false"}, True),
        (dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "true"}, False),
        (dg.DagsterRunStatus.STARTED, {}, False),
    ],
)
def test_a_launch_while_a_backfill_ends_is_not_forgotten(
    bench: Bench, status: dg.DagsterRunStatus, tags: dict[str, str], is_over: bool
) -> None:
    """Cancelled, then launched again at once: a backfill whose run is over does not do that chunk's work.

    It is waited for, and then the chunk is asked for. A backfill whose runs go on does all of it.
    """
    start(bench, 200)
    bench.chunk("jokes-00000")
    # Of an earlier launch.
    add_backfill(bench, BulkActionStatus.REQUESTED, {"bedrock/input_event": "1@2.0"})
    run_tags = {"dagster/backfill": "backfill BulkActionStatus.REQUESTED", "dagster/partition": "jokes-00001", **tags}
    bench.instance.run_storage.add_run(dg.DagsterRun(job_name="__ASSET_JOB", status=status, tags=run_tags))
    early = tick(bench, None)
    assert early.run_requests == []
    [backfill] = bench.instance.get_backfills()
    bench.instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_FAILED))
    late = tick(bench, early.cursor)
    if is_over:
        assert chunks_asked_for(late) == {asset: {"jokes-00001"} for asset in CHUNK_ASSETS}
    else:
        assert late.run_requests == []


def test_a_backfill_that_dagster_gave_up_is_asked_for_again(bench: Bench) -> None:
    """Without a new event of the input, what is pending of the batch is asked for once more."""
    start(bench, 200)
    cursor = tick(bench, None).cursor
    assert tick(bench, cursor).run_requests == []
    add_backfill(bench, BulkActionStatus.FAILED)
    keys = {"jokes-00000", "jokes-00001"}
    assert chunks_asked_for(tick(bench, cursor)) == dict.fromkeys(CHUNK_ASSETS, keys)


def test_a_run_that_died_for_good_is_asked_for_again(bench: Bench) -> None:
    """A run whose process is gone and that Dagster does not retry is one request, the same each tick."""
    start(bench, 200)
    cursor = tick(bench, None).cursor
    tags = {"bedrock/batch": "jokes", "bedrock/partition": "jokes-00001", "dagster/will_retry": "false"}
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus.FAILURE,
        asset_selection=frozenset(AssetKey(asset) for asset in CHUNK_ASSETS),
        tags=tags,
    )
    bench.instance.run_storage.add_run(run)
    (request,) = tick(bench, cursor).run_requests or ()
    assert request.partition_key == "jokes-00001"
    (again,) = tick(bench, cursor).run_requests or ()
    assert again.run_key == request.run_key == f"again:{run.run_id}"


def test_the_table_waits_for_runs_of_its_chunks(bench: Bench) -> None:
    """With all parts in and a chunk's run still going on, the table is asked for only when that is over."""
    start(bench, 200)
    for key in bench.chunks("jokes"):
        bench.chunk(key)
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        tags={"bedrock/batch": "jokes", "bedrock/partition": "jokes-00000"},
    )
    bench.instance.run_storage.add_run(run)
    early = tick(bench, None)
    assert early.run_requests == []
    bench.instance.report_run_failed(run)
    (request,) = tick(bench, early.cursor).run_requests or ()
    assert request.asset_selection == [AssetKey("result_table")]


def test_without_a_bucket_it_says_what_to_set() -> None:
    """An unconfigured project skips with the name of the variable instead of failing every tick."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"storage": BatchStorage()})
        result = batch_progress_sensor(context)
    assert isinstance(result, dg.SkipReason)
    assert "BEDROCK_BATCH_BUCKET" in (result.skip_message or "")
