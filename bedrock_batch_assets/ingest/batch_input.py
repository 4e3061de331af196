"""A batch's input as it is stored: the table, and the manifest that later steps read."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.cost.forecast import CostForecast, forecast_cost
from bedrock_batch_assets.cost.measurements import find_measurement
from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest
from bedrock_batch_assets.storage.bucket import BatchBucket, version_of
from bedrock_batch_assets.storage.claims import write_claim
from bedrock_batch_assets.storage.manifests import BatchManifest

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange
    from bedrock_batch_assets.ingest.ingestion import IngestedTable
    from bedrock_batch_assets.ingest.reuse import InputPlan
    from bedrock_batch_assets.ingest.sources.source import Source


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The result of reading and storing a batch's table.

    Attributes:
        manifest: The batch, as every later step reads it. It is not stored yet.
        table: The table; its local file is gone.
        forecast: What asking for its new records will cost.
        plan: What there is to ask for, and what was asked for before.
    """

    manifest: BatchManifest
    table: "IngestedTable"
    forecast: CostForecast
    plan: "InputPlan"


def store_input(
    request: ResolvedRequest,
    source: "Source",
    storage: BatchBucket,
    *,
    previous: BatchManifest | None,
    run_id: str,
) -> BatchInput:
    """Read a batch's table once, check it against the prompt, and store it as Parquet.

    Nothing of a refused batch is stored.

    Args:
        request: The batch's request.
        source: The input table.
        storage: The bucket that it is stored in.
        previous: The batch's last input, if there was one. Its parts keep their place if they can, so that few are
            written again.
        run_id: The run that reads the input, by an id that its retries share.

    Raises:
        RequestError: The table cannot be used, see `ingest` and `RecordRenderer`, or the batch may cost too much.
        ConfigurationError: Access to the bucket is denied.
    """
    from bedrock_batch_assets.ingest.adoption import adopted
    from bedrock_batch_assets.ingest.ingestion import ingest
    from bedrock_batch_assets.ingest.reuse import plan_input
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
        rows_key = storage.layout.rows(request.batch, table.digest)
        paid_again_by = None if request.given.reuse else run_id
        plan = plan_input(
            request,
            table,
            storage=storage,
            rows_key=rows_key,
            previous=adopted(previous, request, storage, Path(folder)),
            paid_again_by=paid_again_by,
            folder=Path(folder),
        )
        manifest = _manifest(request, table, rows_key, plan, storage, paid_again_by)
        measurement = find_measurement(storage, request.recipe)
        forecast = forecast_cost(plan.to_pay, request.processor, request.prices, request.minimum_records, measurement)
        forecast.check(request.given.max_cost_usd)
        storage.objects.upload_file(table.parquet_path, rows_key)
        if plan.references is not None and manifest.references_key is not None:
            storage.objects.upload_file(plan.references, manifest.references_key)
        if plan.new_rows is not None:
            storage.objects.upload_file(plan.new_rows, plan.tables[-1].key)
        if plan.claim is not None:
            write_claim(storage, request.recipe, plan.claim, plan.claim_index)
    return BatchInput(manifest, table, forecast, plan)


def _previous_plan(previous: BatchManifest | None, records_per_job: int) -> "list[ChunkRange] | None":
    """The parts of an earlier input's table; None if there was none, or if its chunks had another size."""
    from bedrock_batch_assets.ingest.chunk_plan import ChunkRange

    if previous is None or previous.records_per_job != records_per_job:
        return None
    return [ChunkRange(index, part.first_row, part.row_count) for index, part in enumerate(previous.table_parts())]


def _manifest(
    request: ResolvedRequest,
    table: "IngestedTable",
    rows_key: str,
    plan: "InputPlan",
    storage: BatchBucket,
    paid_again_by: str | None,
) -> BatchManifest:
    given, processor = request.given, request.processor
    parameters: dict[str, Any] = {field: getattr(processor, field) for field in type(processor).model_fields}
    template = None if request.template is None else request.template.text
    # Everything that the table depends on.
    version = version_of(table.digest, request.recipe, given.output_format.value, plan.chunks, plan.parts, plan.sources)
    return BatchManifest(
        batch=request.batch,
        version=version,
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
        chunks=plan.chunks,
        recipe=request.recipe,
        tables=plan.tables,
        parts=plan.parts,
        sources=plan.sources,
        references_key=None if plan.references is None else storage.layout.references(request.batch, version),
        next_chunk=plan.next_chunk,
        paid_again_by=paid_again_by,
        to_pay=plan.records_to_pay,
        reused=plan.reused,
        repeated=plan.repeated,
    )
