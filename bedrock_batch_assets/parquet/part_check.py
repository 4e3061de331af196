"""Checks that a part holds the rows that it should, by its bytes and never by what its writer counted.

Every reader believes our footers, so a wrong one would lose rows in silence. A part is checked twice: all of it when it
was written, which takes a few bytes of each page; and its column of statuses when it is part of a table.
Source of the numbers of fields: Apache Parquet, parquet.thrift.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.column_chunk_metadata import first_page
from bedrock_batch_assets.parquet.row_group_writer import LENGTH_BYTES, MAGIC, is_arrows_own
from bedrock_batch_assets.parquet.thrift_compact import Struct

# Every part has it, see `records.joining`: a few texts, which take a few hundred bytes a row group.
STATUS_COLUMN = "record_status"

# What is read of a file's end: the footer of a usual part fits in.
_TAIL_BYTES = 64 << 10
_DIGEST_BYTES = 8
# A page's header and the first bytes of its body; headers hold the least and the greatest value, which may be long.
_HEADER_BYTES = 512
_MOST_HEADER_BYTES = 16 << 20
_BODY_START_BYTES = 10

# Ids of fields. PageHeader:
_PAGE_TYPE, _UNCOMPRESSED, _COMPRESSED, _DATA_PAGE, _DATA_PAGE_V2 = 1, 2, 3, 5, 8
# DataPageHeader and DataPageHeaderV2:
_NUM_VALUES = 1
# PageType:
_DICTIONARY = 2

# RFC 8878, section 3.1.1, and RFC 1952, section 2.3.1.
_ZSTD_MAGIC, _GZIP_MAGIC = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"


class DamagedPartError(Exception):
    """A part does not hold the rows that it should, or cannot be read. The message says what is wrong with it."""


def check_part(file: BinaryIO, row_count: int) -> str:
    """Check a part that has just been written: its footer, the header of every page, and its statuses if it has any.

    Args:
        file: Open for reading.
        row_count: The rows that were given to its writer.

    Returns:
        A digest of its footer, for `count_statuses`: 16 hexadecimal digits.

    Raises:
        DamagedPartError: It does not hold so many rows.
    """
    with damage_explained():
        footer = _Footer.read(file)
        footer.check()
        if footer.metadata.num_rows != row_count:
            raise DamagedPartError(f"its footer counts {footer.metadata.num_rows} rows of {row_count}")
        if not is_arrows_own(pq.ParquetFile(file, metadata=footer.metadata)):
            raise DamagedPartError("its Parquet schema is not the one of its Arrow schema")
        _check_pages(file, footer.metadata, range(footer.metadata.num_columns))
        if STATUS_COLUMN in footer.metadata.schema.to_arrow_schema().names:
            _decoded_statuses(file, footer)
        return footer.digest


def count_statuses(file: BinaryIO, footer_digest: str | None = None) -> dict[str, int]:
    """Count the rows of a part by their `record_status`, decoded from its pages.

    Args:
        file: Open for reading, seekable. Its end is read, and that column.
        footer_digest: What `check_part` returned for it; None for a part that was written without.

    Raises:
        DamagedPartError: It cannot be read, its columns do not hold the rows that its footer counts, or its footer is
            not the one that was written.
    """
    with damage_explained():
        footer = _Footer.read(file)
        if footer_digest is not None and footer.digest != footer_digest:
            raise DamagedPartError("its footer is not the one that was written with its rows")
        footer.check()
        leaves = [footer.metadata.schema.column(number).path for number in range(footer.metadata.num_columns)]
        _check_pages(file, footer.metadata, [leaves.index(STATUS_COLUMN)])
        return _decoded_statuses(file, footer)


@contextmanager
def damage_explained() -> Iterator[None]:
    """Raise DamagedPartError for what Arrow, Python and our own decoder raise at bytes that they cannot read."""
    try:
        yield
    except (pa.ArrowException, csv.Error, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DamagedPartError(f"its file cannot be read: {reason}") from error


@dataclass(frozen=True, slots=True)
class _Footer:
    """A file's footer: what it says, as Arrow reads it, where it begins in bytes, and its digest."""

    metadata: pq.FileMetaData
    start: int
    digest: str

    @classmethod
    def read(cls, file: BinaryIO) -> _Footer:
        """Read it from the file's end."""
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - _TAIL_BYTES, 0))
        tail = file.read()
        end = size - LENGTH_BYTES - len(MAGIC)
        length = int.from_bytes(tail[-LENGTH_BYTES - len(MAGIC) : -len(MAGIC)], "little")
        start = end - length
        if tail[-len(MAGIC) :] != MAGIC or start < len(MAGIC):
            raise DamagedPartError("its file has no Parquet footer")
        if length + LENGTH_BYTES + len(MAGIC) > len(tail):
            file.seek(start)
            tail = file.read()
        # The same end without the pages before it.
        found = tail[-LENGTH_BYTES - len(MAGIC) - length :]
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + found))
        return cls(metadata, start, hashlib.blake2b(found, digest_size=_DIGEST_BYTES).hexdigest())

    def check(self) -> None:
        """Check that it does not contradict itself: each column has the rows of its group, and all lie side by side."""
        schema = self.metadata.schema
        leaves = [schema.column(number) for number in range(len(schema))]
        group_rows = 0
        end = len(MAGIC)
        for index in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(index)
            group_rows += group.num_rows
            for number, leaf in enumerate(leaves):
                column = group.column(number)
                name = f"its column {leaf.path} in row group {index}"
                if (column.path_in_schema, column.physical_type) != (leaf.path, leaf.physical_type):
                    raise DamagedPartError(f"{name} is {column.path_in_schema} of type {column.physical_type}")
                values = column.num_values
                if values < group.num_rows or (values > group.num_rows and leaf.max_repetition_level == 0):
                    raise DamagedPartError(f"{name} has {values} values for {group.num_rows} rows")
                # An empty row group has no pages, and its columns no place.
                if column.total_compressed_size and first_page(column) != end:
                    raise DamagedPartError(
                        f"{name} begins at byte {first_page(column)}, and what is before it ends at {end}"
                    )
                end += column.total_compressed_size
        if group_rows != self.metadata.num_rows:
            raise DamagedPartError(f"its footer counts {self.metadata.num_rows} rows, its row groups {group_rows}")
        if end != self.start:
            raise DamagedPartError(f"its columns end at byte {end}, and its footer begins at byte {self.start}")


def _decoded_statuses(file: BinaryIO, footer: _Footer) -> dict[str, int]:
    counts: Counter[str] = Counter()
    table = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=True)
    for batch in table.iter_batches(columns=[STATUS_COLUMN]):
        # A column below one of that name, with a dot in its own, may come along.
        found = pc.value_counts(batch.column(batch.schema.get_field_index(STATUS_COLUMN)))
        counts.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
    if counts.total() != footer.metadata.num_rows:
        raise DamagedPartError(
            f"its footer counts {footer.metadata.num_rows} rows, its column {STATUS_COLUMN} has {counts.total()}"
        )
    return dict(counts)


def _check_pages(file: BinaryIO, metadata: pq.FileMetaData, columns: Iterable[int]) -> None:
    """Check that columns are pages, one behind the other, with the values and the codec that their footer names."""
    numbers = list(columns)
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in numbers:
            _check_column_pages(file, group.column(number))


def _check_column_pages(file: BinaryIO, column: pq.ColumnChunkMetaData) -> None:
    start = place = first_page(column)
    end = start + column.total_compressed_size
    name = f"its column {column.path_in_schema} at byte {start}"
    values = uncompressed = 0
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
            values += header[_DATA_PAGE if _DATA_PAGE in header else _DATA_PAGE_V2].value[_NUM_VALUES].value
        if _DATA_PAGE_V2 not in header and not _may_be(column.compression, body, size, plain_size):
            raise DamagedPartError(f"{name} has a page at byte {place} that is not compressed as {column.compression}")
        place += header_size + size
        uncompressed += header_size + plain_size
    found = (values, place, uncompressed)
    expected = (column.num_values, end, column.total_uncompressed_size)
    if found != expected:
        raise DamagedPartError(f"{name} has pages with (values, end, uncompressed bytes) {found}, not {expected}")


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
