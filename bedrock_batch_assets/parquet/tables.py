"""Tables stored as Parquet: written row group by row group, read back by row range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet.column_chunk_metadata import row_group_metadata
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.row_group_writer import is_arrows_own
from bedrock_batch_assets.parquet.writer_options import writer_options

# A row group is what a chunk's run reads at least: near a chunk's usual size, but neither so small that the footer
# grows large, nor so large that a run needs much memory.
_MIN_GROUP_ROWS = 1_000
_MAX_GROUP_ROWS = 10_000
_MAX_GROUP_BYTES = 64 << 20
# Several batches are in memory at a time, on their way through a run.
_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 4_096


class TableWriter:
    """Writes batches of any length as row groups of a fixed number of rows, fewer only if rows are large."""

    def __init__(self, path: Path, schema: pa.Schema, *, rows_per_chunk: int) -> None:
        """Start a file.

        Args:
            path: Of the file; overwritten.
            schema: Of the batches.
            rows_per_chunk: What readers will ask for at a time.
        """
        self._group_rows = max(_MIN_GROUP_ROWS, min(rows_per_chunk, _MAX_GROUP_ROWS))
        self._schema = schema
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        while self._rows + batch.num_rows >= self._group_rows:
            head = batch.slice(0, self._group_rows - self._rows)
            batch = batch.slice(head.num_rows)
            self._waiting.append(head)
            self._flush()
        if batch.num_rows:
            self._waiting.append(batch)
            self._rows += batch.num_rows
            self._bytes += batch.nbytes
            if self._bytes >= _MAX_GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._open().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self._schema)
            self._open().write_table(table, row_group_size=len(table))
        self._waiting = []
        self._rows = self._bytes = 0

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            options = writer_options(self._waiting[0]) if self._waiting else {}
            self._writer = pq.ParquetWriter(
                self._path, self._schema, compression="zstd", compression_level=1, **options
            )
        return self._writer


def read_rows(
    file: BinaryIO | Path,
    first_row: int = 0,
    row_count: int | None = None,
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Read a range of rows, and no row group outside of it.

    Args:
        file: A Parquet file: a path, or a seekable binary file such as `ObjectStore.open_reader` gives.
        first_row: Where to begin.
        row_count: How many; None for all.
        columns: The ones to read, with all that they hold; None for all. If a name has dots in it, a column below
            another may come along.
        batch_rows: Rows per batch at most; fewer if rows are large.

    Raises:
        IndexError: The file has not so many rows.
    """
    with pq.ParquetFile(file, pre_buffer=True) as table:
        for piece in _pieces(table.metadata, first_row, row_count):
            yield from _decoded(table, piece, columns, batch_rows)


def read_encoded_rows(
    file: BinaryIO | Path, first_row: int = 0, row_count: int | None = None
) -> Iterator[EncodedRows | pa.RecordBatch]:
    """Read a range of rows, and decode only those of row groups that are not in it as a whole.

    Args:
        file: As for `read_rows`.
        first_row: As for `read_rows`.
        row_count: As for `read_rows`.

    Raises:
        IndexError: The file has not so many rows.
    """
    with ExitStack() as stack:
        if isinstance(file, Path):
            file = stack.enter_context(file.open("rb"))
        table = stack.enter_context(pq.ParquetFile(file, pre_buffer=True))
        may_stay_encoded = is_arrows_own(table)
        for piece in _pieces(table.metadata, first_row, row_count):
            place = row_group_metadata(table.metadata, piece.group) if may_stay_encoded and piece.is_whole else None
            if place is None:
                yield from _decoded(table, piece, None, _BATCH_ROWS)
            else:
                file.seek(place.start)
                data = file.read(place.size)
                if len(data) < place.size:
                    raise EOFError(f"row group {piece.group} ends after {len(data)} of {place.size} bytes")
                yield EncodedRows(table.schema_arrow, place, data)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows `start` to `stop` of row group number `group`."""

    group: int
    start: int
    stop: int
    is_whole: bool


def _pieces(metadata: pq.FileMetaData, first_row: int, row_count: int | None) -> Iterator[_Piece]:
    """The row groups that a range of rows is in, and what it has of them.

    Raises:
        IndexError: The file has not so many rows.
    """
    stop = metadata.num_rows if row_count is None else first_row + row_count
    if not 0 <= first_row <= stop <= metadata.num_rows:
        raise IndexError(f"rows {first_row} to {stop} of a table of {metadata.num_rows}")
    group_start = 0
    for index in range(metadata.num_row_groups):
        group_rows = metadata.row_group(index).num_rows
        low, high = max(first_row - group_start, 0), min(stop - group_start, group_rows)
        if low < high:
            yield _Piece(index, low, high, high - low == group_rows)
        group_start += group_rows


def _decoded(
    table: pq.ParquetFile, piece: _Piece, columns: Sequence[str] | None, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    group = table.metadata.row_group(piece.group)
    fitting = _BATCH_BYTES * group.num_rows // max(_size(group, columns), 1)
    size = max(1, min(batch_rows, fitting))
    row = 0
    for batch in table.iter_batches(size, row_groups=[piece.group], columns=columns):
        low, high = max(piece.start - row, 0), min(piece.stop - row, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        row += batch.num_rows


def _size(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Bytes of some columns of a row group, uncompressed."""
    if columns is None:
        return int(group.total_byte_size)
    # A nested column is stored as one for each of its leaves: `name.list.element`.
    stored = [group.column(index) for index in range(group.num_columns)]
    below = tuple(f"{name}." for name in columns)
    return sum(leaf.total_uncompressed_size for leaf in stored if f"{leaf.path_in_schema}.".startswith(below))
