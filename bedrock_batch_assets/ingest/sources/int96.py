"""Times of Parquet's old type INT96 without loss: a day and nanoseconds, wider than any timestamp of Arrow's.

Arrow gives them in a unit that one chooses, and in each it cuts or wraps what does not fit, in silence. Read in three
units at once, the values that do not fit are found: seconds never wrap, and nanoseconds are right modulo 2**64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.parquet_errors import parquet_errors_explained
from bedrock_batch_assets.ingest.sources.parquet_layout import opened
from bedrock_batch_assets.records.nested_columns import children, integers, is_nested, resolved
from bedrock_batch_assets.records.string_columns import valid_values

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.sources.parquet_layout import ParquetLayout

_BATCH_ROWS = 8_192
# The first and the last microsecond in which every nanosecond fits into 64 bits.
_FIRST_MICROSECOND, _LAST_MICROSECOND = -(2**63) // 1_000 + 1, (2**63 - 1) // 1_000 - 1


@dataclass
class _Found:
    """Where a column has a time that one of the units cannot hold: the file and the row, counted from 1."""

    outside_nanoseconds: tuple[str, int] | None = None
    within_a_microsecond: tuple[str, int] | None = None
    outside_microseconds: tuple[str, int] | None = None


def int96_units(
    layouts: Sequence[ParquetLayout], open_file: Callable[[str], BinaryIO], max_rows: int | None
) -> dict[str, str]:
    """The unit in which all values of a column are what was written: "ns" if they fit, else "us".

    Reads the columns once, those of type INT96 alone.

    Args:
        layouts: Of the files.
        open_file: Opens one by its name.
        max_rows: Rows beyond these are not looked at.

    Returns:
        The units by column.

    Raises:
        RequestError: No unit holds all values of a column, whose name, files and rows are in the message; or a file is
            damaged.
    """
    found: dict[str, _Found] = {}
    left = max_rows
    for layout in layouts:
        if left is not None and left <= 0:
            break
        for column in layout.int96_columns:
            found.setdefault(column, _Found())
        if layout.int96_columns:
            file = open_file(layout.name)
            with parquet_errors_explained(layout.name, file):
                _look(layout, open_file, left, found)
        if left is not None:
            left -= layout.row_count
    units = {column: _unit(column, places) for column, places in found.items()}
    for column, places in found.items():
        if places.within_a_microsecond is None and _has_other_type(layouts, column):
            # Another file has this column in a coarser unit, and may hold dates far away.
            units[column] = "us"
    return units


def _has_other_type(layouts: Sequence[ParquetLayout], column: str) -> bool:
    """Whether a file has the column as anything but INT96 and nanoseconds."""
    fine = {layout.schema.field(column).type for layout in layouts if column in layout.int96_columns}
    others = [layout for layout in layouts if column in layout.schema.names and column not in layout.int96_columns]
    return any(layout.schema.field(column).type not in fine for layout in others)


def _unit(column: str, found: _Found) -> str:
    if found.outside_microseconds is not None:
        name, row = found.outside_microseconds
        raise RequestError(
            f"{name}: column {column!r} has a time in row {row} (counted from 1) that no type of timestamp holds: "
            "correct it."
        )
    if found.outside_nanoseconds is None:
        return "ns"
    if found.within_a_microsecond is None:
        return "us"
    (far, far_row), (fine, fine_row) = found.outside_nanoseconds, found.within_a_microsecond
    raise RequestError(
        f"Column {column!r} has a time before 1677 or after 2262 in row {far_row} of {far}, and one with nanoseconds "
        f"in row {fine_row} of {fine} (counted from 1): no type of timestamp holds both. Write it with microseconds."
    )


def _look(
    layout: ParquetLayout, open_file: Callable[[str], BinaryIO], max_rows: int | None, found: dict[str, _Found]
) -> None:
    columns = list(layout.int96_columns)
    files = [opened(open_file(layout.name), unit) for unit in ("s", "us", "ns")]
    first_row = 0
    for batches in zip(*(file.iter_batches(_BATCH_ROWS, columns=columns) for file in files), strict=True):
        count = batches[0].num_rows if max_rows is None else min(batches[0].num_rows, max_rows - first_row)
        for column in columns:
            own = [batch.column(column).slice(0, count) for batch in batches]
            _note(found[column], own, layout.name, first_row)
        first_row += count
        if first_row == max_rows:
            return


def _note(found: _Found, values: Sequence[pa.Array], name: str, first_row: int) -> None:
    """Note the first row of each trouble. `values` are the same rows in seconds, microseconds and nanoseconds."""
    for trouble, has in enumerate(_troubles(values)):
        attribute = ("outside_nanoseconds", "within_a_microsecond", "outside_microseconds")[trouble]
        if has and getattr(found, attribute) is None:
            rows = range(len(values[0]))
            row = next(row for row in rows if _troubles([column.slice(row, 1) for column in values])[trouble])
            setattr(found, attribute, (name, first_row + row + 1))


def _troubles(values: Sequence[pa.Array]) -> tuple[bool, bool, bool]:
    """Whether a value is outside of nanoseconds, cut by microseconds, outside of these."""
    sums = [False, False, False]
    for leaves in zip(*map(_leaves, values), strict=True):
        if leaves[0].type.equals(leaves[1].type):
            # These values are not of type INT96: they are the same in every unit.
            continue
        seconds, micros, nanos = (_numbers(leaf) for leaf in leaves)
        rests = nanos.view(np.uint64) - micros.view(np.uint64) * np.uint64(1_000)
        is_outside = (micros // 1_000_000 != seconds) | (rests >= 1_000)
        is_far = (micros < _FIRST_MICROSECOND) | (micros > _LAST_MICROSECOND)
        sums = [
            has or bool(some.any())
            for has, some in zip(sums, (is_far & ~is_outside, (rests > 0) & ~is_outside, is_outside), strict=True)
        ]
    return sums[0], sums[1], sums[2]


def _numbers(leaf: pa.Array) -> npt.NDArray[np.int64]:
    numbers = integers(leaf)
    return numbers[valid_values(leaf)] if leaf.null_count else numbers


def _leaves(values: pa.Array) -> Iterator[pa.Array]:
    values = resolved(values)
    if is_nested(values.type):
        for child in children(values):
            yield from _leaves(child)
    else:
        yield values
