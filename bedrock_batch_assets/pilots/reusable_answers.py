"""A pilot's answers, stored so that batches with the same records need not ask for them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bedrock_batch_assets.chunks.joined_chunk import part_summary
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.files import PartFile
from bedrock_batch_assets.records.joining import OutputJoin
from bedrock_batch_assets.records.record_digests import INDEX
from bedrock_batch_assets.records.rendering import RecordRenderer, record_id
from bedrock_batch_assets.storage.bucket import BatchBucket, version_of
from bedrock_batch_assets.storage.claims import Claim, ClaimedChunk, note_bad_answers, write_claim
from bedrock_batch_assets.storage.manifests import AnswerSource, pilot_of, summary_metadata

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest


def keep_for_batches(
    request: ResolvedRequest,
    storage: BatchBucket,
    renderer: RecordRenderer,
    digests: npt.NDArray[np.bytes_],
    lines: Sequence[Mapping[str, Any]],
) -> None:
    """Store a pilot's answers as a chunk of its own, without the rows.

    Args:
        request: The batch's request.
        storage: The bucket.
        renderer: Of the batch's table.
        digests: Of the pilot's records, see `records.record_digests`.
        lines: Their lines of output, in the same order.
    """
    count = len(lines)
    if not count:
        return
    source = AnswerSource(pilot_of(request.batch), 0, version_of(digests.tobytes().hex(), request.recipe))
    output = b"".join(
        msgspec.json.encode({**line, "recordId": record_id(row)}) + b"\n" for row, line in enumerate(lines)
    )
    with tempfile.TemporaryDirectory() as folder, OutputJoin(renderer, 0, count) as join:
        join.add_outputs([output], on_demand=True)
        path = Path(folder) / "answers"
        with PartFile(path, OutputFormat.parquet) as part:
            part.write(join.answers(count))
        summary = part_summary(join, source.version, path, part.footer_digest)
        key = storage.layout.staged_part(source.batch, source.index, source.version, OutputFormat.parquet)
        storage.objects.upload_file(path, key, metadata=summary_metadata(summary))
        note_bad_answers(storage, request.recipe, source.chunk, source.version, join.unanswered)
        # Of rows with the same record, the first.
        found, first = np.unique(digests, return_index=True)
        index = np.zeros(len(found), INDEX)
        index["digest"], index["position"] = found, first
        index.tofile(Path(folder) / "index")
        chunk = ClaimedChunk(source.index, source.version, count, count, len(output), 0)
        write_claim(storage, request.recipe, Claim(batch=source.batch, chunks=[chunk]), Path(folder) / "index")
