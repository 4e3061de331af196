"""The faults of a line of JSON, each explained in one line."""

import json
from typing import Any

from bedrock_batch_assets.errors import RequestError


class _NoNumber:
    """Stands for NaN and the infinities, which Python's reader takes for numbers."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, doubled ones included."""


def explained(name: str, line: int, text: bytes, reason: str) -> RequestError:
    """The error for a line that is no object which a row can hold.

    Args:
        name: Of the file.
        line: Its number in the file, counted from 1.
        text: The line.
        reason: What the parser said about it.
    """
    where = f"{name}, line {line}"
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_NoNumber)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith(b"[") or text.strip() == b"{":
            return RequestError(f"{where}: an object must begin and end on its line: {_ADVICE}.")
        return RequestError(f"{where} is not valid JSON ({error.msg}, at character {error.pos + 1}): correct it.")
    except RecursionError:
        return RequestError(f"{where} is nested too deeply to be read: flatten it.")
    except ValueError as error:
        return RequestError(f"{where} cannot be read ({error}): correct it.")
    if not isinstance(value, _Pairs):
        kind = "an array" if isinstance(value, list) else "a single value"
        return RequestError(f"{where} is {kind} and no object: {_ADVICE}.")
    seen: set[str] = set()
    for key, member in value:
        if key in seen:
            return RequestError(f"{where} has the key {key!r} twice: keep one of them.")
        seen.add(key)
        if constant := _no_number(member):
            return RequestError(
                f"{where}: column {key!r} holds {constant}, which JSON does not have: write null or a text."
            )
        if not _is_storable(key) or not _is_storable(json.dumps(member, ensure_ascii=False, default=str)):
            return RequestError(
                f"{where}: column {key!r} holds half of a surrogate pair, which no text can hold: correct it."
            )
    return RequestError(f"{where} cannot be read ({reason}): correct it.")


_ADVICE = 'write one object a line, as in {"topic": "rain"}; `jq -c \'.[]\'` makes such lines of an array'


def doubled_key(text: bytes) -> str | None:
    """A key that an object has twice, at its top."""
    seen: set[str] = set()
    for key, _ in json.loads(text, object_pairs_hook=_Pairs):
        if key in seen:
            return str(key)
        seen.add(key)
    return None


def _no_number(value: Any) -> str | None:
    """NaN or an infinity in a value, at any depth."""
    if isinstance(value, _NoNumber):
        return value.name
    members = [member for _, member in value] if isinstance(value, _Pairs) else value
    if isinstance(members, list):
        return next((found for member in members if (found := _no_number(member))), None)
    return None


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
