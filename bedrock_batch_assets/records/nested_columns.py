"""Columns taken apart into their leaves and put together again, with other leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.records.string_columns import bitmap, valid_values

if TYPE_CHECKING:
    import numpy.typing as npt


def with_leaves(values: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The same column with `change` applied to each leaf: an array that is neither nested nor encoded.

    Args:
        values: Of any type but a union. Dictionaries, run-end encoding and list views are resolved on the way;
            extension types count as leaves.
        change: Gives as many values as it gets, nulls where there were nulls.

    Returns:
        Lists, structs and maps around the changed leaves; fields keep their names and whether they may be null.
    """
    values = resolved(values)
    if not is_nested(values.type):
        return change(values)
    return nested(values, [with_leaves(child, change) for child in children(values)])


def is_nested(kind: pa.DataType) -> bool:
    """Whether values of the type are made of other values. Extension types and dictionaries are not."""
    return bool(pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType))


def resolved(values: pa.Array) -> pa.Array:
    """The values without what only encodes them: a dictionary, run ends, a view of lists.

    Raises:
        ArrowInvalid: They have more bytes than 32-bit offsets can say.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return resolved(_picked(values.dictionary, values.indices))
    if pa.types.is_run_end_encoded(kind):
        return resolved(_picked(values.values, _places_in_runs(values)))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _list_of_view(values)
    return values


def _picked(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at these places, null at those that are null.

    Arrow has ways of its own, and none of them for all types: extension types and views are left out here and there
    (pyarrow 26). So these are put aside meanwhile.
    """
    kinds: list[pa.DataType] = []

    def aside(leaf: pa.Array) -> pa.Array:
        kinds.append(leaf.type)
        if isinstance(leaf.type, pa.BaseExtensionType):
            return leaf.storage
        if pa.types.is_string_view(leaf.type):
            return leaf.cast(pa.large_string())
        return leaf.cast(pa.large_binary()) if pa.types.is_binary_view(leaf.type) else leaf

    def back(leaf: pa.Array) -> pa.Array:
        kind = next(order)
        return pa.ExtensionArray.from_storage(kind, leaf) if isinstance(kind, pa.BaseExtensionType) else leaf

    words = with_leaves(values, aside)
    order = iter(kinds)
    return with_leaves(pa.DictionaryArray.from_arrays(places, words).dictionary_decode(), back)


def _places_in_runs(values: pa.Array) -> pa.Array:
    """For each row, the place of its run."""
    rows = np.arange(values.offset, values.offset + len(values))
    places = np.searchsorted(integers(values.run_ends), rows, side="right")
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(places)])


def _list_of_view(values: pa.Array) -> pa.Array:
    """Contiguous lists. Arrow's own cast gives other values for a slice of views (pyarrow 26)."""
    is_large = pa.types.is_large_list_view(values.type)
    width = np.int64 if is_large else np.int32
    rows = slice(values.offset, values.offset + len(values))
    starts: npt.NDArray[Any] = np.frombuffer(values.buffers()[1], width)[rows]
    lengths: npt.NDArray[Any] = np.frombuffer(values.buffers()[2], width)[rows]
    if values.null_count:
        lengths = np.where(valid_values(values), lengths, 0)
    offsets = np.zeros(len(values) + 1, width)
    np.cumsum(lengths, out=offsets[1:])
    places = np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], lengths)
    items = _picked(values.values, pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))
    field = values.type.value_field.with_type(items.type)
    return _listed(pa.large_list(field) if is_large else pa.list_(field), values, offsets, items)


def children(values: pa.Array) -> list[pa.Array]:
    """The columns that a nested column is made of, cut to its rows: the fields of structs, all the items of lists.

    A map has one child, of structs of key and value. What lies below a null comes along if it takes place.
    """
    kind = values.type
    if pa.types.is_struct(kind):
        return [values.field(index) for index in range(kind.num_fields)]
    if pa.types.is_fixed_size_list(kind):
        return [values.values.slice(values.offset * kind.list_size, len(values) * kind.list_size)]
    offsets = _offsets(values)
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    if pa.types.is_map(kind):
        pairs = [column.slice(first, length) for column in (values.keys, values.items)]
        return [pa.Array.from_buffers(_entry_field(kind).type, length, [None], children=pairs)]
    return [values.values.slice(first, length)]


def nested(values: pa.Array, below: Sequence[pa.Array], fields: Sequence[pa.Field] | None = None) -> pa.Array:
    """A nested column of the same shape around other children.

    Args:
        values: The column that the children were taken from.
        below: As many as `children` gives, and as long.
        fields: Theirs. Default: those of `values`, with the types of the children.
    """
    kind = values.type
    if fields is None:
        own = [_entry_field(kind)] if pa.types.is_map(kind) else [kind.field(index) for index in range(len(below))]
        fields = [field.with_type(child.type) for field, child in zip(own, below, strict=True)]
    if pa.types.is_struct(kind):
        return pa.Array.from_buffers(pa.struct(fields), len(values), [_validity(values)], children=list(below))
    if pa.types.is_fixed_size_list(kind):
        target = pa.list_(fields[0], kind.list_size)
        return pa.Array.from_buffers(target, len(values), [_validity(values)], children=list(below))
    if pa.types.is_map(kind):
        entry = fields[0].type
        target = pa.map_(entry.field(0), entry.field(1), keys_sorted=kind.keys_sorted)
    else:
        target = pa.large_list(fields[0]) if pa.types.is_large_list(kind) else pa.list_(fields[0])
    return _listed(target, values, _offsets(values), below[0])


def _offsets(values: pa.Array) -> npt.NDArray[Any]:
    width = np.int64 if pa.types.is_large_list(values.type) else np.int32
    data = values.buffers()[1]
    if data is None or not len(values):
        return np.zeros(1, width)
    return np.frombuffer(data, width)[values.offset : values.offset + len(values) + 1]


def _listed(kind: pa.DataType, values: pa.Array, offsets: npt.NDArray[Any], items: pa.Array) -> pa.Array:
    """Lists or maps that are null if `values` are, of items that begin at the first offset."""
    starts = pa.py_buffer(np.ascontiguousarray(offsets - offsets[0]))
    return pa.Array.from_buffers(kind, len(values), [_validity(values), starts], children=[items])


def integers(values: pa.Array) -> npt.NDArray[Any]:
    """The numbers of a column of integers, or those that stand for times. What is null has any number."""
    width = np.dtype(f"i{values.type.bit_width // 8}")
    data = values.buffers()[1]
    if data is None:
        return np.zeros(len(values), width)
    return np.frombuffer(data, width)[values.offset : values.offset + len(values)]


def _validity(values: pa.Array) -> pa.Buffer | None:
    return bitmap(valid_values(values)) if values.null_count else None


def _entry_field(kind: pa.MapType) -> pa.Field:
    return pa.field("entries", pa.struct([kind.key_field, kind.item_field]), nullable=False)
