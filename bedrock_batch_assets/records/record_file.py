"""A chunk's records as one file, the input of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bedrock_batch_assets.records.ahead import RowsAhead, mapped_ahead

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.records.rendering import RenderedRecords


# Enough that rendering does not wait for reading.
_READ_AHEAD_BYTES = 8 << 20


class Renderer(Protocol):
    """What is needed of `records.rendering.RecordRenderer`."""

    def render(self, batch: pa.RecordBatch, first_row: int) -> RenderedRecords:
        """The records of one batch, whose first row is `first_row` of the whole table."""
        ...


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


def write_records(renderer: Renderer, batches: Iterable[pa.RecordBatch], first_row: int, file: BinaryIO) -> RecordFile:
    """Render rows and write their records. Memory holds a few Arrow batches, however many rows there are.

    Args:
        renderer: Of the table that the rows are from.
        batches: The rows, in order; iterated in a thread of their own.
        first_row: Index of the first of them in the whole batch.
        file: Open for writing; gets the lines.

    Raises:
        RequestError: A value cannot be read as text.
    """
    digest = hashlib.sha256()
    records = skipped = size = 0
    first_record = b""
    with RowsAhead(batches, _READ_AHEAD_BYTES) as rows:
        for _, rendered in rendered_ahead(renderer, rows, first_row):
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
    renderer: Renderer, batches: Iterable[pa.RecordBatch], first_row: int
) -> Iterator[tuple[pa.RecordBatch, RenderedRecords]]:
    """Each Arrow batch with its records, in order, rendered on all cores."""

    def numbered() -> Iterator[tuple[pa.RecordBatch, int]]:
        row = first_row
        for batch in batches:
            yield batch, row
            row += batch.num_rows

    return mapped_ahead(lambda item: (item[0], renderer.render(*item)), numbered())
