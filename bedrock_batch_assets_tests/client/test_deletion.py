import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.test_utils import create_run_for_test

from bedrock_batch_assets.client.batch_status import BatchFacts
from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.client.deletion import delete_batch, plan_deletion, refuse_in_progress
from bedrock_batch_assets.client.webserver import Materialization
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.runs.event_log import data_versions
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.client.conftest import QuietDagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


def manifest(batch: str) -> BatchManifest:
    return BatchManifest(
        batch=batch, version="v", request={}, model_id="m", base_model_id="m", processor="p", parameters={},
        template=None, output_format=OutputFormat.parquet, rows_key="r", schema=b"", row_count=200,
        records_per_job=100, chunks=[ChunkEntry(0, 100, "v0"), ChunkEntry(100, 100, "v1")],
    )  # fmt: skip


@pytest.fixture
def batches(quiet_dagster: QuietDagster, local_aws: LocalAws) -> Iterator[Batches]:
    """The batches `gone` and `gone-2`, of two chunks each, finished; all partitions are deleted at the end."""
    storage = BatchStorage(bucket=local_aws.create_bucket())
    instance = quiet_dagster.instance
    for batch in ("gone", "gone-2"):
        chunks = [f"{batch}-00000", f"{batch}-00001"]
        instance.add_dynamic_partitions("batches", [batch])
        instance.add_dynamic_partitions("chunks", chunks)
        storage.write_manifest(storage.layout.batch_manifest(batch), manifest(batch))
        storage.objects.put_bytes(storage.layout.job_records(chunks[0], "0" * 12), b"12345")
        storage.objects.put_bytes(f"{storage.layout.chunk_outputs_folder(chunks[0])}job/a.jsonl.out", b"123")
        storage.objects.put_bytes(storage.layout.result_part(batch, 0, OutputFormat.parquet), b"1234567")
        version = (0, "v", OutputFormat.parquet)
        storage.objects.put_bytes(storage.layout.former(batch).staged_part(*version), b"12")
        storage.objects.put_bytes(storage.layout.staged_part(batch, *version), b"1234")
        for index, chunk in enumerate(chunks):
            event = dg.AssetMaterialization("result_parts", partition=chunk, tags={DATA_VERSION_TAG: f"v{index}"})
            instance.report_runless_asset_event(event)
    yield Batches(quiet_dagster.webserver, storage, BedrockBatchJobs(role_arn="arn:aws:iam::123456789012:role/x"))
    for name in ("batches", "chunks"):
        for key in instance.get_dynamic_partitions(name):
            instance.delete_dynamic_partition(name, key)


def partitions(quiet_dagster: QuietDagster) -> set[str]:
    instance = quiet_dagster.instance
    return {*instance.get_dynamic_partitions("batches"), *instance.get_dynamic_partitions("chunks")}


def keys(batches: Batches) -> list[str]:
    return [info.key for info in batches.storage.objects.list()]


OTHERS = {"gone-2", "gone-2-00000", "gone-2-00001"}


def test_partitions_go_and_data_stays_and_is_told(batches: Batches, quiet_dagster: QuietDagster) -> None:
    """Without --data the batch's own partitions go, nobody else's, and what stays on S3 is told by prefix."""
    before = keys(batches)
    plan = plan_deletion(batches, "gone")
    assert {item.uri: (item.objects, item.size) for item in plan.data if "batch_inputs/" not in item.uri} == {
        "s3://data/batch_inputs_json/gone/": (1, 5),
        "s3://data/batch_outputs_json/gone/": (1, 3),
        "s3://data/batch_output_state/gone/": (1, 4),
        "s3://data/batch_output_parquet/gone/": (2, 9),
    }
    assert plan.objects == 6
    delete_batch(batches, plan, data=False)
    assert partitions(quiet_dagster) & {"gone", "gone-00000", "gone-00001", *OTHERS} == OTHERS
    assert keys(batches) == before
    assert data_versions(quiet_dagster.instance, "result_parts", ["gone-00001"]) == {"gone-00001": "v1"}


def test_data_goes_with_what_dagster_knows_of_it(batches: Batches, quiet_dagster: QuietDagster) -> None:
    """With --data the batch's objects go, and a later batch of this name does not take its old parts for made."""
    delete_batch(batches, plan_deletion(batches, "gone"), data=True)
    assert {key.split("/")[1] for key in keys(batches)} == {"gone-2"}
    assert len(keys(batches)) == 6
    names = ["gone-00000", "gone-00001", "gone-2-00000"]
    assert data_versions(quiet_dagster.instance, "result_parts", names) == {"gone-2-00000": "v0"}


def test_a_deletion_that_broke_off_can_be_repeated(batches: Batches, quiet_dagster: QuietDagster) -> None:
    """Chunks or data that are left without their batch are still found; a batch of which nothing is left is not."""
    instance = quiet_dagster.instance
    instance.delete_dynamic_partition("batches", "gone")
    instance.delete_dynamic_partition("chunks", "gone-00000")
    plan = plan_deletion(batches, "gone")
    assert (plan.is_listed, plan.chunks, len(plan.data)) == (False, ["gone-00001"], 5)
    delete_batch(batches, plan, data=True)
    with pytest.raises(RequestError, match="no batch 'gone'"):
        plan_deletion(batches, "gone")


@pytest.mark.parametrize("name", ["my batch!", "../other", "x" * 200, "run--1"])
def test_a_partition_is_deleted_whatever_its_name(batches: Batches, quiet_dagster: QuietDagster, name: str) -> None:
    """What a person added in the UI goes, though no batch can have that name; nobody's data goes with it."""
    before = keys(batches)
    quiet_dagster.instance.add_dynamic_partitions("batches", [name])
    quiet_dagster.instance.add_dynamic_partitions("chunks", ["no chunk", f"{name} 0"])
    for wanted in (name, "no chunk", f"{name} 0"):
        plan = plan_deletion(batches, wanted)
        assert (plan.data, len(plan.chunks) + plan.is_listed) == ([], 1)
        delete_batch(batches, plan, data=True)
        assert wanted not in partitions(quiet_dagster)
    assert keys(batches) == before
    assert partitions(quiet_dagster) >= OTHERS
    with pytest.raises(RequestError, match="The batch name"):
        plan_deletion(batches, name)


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
def test_a_batch_in_progress_is_refused(
    batches: Batches, quiet_dagster: QuietDagster, status: DagsterRunStatus
) -> None:
    """While a run of the batch goes on nothing is deleted, and the error says what to do."""
    run = create_run_for_test(quiet_dagster.instance, status=status, tags={"bedrock/batch": "gone"})
    try:
        with pytest.raises(RequestError, match=f"{run.run_id}.*bedrock-batch cancel gone"):
            plan_deletion(batches, "gone")
    finally:
        quiet_dagster.instance.delete_run(run.run_id)


def test_a_batch_that_is_about_to_start_is_refused() -> None:
    """Between its input and its chunks nothing of a batch runs; a deletion there would be overtaken by the sensor."""
    young = Materialization("gone", "r", time.time(), "v")
    with pytest.raises(RequestError, match="about to start"):
        refuse_in_progress(BatchFacts("gone", manifest=manifest("gone"), input=young))
    old = Materialization("gone", "r", time.time() - 3600, "v")
    refuse_in_progress(BatchFacts("gone", manifest=manifest("gone"), input=old))
