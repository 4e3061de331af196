"""Columns of generated types and values, and what the values are: numbers and texts that no type can bend.

`plain` looks at one Arrow scalar at a time. None of the code that it judges has a part in it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

_DAY = 86_400
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INT64 = st.integers(-(2**63), 2**63 - 1)
# Around the borders of Python's years, of nanoseconds and of days, where values get lost.
_SECONDS = st.one_of(
    st.integers(-10_000, 10_000),
    st.sampled_from(
        [-62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800, 9_223_372_036, -9_223_372_037, 951_782_400]
    ),
    st.integers(-(10**13), 10**13),
)
ZONES = [None, "UTC", "Europe/Berlin", "+05:30"]


def _times(unit: str, most: int) -> st.SearchStrategy[int]:
    per_second = _PER_SECOND[unit]
    low, high = -(2**63) // per_second + 1, (2**63 - 1) // per_second - 1
    seconds = _SECONDS.filter(lambda number: low <= number <= high and abs(number) <= most)
    return st.builds(lambda number, part: number * per_second + part, seconds, st.integers(0, per_second - 1))


@st.composite
def _leaf_types(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    floats = st.floats(width=32)
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    zone = draw(st.sampled_from(ZONES))
    bits = draw(st.sampled_from([8, 16, 32, 64]))
    scale = draw(st.integers(0, 9))
    some: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
        (getattr(pa, f"int{bits}")(), st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)),
        (getattr(pa, f"uint{bits}")(), st.integers(0, 2**bits - 1)),
        (pa.bool_(), st.booleans()),
        (pa.float16(), st.floats(width=16)),
        (pa.float32(), floats),
        (pa.float64(), st.floats()),
        (draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])), text),
        (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
        (pa.time32("s"), st.integers(-5, 2 * _DAY)),
        (pa.time32("ms"), st.integers(-5, 2 * _DAY * 1_000)),
        (pa.time64("us"), st.integers(-5, 2 * _DAY * 10**6)),
        (pa.time64("ns"), st.integers(-5, 2 * _DAY * 10**9)),
        # A second that has no millisecond of 64 bits cannot be stored, and is refused.
        (pa.timestamp(unit, zone), _times(unit, 9 * 10**15)),
        (pa.duration(unit), _times(unit, 2**63)),
        (pa.decimal128(20, scale), st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-scale))),
        (pa.decimal256(60, scale), st.integers(-(10**25), 10**25).map(lambda n: Decimal(n).scaleb(-scale))),
        (pa.uuid(), st.binary(min_size=16, max_size=16)),
        (pa.null(), st.none()),
    ]
    chosen: tuple[pa.DataType, st.SearchStrategy[Any]] = draw(st.sampled_from(some))
    return chosen


@st.composite
def _leaves(draw: st.DrawFn, count: int) -> pa.Array:
    kind, values = draw(_leaf_types())
    some = draw(st.lists(st.none() | values, min_size=count, max_size=count))
    if pa.types.is_float16(kind):
        some = [None if value is None else np.float16(value) for value in some]
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(some, kind.storage_type))
    return pa.array(some, kind)


@st.composite
def columns(draw: st.DrawFn, count: int, depth: int = 2) -> pa.Array:
    """A column of so many values, nested up to `depth` times, encoded in any way, and maybe cut out of a longer one."""
    before = draw(st.integers(0, 2))
    whole = draw(_columns(before + count, depth))
    return whole.slice(before)


@st.composite
def _columns(draw: st.DrawFn, count: int, depth: int) -> pa.Array:
    shapes = ["leaf", "leaf", "dictionary", "run_ends"]
    if depth:
        shapes += ["list", "large_list", "list_view", "fixed", "struct", "map"]
    shape = draw(st.sampled_from(shapes))
    if shape == "leaf":
        return draw(_leaves(count))
    if shape in {"dictionary", "run_ends"}:
        words = draw(st.one_of(_leaves(3), _columns(3, depth - 1)) if depth and shape == "dictionary" else _leaves(3))
        if shape == "dictionary":
            if pa.types.is_dictionary(words.type) or pa.types.is_run_end_encoded(words.type):
                return words.slice(0, 0) if not count else draw(_leaves(count))
            places = draw(st.lists(st.none() | st.integers(0, 2), min_size=count, max_size=count))
            return pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), words)
        if not count or isinstance(words.type, pa.BaseExtensionType) or pa.types.is_time(words.type):
            # Arrow makes no runs of the first, and checks the second to be within a day.
            return draw(_leaves(count))
        ends = sorted({draw(st.integers(1, count)), draw(st.integers(1, count)), count})
        return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), words.slice(0, len(ends)))
    nulls = pa.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), pa.bool_())
    if shape == "struct":
        fields = [draw(_columns(count, depth - 1)) for _ in range(draw(st.integers(1, 2)))]
        return pa.StructArray.from_arrays(fields, [f"f{place}" for place in range(len(fields))], mask=nulls)
    if shape == "fixed":
        return pa.FixedSizeListArray.from_arrays(draw(_columns(2 * count, depth - 1)), 2, mask=nulls)
    if shape == "list_view":
        items = draw(_columns(4, depth - 1))
        starts = [draw(st.integers(0, 4)) for _ in range(count)]
        sizes = [draw(st.integers(0, 4 - start)) for start in starts]
        return pa.ListViewArray.from_arrays(
            pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), items, mask=nulls
        )
    offsets = np.cumsum([0, *draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))])
    items = draw(_columns(int(offsets[-1]), depth - 1))
    if shape == "map":
        keys = pa.array([f"k{place}" for place in range(len(items))], pa.string())
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items)
    width, make = (pa.int64(), pa.LargeListArray) if shape == "large_list" else (pa.int32(), pa.ListArray)
    return make.from_arrays(pa.array(offsets, width), items, mask=nulls)


def plain(value: pa.Scalar) -> Any:
    """What a value is: times as whole nanoseconds after their zero point, lists and maps as lists, structs as dicts."""
    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        # Arrow gives a Python value; the words themselves are asked for instead.
        return plain(value.dictionary[value.index.as_py()]) if pa.types.is_dictionary(kind) else plain(value.value)
    if isinstance(kind, pa.BaseExtensionType):
        return value.as_py()
    if pa.types.is_map(kind):
        return [[plain(entry[0]), plain(entry[1])] for entry in value.values]
    if pa.types.is_struct(kind):
        return {field.name: plain(value[place]) for place, field in enumerate(kind)}
    if pa.types.is_nested(kind):
        return [plain(item) for item in value.values]
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        return int(value.value) * (_PER_SECOND["ns"] // _PER_SECOND[kind.unit])
    if pa.types.is_date32(kind):
        return int(value.value)
    if pa.types.is_floating(kind):
        return "NaN" if math.isnan(value.as_py()) else float(value.as_py())
    return value.as_py()


def plain_values(column: pa.Array) -> list[Any]:
    """What each value of a column is."""
    return [plain(column[place]) for place in range(len(column))]


def read_text(text: str | None, kind: pa.DataType) -> Any:
    """What the text of a value in a prompt says, by the type that the value had; as `plain` has it."""
    if text is None:
        return None
    kind = _without_encoding(kind)
    if pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType):
        return _read_json(json.loads(text), kind)
    return _read_leaf(text, kind)


def _without_encoding(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def _read_json(value: Any, kind: pa.DataType) -> Any:
    kind = _without_encoding(kind)
    if value is None:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return _read_leaf(value, kind)
    if pa.types.is_map(kind):
        return [[_read_json(key, kind.key_type), _read_json(item, kind.item_type)] for key, item in value]
    if pa.types.is_struct(kind):
        return {field.name: _read_json(value[field.name], field.type) for field in kind}
    if pa.types.is_nested(kind):
        return [_read_json(item, kind.value_type) for item in value]
    return _read_leaf(value, kind) if isinstance(value, str) else value


def _read_leaf(text: str, kind: pa.DataType) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return uuid.UUID(text)
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[text]
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_decimal(kind):
        assert "E" not in text
        return Decimal(text)
    if pa.types.is_date32(kind):
        return _days(text)
    if pa.types.is_timestamp(kind):
        day, _, clock = text.partition(" ")
        clock, sign, offset = re.fullmatch(r"([\d:.]+?)(?:([+-])([\d:]+))?", clock).groups()  # type: ignore[union-attr]
        assert (sign is None) == (kind.tz is None)
        shift = _clock(offset) * (-1 if sign == "-" else 1) if sign else 0
        return _days(day) * _DAY * 10**9 + _clock(clock) - shift
    if pa.types.is_time(kind):
        return -_clock(text[1:]) if text.startswith("-") else _clock(text)
    if pa.types.is_duration(kind):
        days, _, clock = text.rpartition(" day")
        clock = clock.removeprefix("s").removeprefix(", ") if days else text
        return int(days or 0) * _DAY * 10**9 + _clock(clock)
    return text


def _days(text: str) -> int:
    """Days after 1970-01-01, of any year: cycles of 400 years, each 146,097 days long, around Python's own."""
    year, month, day = re.fullmatch(r"(-?\d{4,})-(\d\d)-(\d\d)", text).groups()  # type: ignore[union-attr]
    cycles, rest = divmod(int(year), 400)
    return (dt.date(2000 + rest, int(month), int(day)) - dt.date(1970, 1, 1)).days + (cycles - 5) * 146_097


def _clock(text: str) -> int:
    hours, minutes, *seconds = text.split(":")
    return int((int(hours) * 60 + int(minutes)) * 60 * 10**9 + Fraction(seconds[0] if seconds else "0") * 10**9)
