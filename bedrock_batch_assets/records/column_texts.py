"""Columns of a table as the texts that go into prompts."""

from __future__ import annotations

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.prompt_templates import literal_hint, value_to_text
from bedrock_batch_assets.records.exact_values import exact_values
from bedrock_batch_assets.records.nested_columns import resolved
from bedrock_batch_assets.records.string_columns import ColumnTooLargeError, narrowed, strings_of

# An unknown time zone is a LookupError, and a text that is not UTF-8 a ValueError.
_UNREADABLE = (ValueError, OverflowError, LookupError, pa.ArrowException)


def check_column(schema: pa.Schema, column: str, reader: str) -> None:
    """Check that a column exists, once, and holds something that has a text.

    Args:
        schema: Of the input.
        column: Name of the column.
        reader: What reads it, as the beginning of the message: "The prompt".

    Raises:
        RequestError: It does not.
    """
    indices = schema.get_all_field_indices(column)
    if not indices:
        raise RequestError(
            f"{reader} needs the column {column!r}, which the input does not have. Its columns are: "
            f"{', '.join(repr(name) for name in schema.names) or 'none'}.{literal_hint(column)}"
        )
    if len(indices) > 1:
        raise RequestError(f"The input has {len(indices)} columns called {column!r}: rename all but one.")
    if _holds_bytes(schema.field(indices[0]).type):
        raise RequestError(
            f"{reader} needs the column {column!r}, which holds bytes, such as an image, and not text: choose another "
            "column, or decode it first."
        )


def text_column(values: pa.Array, column: str, first_row: int = 0) -> pa.StringArray:
    """The text of each value, by the rule of `value_to_text`; null if there is nothing to say.

    Every value has the text of what was written, also if Python has no such value, see `exact_values`. Texts are
    taken as they are, see `check_texts`.

    Args:
        values: Of any type that has texts.
        column: Name of the column, for messages.
        first_row: Index of its first row in the whole batch, for messages.

    Raises:
        RequestError: A value has no text, such as a time in the year 40,000. Names column and row.
        ColumnTooLargeError: The texts have more than 2 GiB.
    """
    try:
        values = resolved(values)
    except pa.ArrowInvalid as error:
        raise ColumnTooLargeError from error
    kind = values.type
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    if pa.types.is_string_view(kind):
        values = values.cast(pa.large_string())
        kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values if pa.types.is_string(kind) else narrowed(values)
    try:
        texts = _texts(values)
    except _UNREADABLE as error:
        if isinstance(error, pa.ArrowInvalid) and len(values) > 1:
            # A dictionary below, of values that are too many at once.
            raise ColumnTooLargeError from error
        row, reason = _first_unreadable(values)
        raise RequestError(
            f"Column {column!r}, row {first_row + row + 1} (counted from 1), has a value of type {kind} that cannot be "
            f"read as text: {reason}. Correct the value, or leave the row out."
        ) from error
    # An empty text counts as null.
    return strings_of([(text or "").encode() for text in texts], empty_is_null=True)


def check_texts(texts: pa.StringArray, column: str, first_row: int = 0) -> None:
    """Check that texts are UTF-8: Parquet files and datasets may hold any bytes in them, unchecked.

    Raises:
        RequestError: One is not. Names the column and the row.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        row = next(row for row in range(len(texts)) if not _is_utf8(texts[row]))
        raise RequestError(
            f"Column {column!r}, row {first_row + row + 1} (counted from 1), has a text that is not UTF-8: write the "
            "table again, with this column as UTF-8."
        ) from error


def _texts(values: pa.Array) -> list[str | None]:
    return [value_to_text(value) for value in exact_values(values).to_pylist()]


def _first_unreadable(values: pa.Array) -> tuple[int, str]:
    """The place of the first value that has no text, and why."""
    for row in range(len(values)):
        try:
            _texts(values.slice(row, 1))
        except _UNREADABLE as error:
            return row, str(error)
    raise AssertionError("every value has a text by itself")


def _is_utf8(text: pa.StringScalar) -> bool:
    try:
        text.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _holds_bytes(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        # Extension types such as uuid and json have a Python value of their own.
        return False
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
