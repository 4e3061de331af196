"""A chunk's records as one file, the input of a job."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bedrock_batch_assets.records.prefetch import PrefetchedRows, map_prefetched

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    import pyarrow as pa

    from bedrock_batch_assets.records.rendering import RenderedRecords


# So many bytes are enough for rendering not to wait for reading.
_READ_AHEAD_BYTES = 16 << 20
# So many batches of records may be written and not yet digested.
_DIGESTED_LATER = 2


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
    waiting: deque[Future[None]] = deque()
    records = skipped = size = 0
    first_record = b""
    # Reading, rendering, digesting and writing take their time side by side. None of them needs the GIL for it.
    with (
        PrefetchedRows(batches, _READ_AHEAD_BYTES) as rows,
        ThreadPoolExecutor(1, thread_name_prefix="digest") as thread,
    ):
        for _, rendered in render_prefetched(renderer, rows, first_row, spare_cores=1):
            waiting.append(thread.submit(_update, digest, rendered.pieces))
            file.writelines(rendered.pieces)
            if len(waiting) > _DIGESTED_LATER:
                waiting.popleft().result()
            if rendered.pieces and not first_record:
                first_record = bytes(rendered.pieces[0]).partition(b"\n")[0]
            records += rendered.record_count
            skipped += len(rendered.skipped)
            size += rendered.size_bytes
    for update in waiting:
        update.result()
    return RecordFile(records, skipped, size, digest.digest(), first_record)


def _update(digest: hashlib._Hash, pieces: Sequence[Buffer]) -> None:
    for piece in pieces:
        digest.update(piece)


def render_prefetched(
    renderer: Renderer, batches: Iterable[pa.RecordBatch], first_row: int, *, spare_cores: int = 0
) -> Iterator[tuple[pa.RecordBatch, RenderedRecords]]:
    """Each Arrow batch with its records, in order, rendered on all cores but `spare_cores`."""

    def numbered() -> Iterator[tuple[pa.RecordBatch, int]]:
        row = first_row
        for batch in batches:
            yield batch, row
            row += batch.num_rows

    return map_prefetched(lambda item: (item[0], renderer.render(*item)), numbered(), spare_cores=spare_cores)
