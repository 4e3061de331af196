"""Thrift's compact protocol, without any schema: what is read is written again as it was.

Parquet's footers are written in it. Source: Apache Thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

# Type codes of fields and of list elements.
TRUE: Final = 1
FALSE: Final = 2
BYTE: Final = 3
I16: Final = 4
I32: Final = 5
I64: Final = 6
DOUBLE: Final = 7
BINARY: Final = 8
LIST: Final = 9
SET: Final = 10
STRUCT: Final = 12

_INTEGERS: Final = frozenset({I16, I32, I64})
_DOUBLE_BYTES: Final = 8
# A list of so many elements or more has its length in a number of its own.
_LONG_LIST: Final = 15
_LONGEST_STEP: Final = 15


class Field(NamedTuple):
    """A value and its type code. Values are `int`, `bytes`, `Elements` or `Struct`; a boolean is its type code."""

    type: int
    value: Any


class Elements(NamedTuple):
    """A list: the type code of its elements, and their values."""

    type: int
    values: list[Any]


# Fields by their ids.
Struct: TypeAlias = dict[int, Field]


def decode_struct(data: bytes) -> Struct:
    """Read one struct.

    Raises:
        ValueError: The bytes are not one.
    """
    return decode_first_struct(data)[0]


def decode_first_struct(data: bytes) -> tuple[Struct, int]:
    """Read the struct that some bytes begin with. Returns it and its size in bytes.

    Raises:
        ValueError: The bytes do not begin with one, or it is cut off.
    """
    decoder = _Decoder(data)
    try:
        return decoder.struct(), decoder.place
    except IndexError as error:
        raise ValueError("the struct is cut off") from error
    except RecursionError as error:
        raise ValueError("structs are nested too deeply") from error


def encode_struct(struct: Struct) -> bytes:
    """Write one struct, its fields in the order of their ids."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def encode_number(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    out = bytearray()
    _write_number(out, number)
    return bytes(out)


class _Decoder:
    """Reads from `place` on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self) -> Struct:
        fields: Struct = {}
        identifier = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            identifier = identifier + step if step else _signed(self._number())
            fields[identifier] = Field(kind, self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return _signed(self._number())
        if kind == BINARY:
            return self._bytes(self._number())
        if kind == STRUCT:
            return self.struct()
        if kind in {LIST, SET}:
            return self._elements()
        if kind in {TRUE, FALSE}:
            return kind
        if kind == BYTE:
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(_DOUBLE_BYTES)
        raise ValueError(f"values of type {kind} are not known")

    def _elements(self) -> Elements:
        head = self._byte()
        kind, count = head & 15, head >> 4
        if count == _LONG_LIST:
            count = self._number()
        # In a list, each boolean has a byte of its own, which holds its type code.
        kind_read = BYTE if kind in {TRUE, FALSE} else kind
        return Elements(kind, [self._value(kind_read) for _ in range(count)])

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _bytes(self, count: int) -> bytes:
        start = self.place
        self.place += count
        if self.place > len(self._data):
            raise IndexError
        return self._data[start : self.place]

    def _number(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for identifier in sorted(struct):
        kind, value = struct[identifier]
        step = identifier - last
        if 0 < step <= _LONGEST_STEP:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_signed(out, identifier)
        last = identifier
        if kind not in {TRUE, FALSE}:
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _write_signed(out, value)
    elif kind == BINARY:
        _write_number(out, len(value))
        out += value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind in {LIST, SET}:
        _write_elements(out, value)
    elif kind == BYTE:
        out.append(value)
    elif kind == DOUBLE:
        out += value
    else:
        raise ValueError(f"values of type {kind} are not known")


def _write_elements(out: bytearray, elements: Elements) -> None:
    kind, values = elements
    if len(values) < _LONG_LIST:
        out.append(len(values) << 4 | kind)
    else:
        out.append(_LONG_LIST << 4 | kind)
        _write_number(out, len(values))
    for value in values:
        _write_value(out, BYTE if kind in {TRUE, FALSE} else kind, value)


def _write_signed(out: bytearray, number: int) -> None:
    _write_number(out, number << 1 if number >= 0 else ~(number << 1))


def _write_number(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
