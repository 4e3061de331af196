"""Bodies that do not fit exactly: the paid answer is kept, and a side field that cannot be read becomes null."""

from __future__ import annotations

import re
import types
from typing import Any, Union, get_args, get_origin

import msgspec

# Deeper than any documented body; Python's own decoders give up at about a thousand levels.
MAX_DEPTH = 100
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def convert_leniently(value: Any, kind: Any) -> Any:
    """`msgspec.convert`, but a member of a struct that does not fit is left at its default.

    `1.0` and `"1"` are read as the integer that they mean. Items of a list that do not fit are left out.

    Args:
        value: As a JSON decoder gives it.
        kind: A type that msgspec can decode into.

    Raises:
        msgspec.ValidationError: The value as a whole does not fit, or a member without a default does not.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        for choice in _choices(kind):
            found = _converted(value, choice)
            if found is not _UNREADABLE:
                return found
        raise problem


_UNREADABLE = object()


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)


def _converted(value: Any, kind: Any) -> Any:
    """The value as one type, `_UNREADABLE` if it is nothing of the kind."""
    if kind is int:
        return _integer(value)
    if get_origin(kind) is list and isinstance(value, list):
        return _items(value, *get_args(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _struct(value, kind)
    return _UNREADABLE


def _integer(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else _UNREADABLE


def _items(values: list[Any], kind: Any) -> Any:
    # A vector with a gap would be another vector.
    if kind in {float, int}:
        return _UNREADABLE
    found = []
    for value in values:
        try:
            found.append(convert_leniently(value, kind))
        except msgspec.ValidationError:
            continue
    return found


def _struct(value: dict[str, Any], kind: type[msgspec.Struct]) -> msgspec.Struct:
    members: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in value:
            continue
        try:
            members[field.name] = convert_leniently(value[field.encode_name], field.type)
        except msgspec.ValidationError:
            if field.required:
                raise
    return kind(**members)


def without_deep_nesting(line: bytes) -> bytes:
    """A JSON text in which every array and object below `MAX_DEPTH` levels is null. It need not be valid."""
    kept: list[bytes] = []
    depth = start = 0
    for token in _TOKENS.finditer(line):
        character = line[token.start() : token.start() + 1]
        if character in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [line[start : token.start()], b"null"]
        elif character in b"]}":
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    # A text that was cut off inside such a value has no end.
    return b"".join([*kept, line[start:] if depth <= MAX_DEPTH else b""])
