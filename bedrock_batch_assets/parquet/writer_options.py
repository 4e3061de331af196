"""Which columns of a Parquet file get a dictionary, and which get statistics."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SHORT_BYTES = 64


def writer_options(batch: pa.RecordBatch) -> dict[str, Any]:
    """Options of `pyarrow.parquet.ParquetWriter` for a file that begins with these rows."""
    columns = _plain_columns(batch)
    return {"use_dictionary": _repetitive(columns), "write_statistics": _short(columns)}


def _plain_columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns that Parquet knows by their own names: nested ones have others."""
    counts = Counter(batch.schema.names)
    return {
        field.name: column
        for field, column in zip(batch.schema, batch.columns, strict=True)
        if not pa.types.is_nested(field.type) and counts[field.name] == 1
    }


def _repetitive(columns: dict[str, pa.Array]) -> list[str]:
    """The columns that a dictionary makes smaller, by their first rows.

    Parquet would try it with every column, which costs texts and vectors more than all else (measured).
    """
    return [name for name, values in columns.items() if _distinct(values) * 4 <= len(values)]


def _short(columns: dict[str, pa.Array]) -> list[str]:
    """The columns whose least and greatest values are worth noting, for readers that skip by them.

    Nobody searches for a range of prompts or vectors, and comparing them costs a tenth of writing (measured).
    """
    return [name for name, values in columns.items() if values.nbytes <= _SHORT_BYTES * len(values)]


def _distinct(values: pa.Array) -> int:
    try:
        return len(pc.unique(values))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return len(values)
