"""Row groups as Parquet files hold them, encoded and compressed: put side by side and below each other as they are.

A table's input columns need not be decoded to get columns of answers beside them. Arrow writes whole files alone, so
the one thing that is written here is the footer: that of an empty file of Arrow's, with the row groups put in.
Source of the numbers of fields: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.column_chunk_metadata import (
    COMPRESSED_SIZE,
    PATH,
    TYPE,
    UNCOMPRESSED_SIZE,
    RowGroupMetadata,
    moved,
    row_group_metadata,
)
from bedrock_batch_assets.parquet.thrift_compact import Elements, Field, Struct

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

_MAGIC = b"PAR1"
_LENGTH_BYTES = 4

# Ids of fields. FileMetaData:
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
# SchemaElement:
_TYPE, _NAME, _NUM_CHILDREN = 1, 4, 5
# RowGroup:
_COLUMNS, _TOTAL_SIZE, _GROUP_ROWS, _TOTAL_COMPRESSED_SIZE = 1, 2, 3, 6
# ColumnChunk:
_FILE_OFFSET, _META_DATA = 2, 3


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

    def encoded(self) -> RowGroupPart:
        """The same, with all done that can be done before they are written. For any thread."""
        ...

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Write the pages. Returns where they were or would be in a file of their own."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows of one row group: their schema once they are decoded, where the pages were, and the pages."""

    schema: pa.Schema
    row_count: int
    place: RowGroupMetadata
    data: Buffer

    @property
    def nbytes(self) -> int:
        """Bytes of the pages."""
        return self.place.size

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Write the pages. Returns where they were before."""
        file.write(self.data)
        return self.place

    def encoded(self) -> EncodedRows:
        """They are."""
        return self

    def decoded(self) -> pa.BufferReader:
        """A Parquet file of these rows alone."""
        sink = pa.BufferOutputStream()
        writer = EncodedRowsWriter(sink, self.schema)
        writer.append(self)
        writer.close()
        return pa.BufferReader(sink.getvalue())


@dataclass(frozen=True, slots=True)
class RowsToEncode:
    """Rows that are to be a row group, and options of `pyarrow.parquet.ParquetWriter` for it."""

    batch: pa.RecordBatch
    options: Mapping[str, Any]

    @property
    def schema(self) -> pa.Schema:
        """Their columns."""
        return self.batch.schema

    @property
    def row_count(self) -> int:
        """How many there are."""
        return int(self.batch.num_rows)

    def encoded(self) -> EncodedRows:
        """Encode them in memory.

        Raises:
            ValueError: The options choose a codec that is not known here.
        """
        sink = pa.BufferOutputStream()
        with self._writer(sink) as writer:
            self._write(writer)
        data = sink.getvalue()
        place = _place(pq.read_metadata(pa.BufferReader(data)))
        return EncodedRows(self.schema, self.row_count, place, data.slice(place.start, place.size))

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Encode them straight into a file. Returns where they would be in a file of their own.

        Raises:
            ValueError: The options choose a codec that is not known here.
        """
        metadata: list[pq.FileMetaData] = []
        sink = _Pages(file)
        with self._writer(sink, metadata_collector=metadata) as writer:
            sink.is_open = True
            self._write(writer)
            sink.is_open = False
        place = _place(metadata[0])
        if sink.size != place.size:
            raise ValueError(f"a row group of {place.size} bytes was written with {sink.size} bytes")
        return place

    def _writer(self, sink: Any, **options: Any) -> pq.ParquetWriter:
        return pq.ParquetWriter(sink, self.schema, **self.options, **options)

    def _write(self, writer: pq.ParquetWriter) -> None:
        writer.write_table(pa.Table.from_batches([self.batch]), row_group_size=max(self.row_count, 1))


class _Pages(io.RawIOBase):
    """Passes on what is written while it `is_open`, and no more: the pages, without what makes them a file."""

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


def _place(metadata: pq.FileMetaData) -> RowGroupMetadata:
    place = row_group_metadata(metadata, 0)
    if place is None:
        raise ValueError("these rows are encoded in a way that is not known here")
    return place


def is_arrows_own(file: pq.ParquetFile) -> bool:
    """Whether a file has just the Parquet schema that Arrow gives to its Arrow schema.

    Then its columns mean the same below a footer that Arrow has made for that.
    """
    empty = pq.read_metadata(pa.BufferReader(_empty_file(file.schema_arrow)))
    return bool(file.schema.equals(empty.schema))


class EncodedRowsWriter:
    """Writes a Parquet file of row groups as they are. Whoever opened the file closes it."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        """Begin the file.

        Args:
            file: Open for writing, at its beginning.
            schema: Of the file.
        """
        self._file = file
        self._footer = thrift.decode_struct(_footer(_empty_file(schema)))
        self._fields = list(schema)
        self._leaves = list(_leaves(self._footer[_SCHEMA].value.values))
        self._row_groups: list[Struct] = []
        self._row_count = 0
        file.write(_MAGIC)
        self._end = len(_MAGIC)

    def append(self, *side_by_side: RowGroupPart) -> None:
        """Append rows, given as their first columns, the columns beside these, and so on.

        Raises:
            ValueError: The columns are not those of the file's schema, or differ in their number of rows.
        """
        row_count = side_by_side[0].row_count
        if any(rows.row_count != row_count for rows in side_by_side):
            raise ValueError(f"{[rows.row_count for rows in side_by_side]} rows are not beside each other")
        if [field for rows in side_by_side for field in rows.schema] != self._fields:
            raise ValueError(f"the columns {[rows.schema for rows in side_by_side]} are not the file's {self._fields}")
        columns: list[Struct] = []
        for rows in side_by_side:
            place = rows.write_to(self._file)
            columns += [moved(column, self._end) for column in place.columns]
            self._end += place.size
        chunks = [
            {_FILE_OFFSET: Field(thrift.I64, 0), _META_DATA: Field(thrift.STRUCT, {**leaf, **column})}
            for leaf, column in zip(self._leaves, columns, strict=True)
        ]
        sizes = [sum(column[size].value for column in columns) for size in (UNCOMPRESSED_SIZE, COMPRESSED_SIZE)]
        self._row_groups.append(
            {
                _COLUMNS: Field(thrift.LIST, Elements(thrift.STRUCT, chunks)),
                _TOTAL_SIZE: Field(thrift.I64, sizes[0]),
                _GROUP_ROWS: Field(thrift.I64, row_count),
                _TOTAL_COMPRESSED_SIZE: Field(thrift.I64, sizes[1]),
            }
        )
        self._row_count += row_count

    def close(self) -> None:
        """Write the footer."""
        groups = Elements(thrift.STRUCT, self._row_groups)
        footer = thrift.encode_struct(
            {
                **self._footer,
                _NUM_ROWS: Field(thrift.I64, self._row_count),
                _ROW_GROUPS: Field(thrift.LIST, groups),
            }
        )
        self._file.write(footer + len(footer).to_bytes(_LENGTH_BYTES, "little") + _MAGIC)


def _empty_file(schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    return sink.getvalue()


def _footer(file: pa.Buffer) -> bytes:
    data = memoryview(file)
    end = len(data) - len(_MAGIC) - _LENGTH_BYTES
    return bytes(data[end - int.from_bytes(data[end : end + _LENGTH_BYTES], "little") : end])


def _leaves(elements: Sequence[Struct]) -> Iterator[Struct]:
    """Type and path of each leaf column, as fields of its `ColumnMetaData`. Elements are in the order of the tree."""
    # How many children each of the ones above has still to come, and its name.
    above: list[tuple[int, bytes]] = []
    for element in elements[1:]:
        name = element[_NAME].value
        path = [*(parent for _, parent in above), name]
        children = element[_NUM_CHILDREN].value if _NUM_CHILDREN in element else 0
        if children:
            above.append((children, name))
            continue
        yield {TYPE: element[_TYPE], PATH: Field(thrift.LIST, Elements(thrift.BINARY, path))}
        while above:
            left, parent = above.pop()
            if left > 1:
                above.append((left - 1, parent))
                break
