"""A column of vectors as a row group of its own: written from where its numbers lie, without a copy.

Arrow's writer looks at each number of a list, which takes longer than all else that is done with a vector on its way
into the result (measured). Numbers do not get smaller by a general codec, so they are not compressed.
Source of the format: Apache Parquet, parquet.thrift and Encodings.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.parquet import column_chunk_metadata
from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.column_chunk_metadata import RowGroupMetadata
from bedrock_batch_assets.parquet.thrift_compact import Elements, Field
from bedrock_batch_assets.records.string_columns import valid_values

if TYPE_CHECKING:
    import numpy.typing as npt

_TYPE = pa.list_(pa.float32())
_NUMBER_BYTES = 4
# Pages are as large as Arrow's, since readers hold a page in memory.
_PAGE_BYTES = 1 << 20

_PLAIN, _RLE, _UNCOMPRESSED = 0, 3, 0
# How deep a value is defined: the list is null, the list is empty, or (one further on, for a null) it is a number.
_NULL, _EMPTY, _NUMBER = 0, 1, 3


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Rows that have one nullable column, of lists of float32 numbers, none of which is null."""

    field: pa.Field
    column: pa.ListArray

    @classmethod
    def of(cls, field: pa.Field, column: pa.Array) -> VectorRows | None:
        """The rows; None if that is not what the column is."""
        if column.type != _TYPE or not field.nullable or not len(column) or column.values.null_count:
            return None
        rows = cls(field, column)
        lengths, is_valid = rows._lengths()
        return rows if not lengths[~is_valid].any() else None

    @property
    def schema(self) -> pa.Schema:
        """The one column."""
        return pa.schema([self.field])

    @property
    def row_count(self) -> int:
        """How many there are."""
        return len(self.column)

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        """Write the pages. Returns where they would be in a file of their own, and the rows in them."""
        size = row_count = level_count = 0
        for page in self._pages():
            for piece in page.pieces:
                file.write(piece)
                size += len(piece)
            row_count += page.row_count
            level_count += page.level_count
        encodings = Elements(thrift.I32, [_PLAIN, _RLE])
        column = {
            column_chunk_metadata.ENCODINGS: Field(thrift.LIST, encodings),
            column_chunk_metadata.CODEC: Field(thrift.I32, _UNCOMPRESSED),
            column_chunk_metadata.NUM_VALUES: Field(thrift.I64, level_count),
            column_chunk_metadata.UNCOMPRESSED_SIZE: Field(thrift.I64, size),
            column_chunk_metadata.COMPRESSED_SIZE: Field(thrift.I64, size),
            column_chunk_metadata.DATA_PAGE: Field(thrift.I64, 0),
        }
        return RowGroupMetadata(0, size, row_count, [column])

    def _lengths(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        count = len(self.column)
        is_valid = valid_values(self.column) if self.column.null_count else np.ones(count, np.bool_)
        return np.diff(self._offsets()), is_valid

    def _offsets(self) -> npt.NDArray[np.int32]:
        first = self.column.offset
        return np.frombuffer(self.column.buffers()[1], np.int32)[first : first + len(self.column) + 1]

    def _pages(self) -> Iterator[_Page]:
        offsets = self._offsets()
        lengths, is_valid = self._lengths()
        numbers = memoryview(self.column.values.buffers()[1] or b"").cast("B")
        # The child array's own beginning, if the column was cut out of another.
        first_number = self.column.values.offset
        rows = max(_PAGE_BYTES // (_NUMBER_BYTES * int(lengths.max(initial=1))), 1)
        for start in range(0, max(len(lengths), 1), rows):
            some = list(
                zip(lengths[start : start + rows].tolist(), is_valid[start : start + rows].tolist(), strict=True)
            )
            levels = b"".join(
                len(runs).to_bytes(4, "little") + runs
                for runs in (
                    b"".join([_repetition(length) for length, _ in some]),
                    b"".join([_definition(length, valid) for length, valid in some]),
                )
            )
            low, high = (first_number + int(offsets[place]) for place in (start, start + len(some)))
            values = numbers[low * _NUMBER_BYTES : high * _NUMBER_BYTES]
            level_count = sum(max(length, 1) for length, _ in some)
            header = _page_header(len(levels) + len(values), level_count)
            yield _Page((header, levels, values), len(some), level_count)


class _Page(NamedTuple):
    """Header, levels and values, and how many rows and levels they hold."""

    pieces: tuple[bytes | memoryview, ...]
    row_count: int
    level_count: int


@cache
def _repetition(length: int) -> bytes:
    """The levels of one row: the first of its values begins a list, the others go on with it."""
    return _run(1, 0) + (_run(length - 1, 1) if length > 1 else b"")


@cache
def _definition(length: int, is_valid: bool) -> bytes:
    """The levels of one row: all numbers, or the one that says why there are none."""
    return _run(max(length, 1), _NUMBER if length else _EMPTY if is_valid else _NULL)


def _run(count: int, level: int) -> bytes:
    """A run of one level, in Parquet's hybrid of runs and packed bits."""
    return thrift.encode_number(count << 1) + bytes([level])


def _page_header(size: int, level_count: int) -> bytes:
    numbers = {1: level_count, 2: _PLAIN, 3: _RLE, 4: _RLE}
    data_page = {identifier: Field(thrift.I32, number) for identifier, number in numbers.items()}
    header = {1: Field(thrift.I32, 0), 2: Field(thrift.I32, size), 3: Field(thrift.I32, size)}
    return thrift.encode_struct({**header, 5: Field(thrift.STRUCT, data_page)})
