"""The values of a column of JSON Lines: which Arrow type holds all of them as they are, and the column of that type."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import Flag, auto
from typing import Any

import msgspec
import pyarrow as pa

# Integers up to here, of either sign, are exact as float64 (IEEE 754: 53 bits of significand).
_EXACT_INTEGERS = 1 << 53
_MOST_DIGITS = 4_000
_NULL = msgspec.Raw(b"null")

_texts = msgspec.json.Decoder(list[str | None])
_integers = msgspec.json.Decoder(list[int | None])
_booleans = msgspec.json.Decoder(list[bool | None])
_numbers = msgspec.json.Decoder(list[float | None])
_text = msgspec.json.Decoder(str)


class Kind(Flag):
    """Kinds of JSON values that need to be told apart."""

    nothing = 0
    boolean = auto()
    # An integer that int64 holds, and one that float64 holds, too.
    integer = auto()
    small_integer = auto()
    # A number with a fraction or an exponent that float64 holds.
    fraction = auto()
    # A number that neither holds.
    long_number = auto()
    text = auto()
    # An object or an array.
    nested = auto()


def joined(values: Sequence[msgspec.Raw | None]) -> bytes:
    """Values as one JSON array; what is missing becomes null."""
    return b"[" + b",".join([_NULL if value is None else value for value in values]) + b"]"


def kinds_of(array: bytes, values: Sequence[msgspec.Raw | None]) -> Kind:
    """The kinds of some values; null has none.

    Args:
        array: The values, `joined`.
        values: The same.
    """
    for decoder, kind in ((_texts, Kind.text), (_booleans, Kind.boolean)):
        try:
            decoded = decoder.decode(array)
        except msgspec.ValidationError:
            continue
        return kind if any(value is not None for value in decoded) else Kind.nothing
    if b"-0" not in array and (integers := _decoded_integers(array)):
        least, most = min(integers), max(integers)
        if least >= -_EXACT_INTEGERS and most <= _EXACT_INTEGERS:
            return Kind.small_integer
        if least >= -(1 << 63) and most < 1 << 63:
            return Kind.integer
    found = Kind.nothing
    for value in values:
        if value is not None:
            found |= _kind(bytes(value))
    return found


def column_type(kinds: Kind) -> pa.DataType:
    """The type that holds all values of these kinds as they are.

    Texts, integers, booleans and numbers each have one. All else is text: objects and arrays, numbers that no number
    type holds, and values of several kinds, each as it is written in the file (and texts without their quotes).
    """
    if kinds == Kind.boolean:
        return pa.bool_()
    numbers = Kind.integer | Kind.small_integer | Kind.fraction
    if kinds and not kinds & ~numbers:
        if not kinds & Kind.fraction:
            return pa.int64()
        if not kinds & Kind.integer:
            return pa.float64()
    return pa.string()


def column(array: bytes, values: Sequence[msgspec.Raw | None], kind: pa.DataType) -> pa.Array:
    """Values as a column of a type that `column_type` gave for them.

    Raises:
        msgspec.ValidationError: They are of other kinds.
    """
    if pa.types.is_boolean(kind):
        return pa.array(_booleans.decode(array), kind)
    if pa.types.is_int64(kind):
        return pa.array(_integers.decode(array), kind)
    if pa.types.is_float64(kind):
        return pa.array(_numbers.decode(array), kind)
    try:
        texts: list[Any] = _texts.decode(array)
    except msgspec.ValidationError:
        texts = [None if value is None else _as_text(bytes(value)) for value in values]
    return pa.array(texts, kind)


def _decoded_integers(array: bytes) -> list[int] | None:
    try:
        return [value for value in _integers.decode(array) if value is not None]
    except msgspec.ValidationError:
        return None


def _kind(value: bytes) -> Kind:
    match value[:1]:
        case b"n":
            return Kind.nothing
        case b'"':
            return Kind.text
        case b"t" | b"f":
            return Kind.boolean
        case b"{" | b"[":
            return Kind.nested
    return _kind_of_number(value)


def _kind_of_number(value: bytes) -> Kind:
    if value == b"-0":
        # No integer is a negative zero, and not every reader takes it for a fraction.
        return Kind.long_number
    if value.removeprefix(b"-").isdigit():
        # Python refuses to convert very long ones (sys.set_int_max_str_digits).
        number = int(value) if len(value) < 30 else 1 << 64
        if abs(number) <= _EXACT_INTEGERS:
            return Kind.small_integer
        return Kind.integer if -(1 << 63) <= number < 1 << 63 else Kind.long_number
    if len(value) > _MOST_DIGITS:
        return Kind.long_number
    text = value.decode()
    number_read = float(text)
    # The text of the double is its shortest: equal for whoever reads it, though `1.50` becomes `1.5`.
    if repr(number_read) == text or Decimal(repr(number_read)) == Decimal(text):
        return Kind.fraction
    return Kind.long_number


def _as_text(value: bytes) -> str | None:
    if value == b"null":
        return None
    return _text.decode(value) if value.startswith(b'"') else value.decode()
