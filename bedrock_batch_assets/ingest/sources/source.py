"""The interface of every source of rows."""

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa


class Source(Protocol):
    """An input table, read once, front to back, in memory that does not grow with its rows."""

    @property
    def name(self) -> str:
        """The table's name in messages."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Its columns, without schema metadata."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, in order. May be called once.

        Raises:
            RequestError: The table is broken somewhere.
        """
        ...
