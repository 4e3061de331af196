"""The chunk's rows with their answers."""

import dagster as dg

from bedrock_batch_assets.assets.reporting import HIDDEN, PREVIEW_ROWS, asset_run, preview
from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.chunks.joined_chunk import join_chunk
from bedrock_batch_assets.cost.forecast import cost_metadata, used_tokens
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.partitions import CROSSING, chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.records.reasons import shortened
from bedrock_batch_assets.storage.resource import BatchStorage


@dg.asset(
    partitions_def=chunks,
    deps=["batch_job_outputs", dg.AssetDep("input_dataset", partition_mapping=CROSSING)],
    group_name="batch_inference",
    kinds={"parquet", "s3"},
    owners=["team:data-platform"],
)
def result_parts(
    context: dg.AssetExecutionContext, storage: BatchStorage, processors: Processors, prices: Prices
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The chunk's input rows, every one, in order, with the model's answer and a status on each."""
    with asset_run(context) as key:
        chunk = Chunk.load(key, storage, processors)
        outputs = storage.outputs_manifest(chunk.key)
        if outputs.version != chunk.version:
            raise BatchError(
                f"The answers of chunk {chunk.key} are for an earlier input: materialize jsonl_chunks and "
                "batch_job_outputs of this chunk first."
            )
        # Outside of the table's folder, since inputs of other batches may have the same records.
        joined = join_chunk(chunk, outputs, chunk.answers_key, head_rows=PREVIEW_ROWS)
    summary = joined.summary
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.version),
        metadata={
            "dagster/row_count": summary.rows,
            "dagster/uri": storage.uri(chunk.answers_key),
            **summary.statuses(),
            "input_tokens": summary.input_tokens,
            "output_tokens": summary.output_tokens,
            **used_tokens(summary),
            **cost_metadata(summary, chunk.model_id, prices),
            "errors_by_reason": {shortened(reason.text, 120): reason.rows for reason in summary.reasons[:5]},
            "preview": preview(joined.head) if chunk.shows_values else HIDDEN,
        },
    )
