"""Columns of a table as the texts that go into prompts."""

from __future__ import annotations

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.prompt_templates import literal_hint, value_to_text
from bedrock_batch_assets.records.string_columns import ColumnTooLargeError, narrowed, strings_of


def check_column(schema: pa.Schema, column: str, reader: str) -> None:
    """Check that a column exists, once, and holds something that has a text.

    Args:
        schema: Of the input.
        column: Name of the column.
        reader: Who reads it, to begin the message: "The prompt".

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


def text_column(values: pa.Array, column: str) -> pa.StringArray:
    """The text of each value, by the rule of `value_to_text`; null where there is nothing to say.

    Times are read to the microsecond: Python has no finer ones. Texts are taken as they are, see `check_texts`.

    Args:
        values: Of any type that has texts.
        column: Name of the column, for messages.

    Raises:
        RequestError: A value is out of Python's range, such as a date after the year 9999.
        ColumnTooLargeError: The texts have more than 2 GiB.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        try:
            values = values.dictionary_decode()
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
        target = _without_nanoseconds(kind)
        if target != kind:
            values = values.cast(target, safe=False)
        texts = [value_to_text(value) for value in values.to_pylist()]
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"Column {column!r} has a value of type {values.type} that cannot be read as text: {error}."
        ) from error
    # An empty text says as little as none.
    return strings_of([(text or "").encode() for text in texts], empty_is_null=True)


def check_texts(texts: pa.StringArray, column: str) -> None:
    """Check that texts are UTF-8: Parquet files and data sets may hold any bytes in them, and nobody has looked.

    Raises:
        RequestError: One is not. Names the column.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise RequestError(
            f"Column {column!r} has a text that is not UTF-8: write the table again, with this column as UTF-8."
        ) from error


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


def _without_nanoseconds(kind: pa.DataType) -> pa.DataType:
    """The type with microseconds for nanoseconds, which only pandas could represent."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pa.types.is_dictionary(kind):
        return _without_nanoseconds(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([_retyped(kind.field(index)) for index in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_without_nanoseconds(kind.key_type), _retyped(kind.item_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_retyped(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_retyped(kind.value_field))
    if pa.types.is_list(kind):
        return pa.list_(_retyped(kind.value_field))
    return kind


def _retyped(field: pa.Field) -> pa.Field:
    return field.with_type(_without_nanoseconds(field.type))
