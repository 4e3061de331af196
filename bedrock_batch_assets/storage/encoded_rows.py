"""Row groups as Parquet files hold them, encoded and compressed: put side by side and below each other as they are.

A table's input columns need not be decoded to get columns of answers beside them. Arrow writes whole files alone, so
the one thing that is written here is the footer: that of an empty file of Arrow's, with the row groups put in.
Source of names and numbers: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pyarrow as pa  # noqa: TID253 - imported by those alone who read or write tables
import pyarrow.parquet as pq  # noqa: TID253

from bedrock_batch_assets.storage import thrift_compact as thrift
from bedrock_batch_assets.storage.thrift_compact import Elements, Field, Struct

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

_MAGIC = b"PAR1"
_LENGTH_BYTES = 4

# Ids of fields. FileMetaData:
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
# SchemaElement:
_TYPE, _NAME, _NUM_CHILDREN = 1, 4, 5
# ColumnChunk:
_FILE_OFFSET, _META_DATA = 2, 3
# ColumnMetaData:
ENCODINGS, _PATH, CODEC, NUM_VALUES, UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3, 4, 5, 6, 7
DATA_PAGE, _DICTIONARY_PAGE, _COLUMN_STATISTICS = 9, 11, 12

# Arrow has one name for two codecs that are called LZ4: it is not among these.
_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6}
_ENCODINGS = {
    "PLAIN": 0,
    "PLAIN_DICTIONARY": 2,
    "RLE": 3,
    "BIT_PACKED": 4,
    "DELTA_BINARY_PACKED": 5,
    "DELTA_LENGTH_BYTE_ARRAY": 6,
    "DELTA_BYTE_ARRAY": 7,
    "RLE_DICTIONARY": 8,
    "BYTE_STREAM_SPLIT": 9,
}
# Least and greatest values in statistics are encoded as plain values are, but for the length of texts.
_PLAIN_VALUES: Mapping[str, Callable[[Any], bytes]] = {
    "BOOLEAN": struct.Struct("<?").pack,
    "INT32": struct.Struct("<i").pack,
    "INT64": struct.Struct("<q").pack,
    "FLOAT": struct.Struct("<f").pack,
    "DOUBLE": struct.Struct("<d").pack,
    "BYTE_ARRAY": bytes,
    "FIXED_LEN_BYTE_ARRAY": bytes,
}


@dataclass(frozen=True, slots=True)
class RowGroupPlace:
    """Where a row group lies in its file.

    Attributes:
        start: In bytes.
        size: In bytes.
        columns: The `ColumnMetaData` of each leaf column, but for its type and path; offsets count from `start`.
    """

    start: int
    size: int
    columns: Sequence[Struct]


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

    def write_to(self, file: BinaryIO) -> RowGroupPlace:
        """Write the pages. Returns where they were or would be in a file of their own."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows of one row group: their schema once they are decoded, where the pages were, and the pages."""

    schema: pa.Schema
    row_count: int
    place: RowGroupPlace
    data: Buffer

    @property
    def nbytes(self) -> int:
        """Bytes of the pages."""
        return self.place.size

    def write_to(self, file: BinaryIO) -> RowGroupPlace:
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

    def write_to(self, file: BinaryIO) -> RowGroupPlace:
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


def row_group_place(metadata: pq.FileMetaData, index: int) -> RowGroupPlace | None:
    """Where a row group is; None if it is not in one piece, or of a kind that is not known here."""
    group = metadata.row_group(index)
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [_first_page(column) for column in columns]
    start = min(starts, default=0)
    size = sum(column.total_compressed_size for column in columns)
    ends = [first + column.total_compressed_size for first, column in zip(starts, columns, strict=True)]
    if (
        max(ends, default=0) - start != size
        or any(column.file_path or column.compression not in _CODECS for column in columns)
        or not {encoding for column in columns for encoding in column.encodings} <= _ENCODINGS.keys()
    ):
        return None
    return RowGroupPlace(start, size, [_column_metadata(column, start) for column in columns])


def _place(metadata: pq.FileMetaData) -> RowGroupPlace:
    place = row_group_place(metadata, 0)
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
            columns += [_moved(column, self._end) for column in place.columns]
            self._end += place.size
        chunks = [
            {_FILE_OFFSET: Field(thrift.I64, 0), _META_DATA: Field(thrift.STRUCT, {**leaf, **column})}
            for leaf, column in zip(self._leaves, columns, strict=True)
        ]
        sizes = [sum(column[size].value for column in columns) for size in (UNCOMPRESSED_SIZE, COMPRESSED_SIZE)]
        self._row_groups.append(
            {
                1: Field(thrift.LIST, Elements(thrift.STRUCT, chunks)),
                2: Field(thrift.I64, sizes[0]),
                3: Field(thrift.I64, row_count),
                6: Field(thrift.I64, sizes[1]),
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
        yield {_TYPE: element[_TYPE], _PATH: Field(thrift.LIST, Elements(thrift.BINARY, path))}
        while above:
            left, parent = above.pop()
            if left > 1:
                above.append((left - 1, parent))
                break


def _first_page(column: pq.ColumnChunkMetaData) -> int:
    # Arrow notes 0 where there is no dictionary: no page begins before the magic number's end.
    return int(min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset))


def _column_metadata(column: pq.ColumnChunkMetaData, start: int) -> Struct:
    encodings = [_ENCODINGS[name] for name in column.encodings]
    found: Struct = {
        ENCODINGS: Field(thrift.LIST, Elements(thrift.I32, encodings)),
        CODEC: Field(thrift.I32, _CODECS[column.compression]),
        NUM_VALUES: Field(thrift.I64, column.num_values),
        UNCOMPRESSED_SIZE: Field(thrift.I64, column.total_uncompressed_size),
        COMPRESSED_SIZE: Field(thrift.I64, column.total_compressed_size),
        DATA_PAGE: Field(thrift.I64, column.data_page_offset - start),
    }
    if column.dictionary_page_offset:
        found[_DICTIONARY_PAGE] = Field(thrift.I64, column.dictionary_page_offset - start)
    if column.is_stats_set and column.statistics is not None:
        found[_COLUMN_STATISTICS] = Field(thrift.STRUCT, _statistics(column.statistics))
    return found


def _statistics(statistics: pq.Statistics) -> Struct:
    found: Struct = {}
    if statistics.has_null_count:
        found[3] = Field(thrift.I64, statistics.null_count)
    plain = _PLAIN_VALUES.get(statistics.physical_type)
    if statistics.has_min_max and plain is not None:
        found[5] = Field(thrift.BINARY, plain(statistics.max_raw))
        found[6] = Field(thrift.BINARY, plain(statistics.min_raw))
    return found


def _moved(column: Struct, by: int) -> Struct:
    offsets = {
        name: Field(thrift.I64, column[name].value + by) for name in (DATA_PAGE, _DICTIONARY_PAGE) if name in column
    }
    return {**column, **offsets}
