"""Columns of a row group on their way into a Parquet file: encoded and compressed already, or still to be encoded.

A table's input columns need not be decoded to get columns of answers beside them, see `row_group_writer`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet.column_chunk_metadata import RowGroupMetadata, row_group_metadata

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]


class RowGroupPart(Protocol):
    """Some columns of a row group."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        ...

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Write the pages. Returns where they were or would be in a file of their own, and the rows in them."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows of one row group: their decoded schema, where the pages were, and the pages."""

    schema: pa.Schema
    place: RowGroupMetadata
    data: Buffer

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.place.row_count

    @property
    def nbytes(self) -> int:
        """Bytes of the pages."""
        return self.place.size

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Write the pages. Returns where they were before."""
        file.write(self.data)
        return self.place


@dataclass(frozen=True, slots=True)
class RowsToEncode:
    """Rows that are to be a row group, and options of `pyarrow.parquet.ParquetWriter` for it."""

    batch: pa.RecordBatch
    options: Mapping[str, Any]

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self.batch.schema

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return int(self.batch.num_rows)

    def encoded(self) -> EncodedRows:
        """Encode them in memory. For any thread.

        Raises:
            ValueError: The options choose a codec that is not known here, or Arrow wrote anything but one row group
                of all rows.
        """
        sink = pa.BufferOutputStream()
        with self._writer(sink) as writer:
            self._write(writer)
        data = sink.getvalue()
        place = self._place(pq.read_metadata(pa.BufferReader(data)))
        return EncodedRows(self.schema, place, data.slice(place.start, place.size))

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Encode them straight into a file. Returns where they would be in a file of their own.

        Raises:
            ValueError: As for `encoded`, or not all pages were written when Arrow said that they were.
        """
        metadata: list[pq.FileMetaData] = []
        sink = _Pages(file)
        with self._writer(sink, metadata_collector=metadata) as writer:
            sink.is_open = True
            self._write(writer)
            sink.is_open = False
        place = self._place(metadata[0])
        if sink.size != place.size:
            raise ValueError(f"a row group of {place.size} bytes was written with {sink.size} bytes")
        return place

    def _writer(self, sink: Any, **options: Any) -> pq.ParquetWriter:
        return pq.ParquetWriter(sink, self.schema, **self.options, **options)

    def _write(self, writer: pq.ParquetWriter) -> None:
        writer.write_table(pa.Table.from_batches([self.batch]), row_group_size=max(self.row_count, 1))

    def _place(self, metadata: pq.FileMetaData) -> RowGroupMetadata:
        # The part's footer would not name a second row group, so its rows would be lost in silence.
        if metadata.num_row_groups != 1 or metadata.num_rows != self.row_count:
            raise ValueError(
                f"Arrow wrote {metadata.num_row_groups} row groups of {metadata.num_rows} rows together for one of "
                f"{self.row_count}"
            )
        place = row_group_metadata(metadata, 0)
        if place is None:
            raise ValueError("these rows are encoded in a way that is not known here")
        return place


class _Pages(io.RawIOBase):
    """Passes on what is written while it `is_open`: the pages, without the rest of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_open = False
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        if self.is_open:
            self._file.write(data)
            self.size += size
        return size
