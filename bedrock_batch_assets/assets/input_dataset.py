"""The batch's input: read once, checked, stored, and cut into chunks."""

import dagster as dg

from bedrock_batch_assets.assets.checks import BUILT_FROM_CURRENT_INPUT
from bedrock_batch_assets.assets.launchpad import as_given, batch_asset
from bedrock_batch_assets.assets.reporting import HIDDEN, asset_run, column_schema, preview
from bedrock_batch_assets.assets.request_config import BatchConfig
from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.cost.forecast import CostForecast
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.ingest.resolved_request import resolve_request
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.partition_keys import batch_of_chunk
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.runs.event_log import data_versions
from bedrock_batch_assets.runs.identity import remember_model
from bedrock_batch_assets.runs.instance_rules import instance_problems
from bedrock_batch_assets.runs.superseded import end_runs_of_chunks, supersede_backfills
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import MODEL_METADATA, VERSION_METADATA


def _input_dataset(
    context: dg.AssetExecutionContext,
    config: BatchConfig,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    processors: Processors,
    prices: Prices,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The input table of a batch, read once from S3 or Hugging Face, checked against the prompt, stored as Parquet.

    Start a batch here: add a partition (the batch's name), fill in the request, materialize. Chunks, jobs and the
    result table follow by themselves.
    """
    from bedrock_batch_assets.ingest.batch_input import store_input
    from bedrock_batch_assets.ingest.sources.opening import open_source

    problems = instance_problems(context.instance)
    for problem in problems:
        context.log.warning(problem)
    with asset_run(context, is_started_by_person=True) as key:
        given = as_given(config, BatchRequest)
        request = resolve_request(
            key, given, processors=processors, prices=prices, minimum_records=jobs.minimum_records
        )
        storage.objects.check_bucket()
        source = open_source(given, storage.client("s3"))
        found = store_input(
            request,
            source,
            storage,
            previous=storage.find_batch_manifest(key),
            run_id=context.run.root_run_id or context.run.run_id,
        )
        manifest, table = found.manifest, found.table
        _add_chunks(context.instance, manifest)
        storage.write_manifest(storage.layout.batch_manifest(manifest.batch), manifest)
        remember_model(context.instance, manifest.batch, manifest.base_model_id)
        _retire_earlier_input(context, manifest)
        _report_stale_table(context, manifest)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.version),
        metadata={
            "dagster/row_count": table.row_count,
            "dagster/uri": storage.uri(manifest.rows_key),
            "dagster/column_schema": column_schema(table.schema),
            "model_id": manifest.model_id,
            MODEL_METADATA: manifest.base_model_id,
            "processor": manifest.processor,
            "prompt": _prompt(manifest),
            "chunks": len(manifest.chunks),
            "rows_per_chunk": _rows_per_chunk(manifest),
            "records_to_send": manifest.to_pay,
            "records": _records(manifest, table.records_to_send, found.forecast),
            "reused_rows": manifest.reused,
            "repeated_rows": manifest.repeated,
            "skipped_rows": table.skipped_count,
            "estimated_input_tokens": table.estimated_input_tokens,
            **found.forecast.metadata(),
            "preview": preview(table.preview) if manifest.shows_values else HIDDEN,
            "sample_record": _sample(table.sample_record) if manifest.shows_values else HIDDEN,
            VERSION_METADATA: manifest.version,
            **({"instance_warning": " ".join(problems)} if problems else {}),
        },
    )


def input_dataset_of(request: type[BatchConfig]) -> dg.AssetsDefinition:
    """The asset, with a type of request that offers values: see `launchpad.offering`."""
    return batch_asset(_input_dataset, request, name="input_dataset", group="batch_inference", kinds={"parquet", "s3"})


input_dataset = input_dataset_of(BatchConfig)


def _report_stale_table(context: dg.AssetExecutionContext, manifest: BatchManifest) -> None:
    """Let the check of the batch's table say that the table is of an earlier input, until the new one is there.

    As an event of this run: Dagster 1.13 stores one evaluation without a run for each partition, and no second one.
    """
    built_from = data_versions(context.instance, "result_table", [manifest.batch]).get(manifest.batch)
    if built_from is None or built_from == manifest.version:
        return
    stale = dg.AssetCheckEvaluation(
        partition=manifest.batch,
        asset_key=dg.AssetKey("result_table"),
        check_name=BUILT_FROM_CURRENT_INPUT.name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"batch": manifest.batch, "built_from": built_from, "input_is_now": manifest.version},
        description=f"The table of batch {manifest.batch} is of an earlier input; a new one is on its way.",
    )
    context.log_event(stale)


def _prompt(manifest: BatchManifest) -> str:
    """The template; its id if it may not be shown."""
    if manifest.template is None:
        return "none: embedding model"
    return manifest.template if manifest.shows_values else str(manifest.request.get("prompt_id"))


def _records(manifest: BatchManifest, sent: int, forecast: CostForecast) -> str:
    """`9,990 of 10,000 reused; 10 to pay, about 0.00 USD`."""
    parts = [f"{manifest.reused:,} of {sent:,} reused"] if manifest.reused else []
    parts += [f"{manifest.repeated:,} repeat a row"] if manifest.repeated else []
    cost = "" if forecast.input_usd is None or not manifest.to_pay else f", about {usd(forecast.likely_usd)}"
    return "; ".join([*parts, f"{manifest.to_pay:,} to pay{cost}"])


def _sample(record: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"```json\n{record}\n```")


def _rows_per_chunk(manifest: BatchManifest) -> str:
    if not manifest.chunks:
        return "none: no new record"
    sizes = sorted({entry.row_count for entry in manifest.chunks})
    return " or ".join(str(size) for size in sizes) if len(sizes) <= 2 else f"{sizes[0]} to {sizes[-1]}"


def _add_chunks(instance: dg.DagsterInstance, manifest: BatchManifest) -> None:
    """Add the chunk partitions of this input that are not there yet."""
    assert chunks.name is not None
    known = set(instance.get_dynamic_partitions(chunks.name))
    instance.add_dynamic_partitions(chunks.name, [key for key in manifest.keyed_chunks() if key not in known])


def _retire_earlier_input(context: dg.AssetExecutionContext, manifest: BatchManifest) -> None:
    """End the work on an earlier input, and delete the chunk partitions that this input does not have.

    The manifest of this input is in place: runs that go on read it. Backfills are cancelled before partitions go, since
    Dagster fails a backfill that lacks one; and runs are ended after that, since they stop their job if their chunk is
    gone.
    """
    instance = context.instance
    for backfill in supersede_backfills(instance, manifest.batch, manifest.version):
        context.log.warning(
            f"Backfill {backfill} works on an earlier input of batch {manifest.batch}: cancelled. What has not changed "
            "goes on in the new backfill, with the same jobs."
        )
    assert chunks.name is not None
    wanted = manifest.keyed_chunks()
    dropped: list[str] = []
    for key in instance.get_dynamic_partitions(chunks.name):
        if key in wanted or batch_of_chunk(key) != manifest.batch:
            continue
        # Dagster keeps the events of a deleted partition. What answered its records is found without it.
        instance.report_runless_asset_event(
            dg.AssetMaterialization("result_parts", partition=key, description="The batch has no such chunk any more.")
        )
        instance.delete_dynamic_partition(chunks.name, key)
        dropped.append(key)
    for run_id, reason in end_runs_of_chunks(instance, dropped, manifest.version).items():
        result = f"and its job goes on, since {reason}. Terminate it in the UI" if reason else "and its job is stopped"
        context.log.warning(f"Run {run_id} works on a chunk that the batch has no more: it is ended, {result}.")
