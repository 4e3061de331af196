"""Columns of strings, made and changed as whole columns: no Python string per value, and mostly without the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    import numpy.typing as npt

# UTF-8 of every white-space character begins with one of these: ASCII up to the space, U+0085 and U+00A0, U+1680,
# U+2000 to U+205F, U+3000 (`str.isspace`, Unicode's White_Space and bidirectional types WS, B and S).
_MAY_BEGIN_SPACE = np.zeros(256, dtype=np.bool_)
_MAY_BEGIN_SPACE[[*range(0x21), 0xC2, 0xE1, 0xE2, 0xE3]] = True

# JSON's short escapes: a backslash, and this in the character's place. 0 for the others.
_LETTERS = np.zeros(256, np.uint8)
_LETTERS[list(b'"\\\n\r\t\b\f')] = list(b'"\\nrtbf')
_CONTROL_CHARACTERS = 0x20
# So many bytes are looked at in the processor's cache.
_STEP_BYTES = 1 << 18

# What the 32-bit offsets of a string column can say.
MAX_BYTES = 2**31 - 1


class ColumnTooLargeError(Exception):
    """Texts have more bytes than one string column holds. Fewer rows at a time may fit."""


def strings_of(contents: Sequence[bytes], *, empty_is_null: bool = False) -> pa.StringArray:
    """A column of UTF-8 texts.

    `pa.array` would do, but it imports pandas: 34 MB, in a process that shares its machine with many.

    Raises:
        ColumnTooLargeError: They have more than 2 GiB.
    """
    lengths = np.fromiter(map(len, contents), np.int64, len(contents))
    return string_column(b"".join(contents), lengths, empty_is_null=empty_is_null)


def string_column(data: Buffer, lengths: npt.NDArray[np.int64], *, empty_is_null: bool = False) -> pa.StringArray:
    """A column of UTF-8 texts that lie one behind the other.

    Raises:
        ColumnTooLargeError: They have more than 2 GiB.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > MAX_BYTES:
        raise ColumnTooLargeError
    validity = bitmap(lengths > 0) if empty_is_null else None
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    """Arrow's validity bitmap."""
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def narrowed(strings: pa.LargeStringArray) -> pa.StringArray:
    """The same values with 32-bit offsets.

    Arrow's own cast looks at where the texts lie, and refuses a slice of a few rows from far behind.

    Raises:
        ColumnTooLargeError: They have more than 2 GiB.
    """
    if not len(strings):
        return strings_of([])
    _, places, data = strings.buffers()
    offsets = np.frombuffer(places, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    if last - first > MAX_BYTES:
        raise ColumnTooLargeError
    validity = bitmap(valid_values(strings)) if strings.null_count else None
    texts = data.slice(first, last - first) if data is not None else pa.py_buffer(b"")
    buffers = [validity, pa.py_buffer((offsets - first).astype(np.int32)), texts]
    return pa.Array.from_buffers(pa.string(), len(strings), buffers)


def valid_values(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values are not null, if some are: Arrow's `to_numpy` imports pandas."""
    first = values.offset // 8
    bits = np.unpackbits(np.frombuffer(values.buffers()[0], np.uint8, offset=first), bitorder="little")
    start = values.offset - 8 * first
    return bits[start : start + len(values)].view(np.bool_)


def byte_range(strings: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """The offsets, one more than there are values, and all bytes that they point into, from the buffer's beginning."""
    _, offsets, data = strings.buffers()
    if not len(strings):
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    places = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return places, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def empty_values(strings: pa.StringArray) -> npt.NDArray[np.bool_]:
    """Which values are null, or have no character but white space, as `str.isspace` has it."""
    offsets, data = byte_range(strings)
    lengths = np.diff(offsets)
    empty: npt.NDArray[np.bool_] = lengths == 0
    if strings.null_count:
        empty |= ~valid_values(strings)
    if len(data):
        first = data[np.minimum(offsets[:-1], len(data) - 1)]
        for place in np.flatnonzero(_MAY_BEGIN_SPACE[first] & ~empty).tolist():
            empty[place] = strings[place].as_py().isspace()
    return empty


def json_escaped(strings: pa.StringArray) -> pa.StringArray:
    r"""The values as they stand between the quotes of a JSON string. There are no nulls among them.

    Escapes what has to be: `"`, `\`, and characters below U+0020, by their short forms if JSON has one.

    Raises:
        ColumnTooLargeError: They may have more than 2 GiB then.
    """
    offsets, data = byte_range(strings)
    bounds, data = offsets - offsets[0], data[offsets[0] : offsets[-1]]
    # Each byte may become two, and Arrow does not look whether the sum still fits.
    if 2 * len(data) > MAX_BYTES:
        raise ColumnTooLargeError
    places = _escaped_places(data)
    if not len(places):
        return strings
    letters = _LETTERS[data[places]]
    if not letters.all():
        encode = msgspec.json.encode
        return strings_of([encode(text)[1:-1] for text in strings.to_pylist()])
    data = data.copy()
    data[places] = letters
    # The texts are cut before each letter, and put together again with backslashes.
    firsts = np.searchsorted(places, bounds).astype(np.int32) + np.arange(len(bounds), dtype=np.int32)
    cuts = np.empty(len(places) + len(bounds), np.int32)
    is_place = np.ones(len(cuts), np.bool_)
    is_place[firsts] = False
    cuts[firsts] = bounds
    cuts[is_place] = places
    pieces = pa.Array.from_buffers(pa.string(), len(cuts) - 1, [None, pa.py_buffer(cuts), pa.py_buffer(data)])
    texts = pa.Array.from_buffers(pa.list_(pa.string()), len(strings), [None, pa.py_buffer(firsts)], children=[pieces])
    return pc.binary_join(texts, strings_of([b"\\"])[0])


def _escaped_places(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where the bytes are that JSON escapes."""
    found = []
    scratch = np.empty((2, min(len(data), _STEP_BYTES)), np.bool_)
    for start in range(0, len(data), _STEP_BYTES):
        step = data[start : start + _STEP_BYTES]
        is_escaped, is_other = scratch[:, : len(step)]
        np.less(step, _CONTROL_CHARACTERS, out=is_escaped)
        for character in b'"\\':
            np.equal(step, character, out=is_other)
            np.logical_or(is_escaped, is_other, out=is_escaped)
        found.append(np.flatnonzero(is_escaped) + start)
    return np.concatenate(found) if found else np.empty(0, np.int64)
