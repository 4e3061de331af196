"""The chunk's records, rendered for the model."""

import dagster as dg

from bedrock_batch_assets.assets.reporting import HIDDEN, asset_run
from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.chunks.rendered_chunk import render_chunk
from bedrock_batch_assets.partitions import CROSSING, chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.resource import BatchStorage


@dg.asset(
    partitions_def=chunks,
    deps=[dg.AssetDep("input_dataset", partition_mapping=CROSSING)],
    group_name="batch_inference",
    kinds={"json", "s3"},
    owners=["team:data-platform"],
)
def jsonl_chunks(
    context: dg.AssetExecutionContext, storage: BatchStorage, processors: Processors
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The chunk's rows as JSONL records in the model's request format, in a folder of their own.

    Rendering is repeatable: the same rows, prompt and parameters give the same bytes, and so the same job.
    """
    with asset_run(context) as key:
        chunk = Chunk.load(key, storage, processors)
        rendered = render_chunk(chunk)
    manifest = rendered.manifest
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.version),
        metadata={
            "records": manifest.records,
            "skipped_rows": manifest.skipped,
            "first_row": chunk.first_row,
            "last_row": chunk.first_row + chunk.row_count - 1,
            "size_bytes": manifest.size_bytes,
            "digest": manifest.digest,
            "records_file": storage.uri(manifest.key) if manifest.key else "none: every row is skipped",
            "sample_record": (
                dg.MetadataValue.md(f"```json\n{rendered.sample_record}\n```") if chunk.shows_values else HIDDEN
            ),
        },
    )
