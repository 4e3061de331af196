"""The chunk's records, rendered for the model."""

import tempfile
from pathlib import Path

import dagster as dg

from bedrock_batch_assets.assets.chunk import Chunk
from bedrock_batch_assets.assets.reporting import asset_run
from bedrock_batch_assets.jobs.naming import content_digest
from bedrock_batch_assets.partitions import CROSSING, chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.manifests import ChunkManifest
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
        manifest, sample = render_chunk(chunk)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.version),
        metadata={
            "records": manifest.records,
            "skipped_rows": manifest.skipped,
            "first_row": chunk.entry.first_row,
            "last_row": chunk.entry.first_row + chunk.entry.row_count - 1,
            "size_bytes": manifest.size_bytes,
            "digest": manifest.digest,
            "records_file": storage.uri(manifest.key) if manifest.key else "none: every row is skipped",
            "sample_record": dg.MetadataValue.md(f"```json\n{sample}\n```"),
        },
    )


def render_chunk(chunk: Chunk) -> tuple[ChunkManifest, str]:
    """Render the chunk's records and store them. Returns the manifest and one record, cut to 2,000 characters."""
    from bedrock_batch_assets.records.record_file import write_records

    storage, renderer = chunk.storage, chunk.renderer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        with path.open("wb") as file:
            written = write_records(renderer, chunk.rows(renderer.columns), chunk.entry.first_row, file)
        # The name of the job is made of this, so it holds all that is paid for, and nothing else.
        digest = content_digest(chunk.batch.model_id, chunk.processor.model_invocation_type, written.sha256)
        key = storage.layout.job_records(chunk.key, digest) if written.records else None
        if key is not None:
            storage.objects.upload_file(path, key, content_type="application/jsonl")
    manifest = ChunkManifest(
        chunk=chunk.key,
        version=chunk.entry.version,
        digest=digest,
        records=written.records,
        skipped=written.skipped,
        size_bytes=written.size_bytes,
        key=key,
    )
    storage.write_manifest(storage.layout.chunk_manifest(chunk.key), manifest)
    return manifest, written.first_record.decode()[:2000]
