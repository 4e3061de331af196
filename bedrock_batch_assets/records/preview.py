"""A few rows for a person to look at, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.records.exact_values import exact_values
from bedrock_batch_assets.records.reasons import shortened

if TYPE_CHECKING:
    import pyarrow as pa

_CELL_CHARACTERS = 300
# A model's answer is what people want to read: it is cut only so that a few rows stay small.
_ANSWER_CHARACTERS = 4_000
_ANSWER_COLUMN = "response"


def cut_short(name: str, text: str) -> str:
    """The text of a cell of this column: as long as a preview takes."""
    return shortened(text, _ANSWER_CHARACTERS if name == _ANSWER_COLUMN else _CELL_CHARACTERS)


def preview_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as Python values by column name; long texts are cut short, see `cut_short`.

    Never raises: a value that Python does not have, such as a date after the year 9999, is shown as a text.
    """
    names = batch.schema.names
    columns = [exact_values(column) for column in batch.columns]
    return [
        {name: _cell(name, columns[place][row]) for place, name in enumerate(names)} for row in range(batch.num_rows)
    ]


def python_value(value: pa.Scalar) -> Any:
    """The value, or a text that stands for it if Python does not have it."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return "(not UTF-8)"
    except (ValueError, OverflowError, LookupError) as error:
        return f"({value.type}: {error})"


def _cell(name: str, value: pa.Scalar) -> Any:
    plain = python_value(value)
    return cut_short(name, plain) if isinstance(plain, str) else plain
