"""A few rows for a person to look at, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.records.exact_values import exact_values

if TYPE_CHECKING:
    import pyarrow as pa

_CELL_CHARACTERS = 300


def preview_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as Python values by column name; long texts are cut short.

    Never raises: a value that Python does not have, such as a date after the year 9999, is shown as a text.
    """
    names = batch.schema.names
    columns = [exact_values(column) for column in batch.columns]
    return [{name: _cell(columns[place][row]) for place, name in enumerate(names)} for row in range(batch.num_rows)]


def python_value(value: pa.Scalar) -> Any:
    """The value, or a text that stands for it if Python does not have it."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return "(not UTF-8)"
    except (ValueError, OverflowError, LookupError) as error:
        return f"({value.type}: {error})"


def _cell(value: pa.Scalar) -> Any:
    plain = python_value(value)
    if isinstance(plain, str) and len(plain) > _CELL_CHARACTERS:
        return plain[: _CELL_CHARACTERS - 1] + "…"
    return plain
