"""Parquet files of row groups as they are: columns are put side by side, and row groups below each other.

Arrow writes whole files alone, so the one thing that is written here is the footer: that of an empty file of Arrow's,
with the row groups put in. Source of the numbers of fields: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.column_chunk_metadata import (
    COMPRESSED_SIZE,
    NUM_VALUES,
    PATH,
    TYPE,
    UNCOMPRESSED_SIZE,
    moved,
)
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows, RowGroupPart
from bedrock_batch_assets.parquet.thrift_compact import Elements, Field, Struct

MAGIC = b"PAR1"
LENGTH_BYTES = 4

# Ids of fields. FileMetaData:
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
# SchemaElement:
_TYPE, _REPETITION, _NAME, _NUM_CHILDREN = 1, 3, 4, 5
# RowGroup:
_COLUMNS, _TOTAL_SIZE, _GROUP_ROWS, _TOTAL_COMPRESSED_SIZE = 1, 2, 3, 6
# ColumnChunk:
_FILE_OFFSET, _META_DATA = 2, 3
# FieldRepetitionType:
_REPEATED = 2


class RowGroupWriter:
    """Writes a Parquet file of row groups as they are. The caller, who opened the file, closes it."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        """Begin the file.

        Args:
            file: Open for writing, at its beginning.
            schema: The columns of the file.
        """
        self._file = file
        self._footer = thrift.decode_struct(footer_of(_empty_file(schema)))
        self._fields = list(schema)
        self._leaves = list(_leaves(self._footer[_SCHEMA].value.values))
        self._row_groups: list[Struct] = []
        self._row_count = 0
        file.write(MAGIC)
        self._end = len(MAGIC)

    def append(self, *side_by_side: RowGroupPart) -> None:
        """Append rows, given as their first columns, the columns beside these, and so on.

        Raises:
            ValueError: The columns are not those of the file's schema, they differ in their number of rows, or what
                was written for one of them has another number. The file is of no use then.
        """
        row_count = side_by_side[0].row_count
        if any(rows.row_count != row_count for rows in side_by_side):
            raise ValueError(f"{[rows.row_count for rows in side_by_side]} rows are not beside each other")
        if [field for rows in side_by_side for field in rows.schema] != self._fields:
            raise ValueError(f"the columns {[rows.schema for rows in side_by_side]} are not the file's {self._fields}")
        columns: list[Struct] = []
        for rows in side_by_side:
            place = rows.write_to(self._file)
            if place.row_count != row_count:
                raise ValueError(f"{place.row_count} rows of {rows.schema.names} were written instead of {row_count}")
            columns += [moved(column, self._end) for column in place.columns]
            self._end += place.size
        for leaf, column in zip(self._leaves, columns, strict=True):
            leaf.check_values(column[NUM_VALUES].value, row_count)
        chunks = [
            {_FILE_OFFSET: Field(thrift.I64, 0), _META_DATA: Field(thrift.STRUCT, {**leaf.fields, **column})}
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
        self._file.write(footer + len(footer).to_bytes(LENGTH_BYTES, "little") + MAGIC)


def as_file(rows: EncodedRows) -> pa.BufferReader:
    """A Parquet file of these rows alone, which Arrow can decode."""
    sink = pa.BufferOutputStream()
    writer = RowGroupWriter(sink, rows.schema)
    writer.append(rows)
    writer.close()
    return pa.BufferReader(sink.getvalue())


def is_arrows_own(file: pq.ParquetFile) -> bool:
    """Whether a file has just the Parquet schema that Arrow gives to its Arrow schema.

    Then its columns mean the same below a footer that Arrow has made for that.
    """
    return bool(file.schema.equals(parquet_schema(file.schema_arrow)))


def parquet_schema(schema: pa.Schema) -> pq.ParquetSchema:
    """The Parquet schema that Arrow gives to a file of this schema."""
    return pq.read_metadata(pa.BufferReader(_empty_file(schema))).schema


def _empty_file(schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    return sink.getvalue()


def footer_of(file: pa.Buffer) -> bytes:
    """The footer of a file that is in memory."""
    data = memoryview(file)
    end = len(data) - len(MAGIC) - LENGTH_BYTES
    return bytes(data[end - int.from_bytes(data[end : end + LENGTH_BYTES], "little") : end])


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf column: type and path as fields of its `ColumnMetaData`, and whether a row may have several values."""

    fields: Struct
    is_repeated: bool

    def check_values(self, count: int, row_count: int) -> None:
        """Refuse a column that cannot hold so many rows: each has one value, null or not, or one at least."""
        if count < row_count or (count > row_count and not self.is_repeated):
            path = b".".join(self.fields[PATH].value.values).decode()
            raise ValueError(f"the column {path} has {count} values in a row group of {row_count} rows")


def _leaves(elements: Sequence[Struct]) -> Iterator[_Leaf]:
    """The leaf columns of a schema, whose elements are in the order of the tree."""
    # For each element above: how many children are left, its name, and whether it or one above it repeats.
    above: list[tuple[int, bytes, bool]] = []
    for element in elements[1:]:
        name = element[_NAME].value
        path = [*(parent for _, parent, _ in above), name]
        is_repeated = element[_REPETITION].value == _REPEATED or (bool(above) and above[-1][2])
        children = element[_NUM_CHILDREN].value if _NUM_CHILDREN in element else 0
        if children:
            above.append((children, name, is_repeated))
            continue
        fields = {TYPE: element[_TYPE], PATH: Field(thrift.LIST, Elements(thrift.BINARY, path))}
        yield _Leaf(fields, is_repeated)
        while above:
            left, parent, repeats = above.pop()
            if left > 1:
                above.append((left - 1, parent, repeats))
                break
