"""The places of row groups in Parquet files, and what footers say about the columns in them.

Source of names and numbers: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.thrift_compact import Elements, Field, Struct

# Ids of fields of ColumnMetaData.
TYPE, ENCODINGS, PATH, CODEC, NUM_VALUES, UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 1, 2, 3, 4, 5, 6, 7
DATA_PAGE, DICTIONARY_PAGE, STATISTICS = 9, 11, 12

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
class RowGroupMetadata:
    """Where a row group lies in its file, and how many rows were written there.

    Attributes:
        start: In bytes.
        size: In bytes.
        row_count: The rows that the writer of the pages counted.
        columns: The `ColumnMetaData` of each leaf column, but for its type and path; offsets count from `start`.
    """

    start: int
    size: int
    row_count: int
    columns: Sequence[Struct]


def row_group_metadata(metadata: pq.FileMetaData, index: int) -> RowGroupMetadata | None:
    """Where a row group is; None if it is not in one piece, or of a kind that is not known here."""
    group = metadata.row_group(index)
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [first_page(column) for column in columns]
    start = min(starts, default=0)
    size = sum(column.total_compressed_size for column in columns)
    ends = [first + column.total_compressed_size for first, column in zip(starts, columns, strict=True)]
    if (
        max(ends, default=0) - start != size
        or any(column.file_path or column.compression not in _CODECS for column in columns)
        or not {encoding for column in columns for encoding in column.encodings} <= _ENCODINGS.keys()
    ):
        return None
    return RowGroupMetadata(start, size, group.num_rows, [_column_metadata(column, start) for column in columns])


def first_page(column: pq.ColumnChunkMetaData) -> int:
    """Where a column chunk begins in its file, in bytes."""
    # Arrow notes 0 if there is no dictionary, since no page begins before the end of the magic number.
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
        found[DICTIONARY_PAGE] = Field(thrift.I64, column.dictionary_page_offset - start)
    if column.is_stats_set and column.statistics is not None:
        found[STATISTICS] = Field(thrift.STRUCT, _statistics(column.statistics))
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


def moved(column: Struct, by: int) -> Struct:
    """A column's metadata for pages that are so many bytes further on."""
    offsets = {
        name: Field(thrift.I64, column[name].value + by) for name in (DATA_PAGE, DICTIONARY_PAGE) if name in column
    }
    return {**column, **offsets}
