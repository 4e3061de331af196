"""A digest of rows that depends on their values alone, and not on batches, buffers or files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bedrock_batch_assets.records.nested_columns import is_nested, with_leaves

# 64 bits: two versions of one chunk have the same digest by chance once in 2**64.
_DIGEST_BYTES = 8
# Values are hashed in blocks of so many rows, counted from the first row on.
_BLOCK_ROWS = 4_096


def digest_rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """The digest of column names, column types, and all values, in order.

    Equal values give equal digests, however the rows are batched, sliced, or laid out in memory (offsets, validity
    bitmaps, what lies under nulls).

    Args:
        schema: Of the batches. Metadata does not count.
        batches: The rows; memory holds a block of them at a time.

    Returns:
        16 hexadecimal digits.
    """
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for field in schema:
        _add_text(state, field.name)
        _add_text(state, str(field.type))
    for block in _blocks(schema, batches):
        state.update(len(block).to_bytes(8, "little"))
        for column in block.columns:
            kind, pieces = column.type, column.chunks
            if pieces and _holds_extensions(kind):
                # Nulls cannot be dropped from extension arrays (pyarrow 26), and their storage is what counts.
                pieces = [with_leaves(piece, _stored) for piece in pieces]
                kind = pieces[0].type
            _add_values(state, kind, pieces)
    return state.hexdigest()


def digest_ranges(schema: pa.Schema, batches: Iterable[pa.RecordBatch], row_counts: Iterable[int]) -> Iterator[str]:
    """The digests of consecutive ranges of rows, each as `digest_rows` gives it.

    Args:
        schema: Of the batches.
        batches: The rows of all ranges, in order.
        row_counts: The rows of each range.
    """
    rows = _Rows(batches)
    for row_count in row_counts:
        yield digest_rows(schema, rows.take(row_count))


def _holds_extensions(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return True
    return is_nested(kind) and any(_holds_extensions(kind.field(index).type) for index in range(kind.num_fields))


def _stored(leaf: pa.Array) -> pa.Array:
    return leaf.storage if isinstance(leaf.type, pa.BaseExtensionType) else leaf


class _Rows:
    """Rows taken from batches, any number at a time."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: pa.RecordBatch | None = None

    def take(self, count: int) -> Iterator[pa.RecordBatch]:
        while count:
            batch = next(self._batches) if self._rest is None else self._rest
            head = batch.slice(0, count)
            count -= head.num_rows
            self._rest = batch.slice(head.num_rows) if head.num_rows < batch.num_rows else None
            yield head


def digest_texts(texts: Iterable[str]) -> str:
    """The digest of some texts, in order: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        _add_text(state, text)
    return state.hexdigest()


def _blocks(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        rest = batch
        while rows + rest.num_rows >= _BLOCK_ROWS:
            head = rest.slice(0, _BLOCK_ROWS - rows)
            rest = rest.slice(head.num_rows)
            yield pa.Table.from_batches([*waiting, head], schema=schema)
            waiting, rows = [], 0
        if rest.num_rows:
            waiting.append(rest)
            rows += rest.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting, schema=schema)


def _add_text(state: hashlib.blake2b, text: str) -> None:
    data = text.encode()
    state.update(len(data).to_bytes(8, "little"))
    state.update(data)


def _add_values(state: hashlib.blake2b, kind: pa.DataType, pieces: Sequence[pa.Array]) -> None:
    """Add a column that is in pieces: as one array, its texts might exceed 32-bit offsets."""
    if (plain := _plain(kind, pieces)) is not None:
        _add_values(state, *plain)
        return
    if any(piece.null_count for piece in pieces):
        # First the places of the nulls, then only the values that are not null.
        state.update(b"N")
        _add_bits(state, [piece.is_valid() for piece in pieces])
        if pa.types.is_null(kind):
            return
        pieces = [piece.drop_null() for piece in pieces]
    else:
        state.update(b"V")
    if pa.types.is_nested(kind):
        _add_nested(state, kind, pieces)
    else:
        _add_flat(state, kind, pieces)


def _plain(kind: pa.DataType, pieces: Sequence[pa.Array]) -> tuple[pa.DataType, list[pa.Array]] | None:
    """The type and values below an extension, a dictionary or a view; None if the type is none of these."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type, [piece.storage for piece in pieces]
    if pa.types.is_dictionary(kind):
        return kind.value_type, [piece.dictionary_decode() for piece in pieces]
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary(), [piece.cast(pa.large_binary()) for piece in pieces]
    return None


def _add_nested(state: hashlib.blake2b, kind: pa.DataType, pieces: Sequence[pa.Array]) -> None:
    """Add structs, maps or lists that are not null."""
    if pa.types.is_struct(kind):
        for index, children in enumerate(zip(*(piece.flatten() for piece in pieces), strict=True)):
            _add_values(state, kind.field(index).type, children)
        return
    if pa.types.is_map(kind):
        entry = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
        _add_values(state, pa.list_(entry), [piece.cast(pa.list_(entry)) for piece in pieces])
        return
    if not pa.types.is_fixed_size_list(kind):
        for piece in pieces:
            _add_lengths(state, pc.list_value_length(piece))
    _add_values(state, kind.value_type, [piece.flatten() for piece in pieces])


def _add_flat(state: hashlib.blake2b, kind: pa.DataType, pieces: Sequence[pa.Array]) -> None:
    """Add values that are neither nested nor null."""
    if pa.types.is_boolean(kind):
        _add_bits(state, pieces)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _add_bytes(state, pieces, np.int32)
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        _add_bytes(state, pieces, np.int64)
    elif not pa.types.is_null(kind):
        width = kind.bit_width // 8
        for piece in pieces:
            data = piece.buffers()[1]
            if data is not None:
                state.update(memoryview(data)[piece.offset * width : (piece.offset + len(piece)) * width])


def _add_bits(state: hashlib.blake2b, pieces: Sequence[pa.Array]) -> None:
    bits = [np.asarray(piece.to_numpy(zero_copy_only=False), np.bool_) for piece in pieces]
    state.update(np.packbits(np.concatenate(bits) if bits else np.empty(0, np.bool_)).tobytes())


def _add_lengths(state: hashlib.blake2b, lengths: pa.Array) -> None:
    state.update(lengths.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())


def _add_bytes(state: hashlib.blake2b, pieces: Sequence[pa.Array], offset_type: type[np.int32 | np.int64]) -> None:
    for piece in pieces:
        _add_lengths(state, pc.binary_length(piece))
    for piece in pieces:
        _, offsets, data = piece.buffers()
        if data is not None and len(piece):
            ends = np.frombuffer(offsets, dtype=offset_type)[[piece.offset, piece.offset + len(piece)]]
            state.update(memoryview(data)[ends[0] : ends[1]])
