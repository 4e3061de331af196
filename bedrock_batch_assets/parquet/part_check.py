"""Checks that a part holds the rows that it should, by its bytes and never by what its writer counted.

Every reader believes our footers, so a wrong one would lose rows in silence. A part is checked twice: all of it when it
was written, which takes a few bytes of each page; and its column of statuses when it is part of a table.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet.column_chunk_metadata import first_page
from bedrock_batch_assets.parquet.damage import DamagedPartError, damage_explained
from bedrock_batch_assets.parquet.page_check import check_pages
from bedrock_batch_assets.parquet.row_group_writer import LENGTH_BYTES, MAGIC, parquet_schema

# Every part has this column, see `records.joining`: a few texts, which take a few hundred bytes per row group.
STATUS_COLUMN = "record_status"

# How much of a file's end is read at first: the footer of a usual part fits in.
_TAIL_BYTES = 64 << 10
_DIGEST_BYTES = 8


def check_part(file: BinaryIO, row_count: int, schema: pa.Schema) -> str:
    """Check a part that has just been written: its footer, the header of every page, and its statuses if it has any.

    Args:
        file: Open for reading.
        row_count: The rows that were given to its writer.
        schema: Their columns.

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
        if not footer.metadata.schema.equals(parquet_schema(schema)):
            raise DamagedPartError("its footer has other columns than those that were written")
        check_pages(file, footer.metadata, range(footer.metadata.num_columns))
        if STATUS_COLUMN in schema.names:
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
        check_pages(file, footer.metadata, [leaves.index(STATUS_COLUMN)])
        return _decoded_statuses(file, footer)


@dataclass(frozen=True, slots=True)
class _Footer:
    """A file's footer: what it says, as Arrow reads it, if it begins in bytes, and its digest."""

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
                start = first_page(column)
                if start != end:
                    raise DamagedPartError(f"{name} begins at byte {start}, and what is before it ends at byte {end}")
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
