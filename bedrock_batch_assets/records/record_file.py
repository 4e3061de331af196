"""A chunk's records as one file, the input of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bedrock_batch_assets.records.ahead import mapped_ahead

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.records.rendering import RecordRenderer, RenderedRecords


@dataclass(frozen=True, slots=True)
class RecordFile:
    """What was written.

    Attributes:
        records: Lines.
        skipped: Rows that are not sent.
        size_bytes: Of all lines.
        sha256: Of all lines: 32 bytes.
        first_record: The first line, without its newline; empty if there is none.
    """

    records: int
    skipped: int
    size_bytes: int
    sha256: bytes
    first_record: bytes


def write_records(
    renderer: RecordRenderer, batches: Iterable[pa.RecordBatch], first_row: int, file: BinaryIO
) -> RecordFile:
    """Render rows and write their records. Memory holds a few Arrow batches, however many rows there are.

    Args:
        renderer: Of the table that the rows are from.
        batches: The rows, in order.
        first_row: Index of the first of them in the whole batch.
        file: Open for writing; gets the lines.

    Raises:
        RequestError: A value cannot be read as text.
    """
    digest = hashlib.sha256()
    records = skipped = size = 0
    first_record = b""
    for rendered in rendered_ahead(renderer, batches, first_row):
        for piece in rendered.pieces:
            digest.update(piece)
        file.writelines(rendered.pieces)
        if rendered.pieces and not first_record:
            first_record = bytes(rendered.pieces[0]).partition(b"\n")[0]
        records += rendered.record_count
        skipped += len(rendered.skipped)
        size += rendered.size_bytes
    return RecordFile(records, skipped, size, digest.digest(), first_record)


def rendered_ahead(
    renderer: RecordRenderer, batches: Iterable[pa.RecordBatch], first_row: int
) -> Iterable[RenderedRecords]:
    """The records of each Arrow batch, in order, rendered on all cores."""

    def numbered() -> Iterable[tuple[pa.RecordBatch, int]]:
        row = first_row
        for batch in batches:
            yield batch, row
            row += batch.num_rows

    return mapped_ahead(lambda item: renderer.render(*item), numbered())
