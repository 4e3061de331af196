"""The last input of a batch as version 0.2 or before left it, made one whose answers later inputs can reuse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.records.record_digests import INDEX, record_digests
from bedrock_batch_assets.storage.bucket import BatchBucket, version_of
from bedrock_batch_assets.storage.claims import Claim, ClaimedChunk, write_claim
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.storage.objects import ObjectNotFoundError
from bedrock_batch_assets.storage.table_folder import TableFolder

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest


def adopted(
    previous: BatchManifest | None, request: ResolvedRequest, storage: BatchBucket, folder: Path
) -> BatchManifest | None:
    """The batch's last input with its records claimed, if they are of the same recipe and its rows are still there.

    Its answers are copied to where later inputs look for them, unless they are CSV: then they are asked for again.

    Args:
        previous: The last input; None if there was none.
        request: The batch's request now.
        storage: The bucket.
        folder: A local folder for files.
    """
    if previous is None or previous.recipe:
        return previous
    recipe = version_of(previous.model_id, previous.processor, previous.parameters, previous.template)
    if recipe != request.recipe:
        return previous
    try:
        chunks, index = _claimed(previous, request, storage)
    except ObjectNotFoundError:
        return previous
    for source, answers in zip(previous.answer_sources(), TableFolder(previous, storage).find_answers(), strict=True):
        key = storage.layout.staged_part(source.batch, source.index, source.version, OutputFormat.parquet)
        if answers is not None and answers.key != key and answers.key.endswith(f".{OutputFormat.parquet.value}"):
            storage.objects.copy(answers.key, key)
    path = folder / "adopted.index"
    index.tofile(path)
    write_claim(storage, recipe, Claim(batch=previous.batch, chunks=chunks), path)
    entries = [msgspec.structs.replace(entry, index=place) for place, entry in enumerate(previous.chunks)]
    return msgspec.structs.replace(previous, recipe=recipe, chunks=entries, next_chunk=len(entries))


def _claimed(
    previous: BatchManifest, request: ResolvedRequest, storage: BatchBucket
) -> tuple[list[ClaimedChunk], np.ndarray]:
    """The chunks of an earlier input, and the index of their records, which are rendered once more."""
    import pyarrow as pa

    from bedrock_batch_assets.parquet.files import read_rows
    from bedrock_batch_assets.records.record_file import render_prefetched
    from bedrock_batch_assets.records.rendering import RecordRenderer

    schema = pa.ipc.read_schema(pa.py_buffer(previous.schema))
    renderer = RecordRenderer(request.processor, request.template, schema)
    digests, sizes = [], []
    with storage.objects.open_reader(previous.rows_key) as file:
        for _, rendered in render_prefetched(renderer, read_rows(file, columns=renderer.columns or None), 0):
            digests.append(record_digests(rendered))
            sizes.append(rendered.line_sizes)
    size, digest = np.concatenate(sizes), np.concatenate(digests)
    chunks, indexes = [], []
    for place, entry in enumerate(previous.chunks):
        rows = slice(entry.first_row, entry.first_row + entry.row_count)
        sent = np.flatnonzero(size[rows])
        chunks.append(
            ClaimedChunk(place, entry.version, entry.row_count, len(sent), int(size[rows].sum()), entry.first_row)
        )
        index = np.empty(len(sent), INDEX)
        index["digest"], index["chunk"], index["position"] = digest[rows][sent], place, sent
        indexes.append(index)
    # Of records that were asked for more than once, the first counts.
    whole = np.concatenate(indexes)
    return chunks, whole[np.unique(whole["digest"], return_index=True)[1]]
