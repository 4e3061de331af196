"""Checks that columns are the pages that their footer names, by the headers of the pages.

Vectors are written by ourselves: of them the levels are read as well, which say how many rows and numbers there are.
Source of the numbers of fields: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.column_chunk_metadata import first_page
from bedrock_batch_assets.parquet.damage import DamagedPartError
from bedrock_batch_assets.parquet.levels import count_levels
from bedrock_batch_assets.parquet.thrift_compact import Struct

# A page's header and the first bytes of its body; headers hold the least and the greatest value, which may be long.
_HEADER_BYTES = 512
_MOST_HEADER_BYTES = 16 << 20
_BODY_START_BYTES = 10
_LENGTH_BYTES = 4
_FLOAT_BYTES = 4

# Ids of fields. PageHeader:
_PAGE_TYPE, _UNCOMPRESSED, _COMPRESSED, _DATA_PAGE, _DATA_PAGE_V2 = 1, 2, 3, 5, 8
# DataPageHeader and DataPageHeaderV2:
_NUM_VALUES = 1
# PageType:
_DICTIONARY = 2

# RFC 8878, section 3.1.1, and RFC 1952, section 2.3.1.
_ZSTD_MAGIC, _GZIP_MAGIC = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"


def check_pages(file: BinaryIO, metadata: pq.FileMetaData, columns: Iterable[int]) -> None:
    """Check that columns are pages, one behind the other, with the values and the codec that their footer names.

    Args:
        file: Open for reading, seekable.
        metadata: The footer.
        columns: The numbers of the leaf columns.

    Raises:
        DamagedPartError: They are not.
        ValueError: A page has no header that can be read.
    """
    leaves = [(number, metadata.schema.column(number)) for number in columns]
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number, leaf in leaves:
            rows = _check_column(file, group.column(number), leaf)
            if rows is not None and rows != group.num_rows:
                raise DamagedPartError(
                    f"its column {leaf.path} has {rows} rows in row group {index}, which counts {group.num_rows}"
                )


def _check_column(file: BinaryIO, column: pq.ColumnChunkMetaData, leaf: pq.ColumnSchema) -> int | None:
    """Check one column chunk. Returns its rows if they can be counted."""
    start = place = first_page(column)
    end = start + column.total_compressed_size
    name = f"its column {column.path_in_schema} at byte {start}"
    values = uncompressed = rows = 0
    has_readable_levels = column.compression == "UNCOMPRESSED" and leaf.max_repetition_level == 1
    is_data_yet = False
    while place < end:
        header, header_size, body = _page(file, place, end)
        size, plain_size = header[_COMPRESSED].value, header[_UNCOMPRESSED].value
        if size < 0:
            raise DamagedPartError(f"{name} has a page at byte {place} of {size} bytes")
        if header[_PAGE_TYPE].value != _DICTIONARY:
            if not is_data_yet and place != column.data_page_offset:
                raise DamagedPartError(f"{name} has its first data page at byte {place}")
            is_data_yet = True
            page_values = header[_DATA_PAGE if _DATA_PAGE in header else _DATA_PAGE_V2].value[_NUM_VALUES].value
            values += page_values
            if has_readable_levels and _DATA_PAGE in header:
                file.seek(place + header_size)
                rows += _rows_of_page(file, size, page_values, leaf)
        if _DATA_PAGE_V2 in header:
            has_readable_levels = False
        elif not _may_be(column.compression, body, size, plain_size):
            raise DamagedPartError(f"{name} has a page at byte {place} that is not compressed as {column.compression}")
        place += header_size + size
        uncompressed += header_size + plain_size
    found = (values, place, uncompressed)
    expected = (column.num_values, end, column.total_uncompressed_size)
    if found != expected:
        raise DamagedPartError(f"{name} has pages with (values, end, uncompressed bytes) {found}, not {expected}")
    return rows if has_readable_levels else None


def _rows_of_page(file: BinaryIO, size: int, values: int, leaf: pq.ColumnSchema) -> int:
    """Read the levels of a page, and return how many rows begin in it.

    Raises:
        DamagedPartError: It has another number of levels, or of numbers, than it says.
    """
    found: list[tuple[int, int]] = []
    left = size
    for most, level in ((leaf.max_repetition_level, 0), (leaf.max_definition_level, leaf.max_definition_level)):
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        left -= _LENGTH_BYTES
        levels = file.read(max(min(length, left), 0))
        left -= length
        found.append(count_levels(levels, most.bit_length(), level, values))
    (repetitions, rows), (definitions, numbers) = found
    if not repetitions == definitions == values:
        raise DamagedPartError(
            f"its column {leaf.path} has a page of {values} values with {repetitions} and {definitions} levels"
        )
    if leaf.physical_type == "FLOAT" and left != numbers * _FLOAT_BYTES:
        raise DamagedPartError(f"its column {leaf.path} has a page of {numbers} numbers in {left} bytes")
    return rows


def _page(file: BinaryIO, place: int, end: int) -> tuple[Struct, int, bytes]:
    """The header of the page at a place, its size, and the first bytes of the page's body."""
    size = _HEADER_BYTES
    while True:
        file.seek(place)
        data = file.read(min(size, end - place))
        try:
            header, header_size = thrift.decode_first_struct(data)
        except ValueError:
            if len(data) < size or size >= _MOST_HEADER_BYTES:
                raise
            size *= 16
            continue
        return header, header_size, data[header_size : header_size + _BODY_START_BYTES]


def _may_be(codec: str, body: bytes, size: int, plain_size: int) -> bool:
    """Whether a page's body may be compressed by a codec, by its size and its first bytes."""
    if codec == "UNCOMPRESSED":
        return size == plain_size
    if codec == "SNAPPY":
        # It begins with the size of what was compressed (google/snappy, format_description.txt).
        return body.startswith(thrift.encode_number(plain_size))
    return body.startswith({"ZSTD": _ZSTD_MAGIC, "GZIP": _GZIP_MAGIC}.get(codec, b""))
