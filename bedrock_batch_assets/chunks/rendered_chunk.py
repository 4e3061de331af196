"""A chunk's records: rendered for the model, and stored as the input of a job."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.jobs.naming import content_digest
from bedrock_batch_assets.storage.manifests import ChunkManifest

_SAMPLE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class RenderedChunk:
    """What was rendered. `sample_record` is the first record, cut to 2,000 characters; empty if there is none."""

    manifest: ChunkManifest
    sample_record: str


def render_chunk(chunk: Chunk) -> RenderedChunk:
    """Render the chunk's records and store them with their manifest.

    Raises:
        RequestError: A value cannot be read as text.
        ConfigurationError: Access to the bucket is denied.
    """
    from bedrock_batch_assets.records.record_file import write_records

    storage, renderer = chunk.storage, chunk.renderer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        with path.open("wb") as file:
            written = write_records(renderer, chunk.rows(renderer.columns), chunk.first_row, file)
        # The job's name is made of this digest, so it covers everything that is paid for, and nothing else.
        digest = content_digest(chunk.model_id, chunk.processor.model_invocation_type, written.sha256)
        key = storage.layout.job_records(chunk.key, digest) if written.records else None
        if key is not None:
            storage.objects.upload_file(path, key, content_type="application/jsonl")
    manifest = ChunkManifest(
        chunk=chunk.key,
        version=chunk.version,
        digest=digest,
        records=written.records,
        skipped=written.skipped,
        size_bytes=written.size_bytes,
        key=key,
    )
    storage.write_manifest(storage.layout.chunk_manifest(chunk.key), manifest)
    return RenderedChunk(manifest, written.first_record.decode()[:_SAMPLE_CHARACTERS])
