"""Cursors of the sensors: JSON that a sensor can do without.

Dagster forgets a cursor when the code location gets another name (`dg dev` gives one), when a person clears it on the
sensor's page, or when the schedule storage is lost. So a cursor only saves work: what a sensor asks for follows from
the events, runs and backfills of the instance.
"""

from typing import TypeVar

import msgspec

C = TypeVar("C", bound=msgspec.Struct)


def read_cursor(text: str | None, kind: type[C]) -> C:
    """The cursor, or a fresh one if it is missing or cannot be read."""
    try:
        return msgspec.json.decode(text, type=kind) if text else kind()
    except msgspec.DecodeError:
        return kind()


def encode_cursor(cursor: msgspec.Struct) -> str:
    """The cursor as text, as Dagster stores it."""
    return msgspec.json.encode(cursor).decode()
