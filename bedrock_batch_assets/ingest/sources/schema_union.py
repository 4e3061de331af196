"""One schema for files that hold the same kinds of values in different types."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.storable_types import DIGITS_OF_128_BITS, is_canonical

_UNITS = ("s", "ms", "us", "ns")


def united_schema(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """The schema that holds the rows of all files as they are: the first one's names, in its order.

    Types that hold the same values become the widest of them: nullable or not; `string`, `large_string` and
    `string_view`; bytes likewise; a dictionary and its values; `null` and anything; numbers and times of two widths.

    Args:
        schemas: Of each file, after its name in messages.

    Raises:
        RequestError: A column is missing in a file, or is really of another type in it. Names both files, the column,
            and both types.
    """
    fields: dict[str, pa.Field] = {}
    # Which file a column has its type from.
    origins: dict[str, str] = {}
    first = ""
    united: pa.Schema | None = None
    for name, schema in schemas:
        if united is None:
            first, united = name, schema
            fields = {field.name: field for field in schema}
            origins = dict.fromkeys(fields, name)
            continue
        if schema.equals(united):
            continue
        _check_columns(name, schema, first, united)
        for field in schema:
            known = fields[field.name]
            kind = united_type(known.type, field.type)
            if kind is None:
                raise RequestError(
                    f"Column {field.name!r} is {field.type} in {name} and {known.type} in {origins[field.name]}: "
                    "give all files one type for it."
                )
            if not kind.equals(known.type):
                origins[field.name] = name
            fields[field.name] = pa.field(field.name, kind, known.nullable or field.nullable)
    if united is None:
        raise ValueError("there is no file")
    if len(fields) < len(united):
        # Two columns of one name: refused by the check of the names.
        return united
    return pa.schema(list(fields.values()))


def check_declared(declared: pa.Schema, schemas: Iterable[tuple[str, pa.Schema]]) -> None:
    """Check that files hold what a table says of its columns. A column that a file lacks is null there.

    Raises:
        RequestError: A column is of another type in a file, or lacks there though it may not be null. Names the file,
            the column, and both types.
    """
    for name, schema in schemas:
        for field in declared:
            place = schema.get_field_index(field.name)
            if place < 0 and not field.nullable:
                raise RequestError(f"{name} has no column {field.name!r}, which its table says is never null.")
            if place >= 0 and not fits(schema.field(place).type, field.type):
                raise RequestError(
                    f"Column {field.name!r} is {schema.field(place).type} in {name} and {field.type} by what its table "
                    "says: mend the table."
                )


def fits(kind: pa.DataType, declared: pa.DataType) -> bool:
    """Whether values of a type are of the kind that a declared type is for. Not every value need fit into it."""
    if pa.types.is_struct(kind) and pa.types.is_struct(declared):
        known = {field.name: field.type for field in kind}
        return all(field.name not in known or fits(known[field.name], field.type) for field in declared)
    if _is_list(kind) and _is_list(declared):
        return fits(kind.value_type, declared.value_type)
    if pa.types.is_map(kind) and pa.types.is_map(declared):
        return fits(kind.key_type, declared.key_type) and fits(kind.item_type, declared.item_type)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(declared):
        # Times of type INT96 are of UTC and do not say so.
        return kind.tz == declared.tz or kind.tz is None
    return united_type(kind, declared) is not None


def _check_columns(name: str, schema: pa.Schema, first: str, united: pa.Schema) -> None:
    for column in united.names:
        if column not in schema.names:
            raise RequestError(f"{name} has no column {column!r}, which {first} has: give all files one schema.")
    for column in schema.names:
        if column not in united.names:
            raise RequestError(f"{name} has a column {column!r}, which {first} has not: give all files one schema.")
        if schema.names.count(column) > 1:
            raise RequestError(f"{name} has more than one column named {column!r}: rename all but one.")


def united_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both as they are; None if they are of two kinds."""
    if one.equals(other):
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return one if pa.types.is_null(other) else other
    one, other = _plain(one), _plain(other)
    if one.equals(other):
        return one
    if isinstance(one, pa.BaseExtensionType) or isinstance(other, pa.BaseExtensionType):
        return None
    for unite in (_united_bytes, _united_numbers, _united_times, _united_lists, _united_structs, _united_maps):
        kind = unite(one, other)
        if kind is not None:
            return kind
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without what only encodes or describes them."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) and (kind.extension_name == "arrow.json" or not is_canonical(kind)):
        return _plain(kind.storage_type)
    return kind


def _united_bytes(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds = (one, other)
    types = pa.types
    if all(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) for kind in kinds):
        return pa.large_string()
    if all(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind) for kind in kinds):
        return pa.large_binary()
    return None


def _united_numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    wide, narrow = sorted((one, other), key=lambda kind: kind.bit_width if pa.types.is_primitive(kind) else 0)[::-1]
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        if pa.types.is_signed_integer(wide) == pa.types.is_signed_integer(narrow):
            return wide
        # All unsigned numbers fit into signed ones of more bits; signed ones do not fit into unsigned ones.
        is_wider = wide.bit_width > narrow.bit_width
        return wide if is_wider and pa.types.is_signed_integer(wide) else None
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return wide
    if pa.types.is_decimal(one) and pa.types.is_decimal(other) and one.scale == other.scale:
        digits = max(one.precision, other.precision)
        return pa.decimal128(digits, one.scale) if digits <= DIGITS_OF_128_BITS else pa.decimal256(digits, one.scale)
    return None


def _united_times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The finer unit. Whether each value fits into it is seen when it is read."""
    types = pa.types
    make: Callable[[str], pa.DataType]
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:

        def make(unit: str) -> pa.DataType:
            return pa.timestamp(unit, one.tz)

    elif types.is_duration(one) and types.is_duration(other):
        make = pa.duration
    elif types.is_time(one) and types.is_time(other):

        def make(unit: str) -> pa.DataType:
            return pa.time32(unit) if unit in {"s", "ms"} else pa.time64(unit)

    else:
        return None
    return make(max(one.unit, other.unit, key=_UNITS.index))


def _united_lists(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds = (one, other)
    if all(pa.types.is_fixed_size_list(kind) for kind in kinds):
        if one.list_size != other.list_size:
            return None
        item = _united_field(one.value_field, other.value_field)
        return None if item is None else pa.list_(item, one.list_size)
    if not all(_is_list(kind) for kind in kinds):
        return None
    item = _united_field(one.value_field, other.value_field)
    if item is None:
        return None
    return pa.list_(item) if all(pa.types.is_list(kind) for kind in kinds) else pa.large_list(item)


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    is_list = (types.is_list, types.is_large_list, types.is_list_view, types.is_large_list_view)
    return any(is_kind(kind) for is_kind in is_list)


def _united_structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_struct(one) and pa.types.is_struct(other)):
        return None
    names = [field.name for field in one]
    if len(set(names)) < len(names) or sorted(names) != sorted(field.name for field in other):
        return None
    fields = [_united_field(field, other.field(field.name)) for field in one]
    return None if any(field is None for field in fields) else pa.struct(fields)


def _united_maps(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_map(one) and pa.types.is_map(other)):
        return None
    key = _united_field(one.key_field, other.key_field)
    item = _united_field(one.item_field, other.item_field)
    if key is None or item is None:
        return None
    return pa.map_(key, item, keys_sorted=one.keys_sorted and other.keys_sorted)


def _united_field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    kind = united_type(one.type, other.type)
    return None if kind is None else pa.field(one.name, kind, one.nullable or other.nullable)
