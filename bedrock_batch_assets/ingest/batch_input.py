"""A batch's input as it is stored: the table, and the manifest that later steps read."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.cost.forecast import CostForecast, forecast_cost
from bedrock_batch_assets.cost.measurements import find_measurement
from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest
from bedrock_batch_assets.storage.bucket import BatchBucket, version_of
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange
    from bedrock_batch_assets.ingest.ingestion import IngestedTable
    from bedrock_batch_assets.ingest.sources.source import Source


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The result of reading and storing a batch's table.

    Attributes:
        manifest: The batch, as every later step reads it. It is not stored yet.
        table: The table; its local file is gone.
        forecast: What the batch will cost.
    """

    manifest: BatchManifest
    table: "IngestedTable"
    forecast: CostForecast


def store_input(
    request: ResolvedRequest, source: "Source", storage: BatchBucket, *, previous: BatchManifest | None
) -> BatchInput:
    """Read a batch's table once, check it against the prompt, and store it as Parquet.

    Nothing of a refused batch is stored.

    Args:
        request: The batch's request.
        source: The input table.
        storage: The bucket that it is stored in.
        previous: The batch's last input, if there was one. Its chunks keep their place if they can, so that rows which
            did not change are not paid for again.

    Raises:
        RequestError: The table cannot be used, see `ingest` and `RecordRenderer`, or the batch may cost too much.
        ConfigurationError: Access to the bucket is denied.
    """
    from bedrock_batch_assets.ingest.ingestion import ingest
    from bedrock_batch_assets.records.rendering import RecordRenderer

    renderer = RecordRenderer(request.processor, request.template, source.schema)
    with tempfile.TemporaryDirectory() as folder:
        table = ingest(
            request,
            source=source,
            renderer=renderer,
            directory=Path(folder),
            previous_plan=_previous_plan(previous, request.records_per_job),
        )
        manifest = _manifest(request, table, storage.layout.rows(request.batch, table.digest))
        measurement = find_measurement(storage, request.recipe)
        forecast = forecast_cost(table.chunks, request.processor, request.prices, request.minimum_records, measurement)
        forecast.check(request.given.max_cost_usd)
        storage.objects.upload_file(table.parquet_path, manifest.rows_key)
    return BatchInput(manifest, table, forecast)


def _previous_plan(previous: BatchManifest | None, records_per_job: int) -> "list[ChunkRange] | None":
    """The chunks of an earlier input; None if there was none, or if its chunks had another size."""
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange

    if previous is None or previous.records_per_job != records_per_job:
        return None
    return [ChunkRange(index, entry.first_row, entry.row_count) for index, entry in enumerate(previous.chunks)]


def _manifest(request: ResolvedRequest, table: "IngestedTable", rows_key: str) -> BatchManifest:
    given, processor = request.given, request.processor
    parameters: dict[str, Any] = {field: getattr(processor, field) for field in type(processor).model_fields}
    template = None if request.template is None else request.template.text
    # Everything that a chunk's answers and its part of the table depend on, besides the rows themselves.
    recipe = (given.model_id, request.processor_name, parameters, template, given.output_format.value)
    entries = [
        ChunkEntry(
            first_row=chunk.range.first_row,
            row_count=chunk.range.row_count,
            # Record ids are made of row numbers, so a chunk that moves gets another version.
            version=version_of(chunk.range.first_row, chunk.digest, *recipe),
        )
        for chunk in table.chunks
    ]
    return BatchManifest(
        batch=request.batch,
        version=version_of(table.digest, *recipe, entries),
        request={**given.model_dump(mode="json"), "preview": given.shows_values},
        model_id=given.model_id,
        base_model_id=request.base_model_id,
        processor=request.processor_name,
        parameters=parameters,
        template=template,
        output_format=given.output_format,
        rows_key=rows_key,
        schema=table.schema.serialize().to_pybytes(),
        row_count=table.row_count,
        records_per_job=request.records_per_job,
        chunks=entries,
    )
