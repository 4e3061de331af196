"""Columns of one type as columns of another, without any value changing on the way."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from bedrock_batch_assets.records.nested_columns import children, is_nested, nested, resolved


class InexactError(Exception):
    """A value does not fit into the other type as it is.

    Attributes:
        position: Its place in the column, counted from 0.
        reason: What does not fit.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


def converted(values: pa.Array, target: pa.DataType) -> pa.Array:
    """The same values in another type: of another width, encoding, unit or nullability, at any depth.

    Args:
        values: Of any type but a union.
        target: A type that holds values of this kind: no text for numbers, no time for a date. Fields of structs are
            matched by name.

    Raises:
        InexactError: A value would be changed, such as a time that the finer unit cannot hold.
    """
    return exactly(values, lambda some: _converted(some, target))


def exactly(values: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What `change` gives.

    Raises:
        InexactError: It raises an error of Arrow's; the first value for which it does so alone is named.
    """
    try:
        return change(values)
    except pa.ArrowException:
        for position in range(len(values)):
            try:
                change(values.slice(position, 1))
            except pa.ArrowException as error:
                raise InexactError(position, str(error).strip().partition("\n")[0].rstrip(".")) from error
        raise


def _converted(values: pa.Array, target: pa.DataType) -> pa.Array:
    if values.type.equals(target):
        return values
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), target)
    if isinstance(values.type, pa.BaseExtensionType):
        return _converted(values.storage, target)
    if isinstance(target, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(target, _converted(values, target.storage_type))
    values = resolved(values)
    if is_nested(values.type):
        return _converted_below(values, target)
    return values.cast(target)


def _converted_below(values: pa.Array, target: pa.DataType) -> pa.Array:
    below = children(values)
    if pa.types.is_struct(values.type):
        places = [values.type.get_field_index(field.name) for field in target]
        # A field that is not there is null, if a caller lets it be.
        below = [
            below[place] if place >= 0 else pa.nulls(len(values), field.type)
            for place, field in zip(places, target, strict=True)
        ]
        fields = list(target)
    elif pa.types.is_map(values.type):
        fields = [pa.field("entries", pa.struct([target.key_field, target.item_field]), nullable=False)]
    else:
        fields = [target.value_field]
    below = [_converted(child, field.type) for child, field in zip(below, fields, strict=True)]
    same_shape = nested(values, below, fields)
    # What is left to change is the width of a list's offsets, or whether its length is fixed.
    return same_shape if same_shape.type.equals(target) else same_shape.cast(target)
