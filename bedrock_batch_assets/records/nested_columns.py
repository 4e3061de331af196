"""Columns taken apart into their leaves and put together again, with other leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    """The values without what only encodes them: a dictionary, run ends, a view of lists. Fields below stay as is.

    Raises:
        ArrowInvalid: They have more bytes than 32-bit offsets can say.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        words = values.dictionary
        if pa.types.is_string_view(words.type) or pa.types.is_binary_view(words.type):
            # Arrow picks no values out of views (pyarrow 26: "array_take" has no such kernel).
            words = words.cast(pa.large_string() if pa.types.is_string_view(words.type) else pa.large_binary())
            values = pa.DictionaryArray.from_arrays(values.indices, words)
        return resolved(values.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return resolved(pc.run_end_decode(values))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        # Arrow's own cast from views gives other values for a slice (pyarrow 26).
        make = pa.list_ if pa.types.is_list_view(kind) else pa.large_list
        return _listed(values, make(kind.value_field), values.flatten())
    return values


def children(values: pa.Array) -> list[pa.Array]:
    """The columns that a nested column is made of, cut to its rows: the fields of structs, all the items of lists.

    A map has one child, of structs of key and value. What lies below a null is left out, where it takes place at all.
    """
    kind = values.type
    if pa.types.is_struct(kind):
        return [values.field(index) for index in range(kind.num_fields)]
    if pa.types.is_fixed_size_list(kind):
        return [values.values.slice(values.offset * kind.list_size, len(values) * kind.list_size)]
    if pa.types.is_map(kind):
        return [_entry_lists(values).flatten()]
    return [values.flatten()]


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
        return _listed(_entry_lists(values), target, below[0])
    make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    return _listed(values, make(fields[0]), below[0])


def _listed(values: pa.Array, kind: pa.DataType, items: pa.Array) -> pa.Array:
    """Lists as long as those of `values`, of other items."""
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    width = np.int64 if pa.types.is_int64(lengths.type) else np.int32
    offsets = np.zeros(len(values) + 1, width)
    np.cumsum(integers(lengths), out=offsets[1:])
    return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(offsets)], children=[items])


def integers(values: pa.Array) -> npt.NDArray[np.signedinteger[Any]]:
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


def _entry_lists(values: pa.MapArray) -> pa.ListArray:
    """Maps as the lists of structs that they are."""
    data = values.buffers()[1]
    if data is None or not len(values):
        offsets = np.zeros(1, np.int32)
    else:
        offsets = np.frombuffer(data, np.int32)[values.offset : values.offset + len(values) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    entry = _entry_field(values.type)
    pairs = [column.slice(first, last - first) for column in (values.keys, values.items)]
    entries = pa.Array.from_buffers(entry.type, last - first, [None], children=pairs)
    buffers = [_validity(values), pa.py_buffer((offsets - first).astype(np.int32))]
    return pa.Array.from_buffers(pa.list_(entry), len(values), buffers, children=[entries])
