"""The error of a part that does not hold what it should."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa


class DamagedPartError(Exception):
    """A part does not hold the rows that it should, or cannot be read. The message says what is wrong with it."""


@contextmanager
def damage_explained() -> Iterator[None]:
    """Raise DamagedPartError for what Arrow, Python and our own decoder raise at bytes that they cannot read."""
    try:
        yield
    except (pa.ArrowException, csv.Error, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DamagedPartError(f"its file cannot be read: {reason}") from error
