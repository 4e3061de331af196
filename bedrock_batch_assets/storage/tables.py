"""Tables stored as Parquet: written row group by row group, read back by row range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa  # noqa: TID253 - imported by those alone who read or write tables
import pyarrow.parquet as pq  # noqa: TID253

# A row group is what a chunk's run reads at least: near a chunk's usual size, but neither so small that the footer
# grows large, nor so large that a run needs much memory.
_MIN_GROUP_ROWS = 1_000
_MAX_GROUP_ROWS = 10_000
_MAX_GROUP_BYTES = 64 << 20
# Several batches are in memory at a time, on their way through a run.
_BATCH_BYTES = 8 << 20


class TableWriter:
    """Writes batches of any length as row groups of a fixed number of rows, fewer only where rows are large."""

    def __init__(self, path: Path, schema: pa.Schema, *, rows_per_chunk: int) -> None:
        """Start a file.

        Args:
            path: Of the file; overwritten.
            schema: Of the batches.
            rows_per_chunk: What readers will ask for at a time.
        """
        self._group_rows = max(_MIN_GROUP_ROWS, min(rows_per_chunk, _MAX_GROUP_ROWS))
        self._schema = schema
        # The page index and statistics would be for filters, which nobody uses here.
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, write_statistics=False)
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
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(table))
        self._waiting = []
        self._rows = self._bytes = 0


def read_rows(
    file: BinaryIO | Path,
    first_row: int = 0,
    row_count: int | None = None,
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = 4_096,
) -> Iterator[pa.RecordBatch]:
    """Read a range of rows, and no row group outside of it.

    Args:
        file: A Parquet file: a path, or a seekable binary file such as `ObjectStore.open_reader` gives.
        first_row: Where to begin.
        row_count: How many; None for all.
        columns: The ones to read, with all that they hold; None for all. Where a name has dots in it, a column below
            another may come along.
        batch_rows: Rows per batch at most; fewer where rows are large.

    Raises:
        IndexError: The file has not so many rows.
    """
    with pq.ParquetFile(file, pre_buffer=True) as table:
        stop = table.metadata.num_rows if row_count is None else first_row + row_count
        if not 0 <= first_row <= stop <= table.metadata.num_rows:
            raise IndexError(f"rows {first_row} to {stop} of a table of {table.metadata.num_rows}")
        group_start = 0
        for index in range(table.num_row_groups):
            group_stop = group_start + table.metadata.row_group(index).num_rows
            if group_start < stop and first_row < group_stop:
                row = group_start
                group = table.metadata.row_group(index)
                fitting = _BATCH_BYTES * group.num_rows // max(_size(group, columns), 1)
                size = max(1, min(batch_rows, fitting))
                for batch in table.iter_batches(size, row_groups=[index], columns=columns):
                    low, high = max(first_row - row, 0), min(stop - row, batch.num_rows)
                    if low < high:
                        yield batch.slice(low, high - low)
                    row += batch.num_rows
            group_start = group_stop


def _size(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Bytes of some columns of a row group, uncompressed."""
    if columns is None:
        return int(group.total_byte_size)
    # A nested column is stored as one for each of its leaves: `name.list.element`.
    stored = [group.column(index) for index in range(group.num_columns)]
    below = tuple(f"{name}." for name in columns)
    return sum(leaf.total_uncompressed_size for leaf in stored if f"{leaf.path_in_schema}.".startswith(below))
