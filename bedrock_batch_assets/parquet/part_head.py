"""Reads rows of a part, for a preview."""

import csv
import io
import itertools
from typing import Any, BinaryIO

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.damage import damage_explained
from bedrock_batch_assets.parquet.tables import read_rows
from bedrock_batch_assets.records.preview import preview_rows

# The largest value that `csv.field_size_limit` takes on every platform.
_MOST_CELL_CHARACTERS = 2**31 - 1


def read_head(file: BinaryIO, output_format: OutputFormat, count: int) -> list[dict[str, Any]]:
    """The first `count` rows of a part, as far as there are so many.

    Raises:
        DamagedPartError: They cannot be read.
    """
    with damage_explained():
        return _csv_head(file, count) if output_format is OutputFormat.csv else _parquet_head(file, count)


def read_row(file: BinaryIO, row: int) -> dict[str, Any]:
    """One row of a Parquet part, counted from 0.

    Raises:
        DamagedPartError: It cannot be read.
    """
    with damage_explained():
        return preview_rows(next(iter(read_rows(file, row, 1))))[0]


def _csv_head(file: BinaryIO, count: int) -> list[dict[str, Any]]:
    # Python's default limit is shorter than an answer may be.
    csv.field_size_limit(_MOST_CELL_CHARACTERS)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    return list(itertools.islice(csv.DictReader(text), count))


def _parquet_head(file: BinaryIO, count: int) -> list[dict[str, Any]]:
    head: list[dict[str, Any]] = []
    for batch in read_rows(file, batch_rows=count):
        head += preview_rows(batch.slice(0, count - len(head)))
        if len(head) == count:
            break
    return head
