"""Texts of values that Python or Arrow would round, cut, wrap or refuse on the way to a text.

Python's times end at the microsecond and at the years 1 and 9999, and 24:00:00 becomes 00:00:00 on the way to them.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bedrock_batch_assets.records.nested_columns import integers, with_leaves
from bedrock_batch_assets.records.string_columns import bitmap, strings_of, valid_values

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_SECONDS = 86_400
# 0001-01-01 and 9999-12-31 in days since 1970-01-01 (`datetime.date`).
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
# Arrow writes dates up to 32767-12-31, which is 11,248,737 days after 1970-01-01 (pyarrow 26), and as far back.
_WRITABLE_DAYS = 11_000_000
# The most days of a `datetime.timedelta`, either way.
_MOST_DAYS = 999_999_999
# The Gregorian calendar repeats itself after so many years, which are so many days.
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097


def exact_values(values: pa.Array) -> pa.Array:
    """The column with a text in the place of each value that `to_pylist` would change or refuse.

    `to_pylist` of the result gives what was written. Columns in which every value survives stay of their type, except
    that nanoseconds become microseconds and half floats become floats.

    Raises:
        ArrowInvalid: A dictionary's values have more bytes than 32-bit offsets can say.
    """
    return with_leaves(values, _exact_leaf) if _may_change(values.type) else values


def with_writable_times(values: pa.Array) -> pa.Array:
    """A column of dates or times, as texts if there is one that Arrow cannot write into a CSV file.

    These are times of day from 24:00:00 on or below 00:00:00, years of five digits beyond 32767, and unknown zones.
    """
    kind = values.type
    if pa.types.is_time(kind):
        return values if _are_of_a_day(values) else _time_texts(values)
    if pa.types.is_date32(kind):
        return values if _all_between(values, -_WRITABLE_DAYS, _WRITABLE_DAYS) else _texts(values, _day)
    if pa.types.is_timestamp(kind):
        most = _WRITABLE_DAYS * _DAY_SECONDS * _PER_SECOND[kind.unit]
        is_writable = _all_between(values, -most, most) and _is_known_zone(kind.tz)
        return values if is_writable else _timestamp_texts(values)
    return values


def _may_change(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_storage_texts(kind)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _may_change(kind.value_type)
    if pa.types.is_nested(kind):
        is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
        return is_view or any(_may_change(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_temporal(kind) or pa.types.is_float16(kind))


def _has_storage_texts(kind: pa.BaseExtensionType) -> bool:
    # The values of these types mean more than their storage says.
    return kind.extension_name not in {"arrow.uuid", "arrow.json", "arrow.bool8"}


def _exact_leaf(values: pa.Array) -> pa.Array:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return exact_values(values.storage) if _has_storage_texts(kind) else values
    for is_kind, exact in _EXACT:
        if is_kind(kind):
            return exact(values)
    return values


def _exact_half_floats(values: pa.Array) -> pa.Array:
    # Older versions of Arrow give NumPy's half floats, which are no Python floats.
    return values.cast(pa.float32())


def _exact_dates(values: pa.Array) -> pa.Array:
    return values if _all_between(values, _FIRST_DAY, _LAST_DAY) else _texts(values, _day)


def _exact_timestamps(values: pa.Array) -> pa.Array:
    per_second = _PER_SECOND[values.type.unit]
    # In a time zone, the day may be another one.
    margin = 0 if values.type.tz is None else _DAY_SECONDS
    low = _FIRST_DAY * _DAY_SECONDS + margin
    high = (_LAST_DAY + 1) * _DAY_SECONDS - margin
    whole = _whole_microseconds(values)
    is_plain = whole is not None and _all_between(values, low * per_second, high * per_second - 1)
    return whole if is_plain and _is_known_zone(values.type.tz) else _timestamp_texts(values)


def _timestamp_texts(values: pa.Array) -> pa.StringArray:
    """As `str(datetime)`. If Python has no clock for a zone, the time is in UTC."""
    per_second = _PER_SECOND[values.type.unit]
    micros, rests = _microseconds(values)
    numbers = integers(values).tolist()
    texts = []
    for value, rest, number in zip(micros, rests.tolist(), numbers, strict=True):
        try:
            moment = value.as_py()
        except (OverflowError, ValueError, LookupError):
            seconds, part = divmod(number, per_second)
            days, seconds = divmod(seconds, _DAY_SECONDS)
            zone = "+00:00" if values.type.tz else ""
            text = f"{_day(days)} {_clock(seconds, 2)}{_fraction(part, len(str(per_second)) - 1)}{zone}"
        else:
            text = str(moment)
            if moment is None:
                text = ""
            elif rest:
                # "2024-05-01 12:00:00.000250", then the nanoseconds, then the zone.
                text = moment.isoformat(" ", "microseconds")
                text = f"{text[:26]}{rest:03d}{text[26:]}"
        texts.append(text.encode())
    return strings_of(texts, empty_is_null=True)


@cache
def _is_known_zone(zone: str | None) -> bool:
    if zone is None:
        return True
    # `pa.scalar` would do, but it imports pandas.
    start = pa.Array.from_buffers(pa.timestamp("s", zone), 1, [None, pa.py_buffer(bytes(8))])
    try:
        start[0].as_py()
    except (ValueError, LookupError):
        return False
    return True


def _day(days: int) -> str:
    """The date so many days after 1970-01-01, of any year: "10000-01-01"; "0000-12-31" is the day before 0001-01-01."""
    cycles, rest = divmod(days - _FIRST_DAY, _CYCLE_DAYS)
    day = date.min + timedelta(rest)
    year = day.year + cycles * _CYCLE_YEARS
    return f"{'-' if year < 0 else ''}{abs(year):04d}-{day:%m-%d}"


def _exact_times(values: pa.Array) -> pa.Array:
    whole = _whole_microseconds(values)
    return whole if whole is not None and _are_of_a_day(values) else _time_texts(values)


def _are_of_a_day(values: pa.Array) -> bool:
    return _all_between(values, 0, _DAY_SECONDS * _PER_SECOND[values.type.unit] - 1)


def _time_texts(values: pa.Array) -> pa.StringArray:
    per_second = _PER_SECOND[values.type.unit]

    def text(number: int) -> str:
        seconds, part = divmod(abs(number), per_second)
        sign = "-" if number < 0 else ""
        return f"{sign}{_clock(seconds, 2)}{_fraction(part, len(str(per_second)) - 1)}"

    return _texts(values, text)


def _exact_durations(values: pa.Array) -> pa.Array:
    per_second = _PER_SECOND[values.type.unit]
    whole = _whole_microseconds(values)
    most = _MOST_DAYS * _DAY_SECONDS * per_second
    # The most does not fit into a number of nanoseconds, nor can these have so many days.
    if whole is not None and (per_second > 1_000_000 or _all_between(values, -most, most)):
        return whole

    def text(number: int) -> str:
        """As `str(timedelta)`: "-1 day, 23:59:59.999999"."""
        seconds, part = divmod(number, per_second)
        days, seconds = divmod(seconds, _DAY_SECONDS)
        head = f"{days} day{'' if abs(days) == 1 else 's'}, " if days else ""
        return f"{head}{_clock(seconds, 1)}{_fraction(part, len(str(per_second)) - 1)}"

    return _texts(values, text)


def _clock(seconds: int, hour_digits: int) -> str:
    return f"{seconds // 3_600:0{hour_digits}d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _fraction(part: int, digits: int) -> str:
    """The fraction as Python writes it: nothing or six digits; or nine digits, which Python does not write."""
    nanoseconds = part * 10 ** (9 - digits)
    if not nanoseconds:
        return ""
    return f".{nanoseconds:09d}" if nanoseconds % 1_000 else f".{nanoseconds // 1_000:06d}"


def _texts(values: pa.Array, text: Callable[[int], str]) -> pa.StringArray:
    is_valid = valid_values(values) if values.null_count else np.ones(len(values), np.bool_)
    numbers = integers(values).tolist()
    texts = [text(number).encode() if valid else b"" for number, valid in zip(numbers, is_valid, strict=True)]
    return strings_of(texts, empty_is_null=True)


def _whole_microseconds(values: pa.Array) -> pa.Array | None:
    """The values in microseconds if they were nanoseconds; None if that would cut one."""
    if values.type.unit != "ns":
        return values
    whole, rests = _microseconds(values)
    if not rests.any():
        return whole
    return whole if values.null_count and not rests[valid_values(values)].any() else None


def _microseconds(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Nanoseconds as the microseconds that they lie in, and the nanoseconds from there; other units as they are."""
    kind = values.type
    if kind.unit != "ns":
        return values, np.zeros(len(values), np.int64)
    numbers = integers(values)
    if pa.types.is_timestamp(kind):
        target = pa.timestamp("us", kind.tz)
    else:
        target = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
    validity = bitmap(valid_values(values)) if values.null_count else None
    data = pa.py_buffer(numbers // 1_000)
    return pa.Array.from_buffers(target, len(values), [validity, data]), numbers % 1_000


def _all_between(values: pa.Array, low: int, high: int) -> bool:
    bounds = pc.min_max(values.view(pa.int32() if values.type.bit_width == 32 else pa.int64()))
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    return least is None or (low <= least and most <= high)


_EXACT: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...] = (
    (pa.types.is_timestamp, _exact_timestamps),
    (pa.types.is_date32, _exact_dates),
    (pa.types.is_time, _exact_times),
    (pa.types.is_duration, _exact_durations),
    (pa.types.is_float16, _exact_half_floats),
)
