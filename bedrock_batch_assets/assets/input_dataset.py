"""The batch's input: read once, checked, stored, and cut into chunks."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from bedrock_batch_assets.assets.reporting import asset_run, column_schema, preview
from bedrock_batch_assets.cost.forecast import CostForecast
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.partitions import batches, check_batch_key, chunk_key, chunks
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.registry import Processors, base_model_id
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry
from bedrock_batch_assets.storage.resource import BatchStorage, version_of
from bedrock_batch_assets.tags import MODEL_METADATA, VERSION_METADATA

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange
    from bedrock_batch_assets.ingest.ingestion import IngestedTable


@dg.asset(
    partitions_def=batches,
    group_name="batch_inference",
    kinds={"parquet", "s3"},
    owners=["team:data-platform"],
)
def input_dataset(
    context: dg.AssetExecutionContext,
    config: BatchRequest,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    processors: Processors,
    prices: Prices,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The input table of a batch, read once from S3 or Hugging Face, checked against the prompt, stored as Parquet.

    Start a batch here: add a partition (the batch's name), fill in the request, materialize. Chunks, jobs and the
    result table follow by themselves.
    """
    with asset_run(context) as key:
        batch = check_batch_key(key)
        cost = CostForecast(prices, jobs.minimum_records, config)
        ingested = _ingest(batch, config, storage, processors, cost)
        manifest = ingested.manifest
        _register_chunks(context.instance, manifest)
        storage.write_manifest(storage.layout.batch_manifest(batch), manifest)
    table = ingested.table
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.version),
        metadata={
            "dagster/row_count": table.row_count,
            "dagster/uri": storage.uri(manifest.rows_key),
            "dagster/column_schema": column_schema(table.schema),
            "model_id": manifest.model_id,
            MODEL_METADATA: manifest.base_model_id,
            "processor": manifest.processor,
            "prompt": manifest.template or "none: embedding model",
            "chunks": len(manifest.chunks),
            "rows_per_chunk": _rows_per_chunk(manifest),
            "records_to_send": table.records_to_send,
            "skipped_rows": table.skipped_count,
            "estimated_input_tokens": table.estimated_input_tokens,
            **cost.metadata,
            "preview": preview(table.preview),
            "sample_record": dg.MetadataValue.md(f"```json\n{table.sample_record}\n```"),
            VERSION_METADATA: manifest.version,
        },
    )


@dataclass(frozen=True)
class _Ingested:
    manifest: BatchManifest
    table: "IngestedTable"


def _ingest(
    batch: str, request: BatchRequest, storage: BatchStorage, processors: Processors, cost: CostForecast
) -> _Ingested:
    from bedrock_batch_assets.ingest.ingestion import ingest
    from bedrock_batch_assets.ingest.sources.opening import open_source
    from bedrock_batch_assets.prompt_templates import get_prompt_template
    from bedrock_batch_assets.records.rendering import RecordRenderer

    request.check()
    name = processors.name_for(request.model_id, request.processor)
    processor = processors.for_model_id(request.model_id, name, request.inference_parameters)
    # A prompt for an embedding model is ignored, as it always was.
    wants_prompt = processor.kind == "text" and request.prompt_id is not None
    template = get_prompt_template(str(request.prompt_id)) if wants_prompt else None
    cost.check_price()
    storage.objects.check_bucket()
    source = open_source(request, storage.client("s3"))
    renderer = RecordRenderer(processor, template, source.schema)
    with tempfile.TemporaryDirectory() as folder:
        table = ingest(
            request,
            source=source,
            renderer=renderer,
            directory=Path(folder),
            previous_plan=_previous_plan(batch, request, storage),
        )
        cost.check(table, processor)
        rows_key = storage.layout.rows(batch, table.digest)
        storage.objects.upload_file(table.parquet_path, rows_key)
    manifest = _manifest(batch, request, processor, name=name, table=table, rows_key=rows_key)
    return _Ingested(manifest, table)


def _previous_plan(batch: str, request: BatchRequest, storage: BatchStorage) -> "list[ChunkRange] | None":
    """The chunks of the batch's last input, whose boundaries stay: rows that did not change are not paid again."""
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange

    manifest = storage.find_batch_manifest(batch)
    if manifest is None or manifest.records_per_job != request.records_per_job:
        return None
    return [ChunkRange(index, entry.first_row, entry.row_count) for index, entry in enumerate(manifest.chunks)]


def _rows_per_chunk(manifest: BatchManifest) -> str:
    sizes = sorted({entry.row_count for entry in manifest.chunks})
    return " or ".join(str(size) for size in sizes) if len(sizes) <= 2 else f"{sizes[0]} to {sizes[-1]}"


def _register_chunks(instance: dg.DagsterInstance, manifest: BatchManifest) -> None:
    """Make the chunk partitions those of this input: add what is new, take away what is no more."""
    wanted = [chunk_key(manifest.batch, index) for index in range(len(manifest.chunks))]
    name = chunks.name
    assert name is not None
    known = set(instance.get_dynamic_partitions(name))
    instance.add_dynamic_partitions(name, [key for key in wanted if key not in known])
    index = len(wanted)
    while (key := chunk_key(manifest.batch, index)) in known:
        # Dagster keeps the events of a deleted partition. Where its rows come back, its part is not there any more.
        instance.report_runless_asset_event(
            dg.AssetMaterialization("result_parts", partition=key, description="The batch has no such chunk any more.")
        )
        instance.delete_dynamic_partition(name, key)
        index += 1


def _manifest(
    batch: str, request: BatchRequest, processor: BaseProcessor, *, name: str, table: "IngestedTable", rows_key: str
) -> BatchManifest:
    from bedrock_batch_assets.prompt_templates import prompt_id_to_template

    parameters: dict[str, Any] = {field: getattr(processor, field) for field in type(processor).model_fields}
    template = None if processor.kind == "embedding" else prompt_id_to_template[request.prompt_id or ""]
    # All that a chunk's answers and its part of the table depend on, beside the rows themselves.
    recipe = (request.model_id, name, parameters, template, request.output_format.value)
    entries = [
        ChunkEntry(
            first_row=chunk.range.first_row,
            row_count=chunk.range.row_count,
            # Record ids are made of row numbers, so a chunk that moves is another one.
            version=version_of(chunk.range.first_row, chunk.digest, *recipe),
        )
        for chunk in table.chunks
    ]
    return BatchManifest(
        batch=batch,
        version=version_of(table.digest, *recipe, entries),
        request=request.model_dump(mode="json"),
        model_id=request.model_id,
        base_model_id=base_model_id(request.model_id),
        processor=name,
        parameters=parameters,
        template=template,
        output_format=request.output_format,
        rows_key=rows_key,
        schema=table.schema.serialize().to_pybytes(),
        row_count=table.row_count,
        records_per_job=request.records_per_job,
        chunks=entries,
    )
