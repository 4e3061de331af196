"""Columns of strings, made and changed as whole columns: no Python string per value, and mostly without the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

# UTF-8 of every white-space character begins with one of these: ASCII up to the space, U+0085 and U+00A0, U+1680,
# U+2000 to U+205F, U+3000 (`str.isspace`, Unicode's White_Space and bidirectional types WS, B and S).
_MAY_BEGIN_SPACE = np.zeros(256, dtype=np.bool_)
_MAY_BEGIN_SPACE[[*range(0x21), 0xC2, 0xE1, 0xE2, 0xE3]] = True

_SPACE, _BACKSLASH, _NEWLINE = ord(" "), ord("\\"), ord("\n")
_ALWAYS_ESCAPED = (('"', '\\"'), ("\n", "\\n"))
# Before those above, which put backslashes in.
_BACKSLASH_ESCAPED = ("\\", "\\\\")


def strings_of(contents: Sequence[bytes], *, empty_is_null: bool = False) -> pa.StringArray:
    """A column of UTF-8 texts.

    `pa.array` would do, but it imports pandas: 34 MB, in a process that shares its machine with many.
    """
    lengths = np.fromiter(map(len, contents), np.int64, len(contents))
    offsets = np.zeros(len(contents) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    validity = bitmap(lengths > 0) if empty_is_null else None
    data = pa.py_buffer(b"".join(contents))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), data]
    return pa.Array.from_buffers(pa.string(), len(contents), buffers)


def bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    """Arrow's validity bitmap."""
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


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
        empty |= ~np.asarray(strings.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    if len(data):
        first = data[np.minimum(offsets[:-1], len(data) - 1)]
        for place in np.flatnonzero(_MAY_BEGIN_SPACE[first] & ~empty).tolist():
            empty[place] = strings[place].as_py().isspace()
    return empty


def json_escaped(strings: pa.StringArray) -> pa.StringArray:
    r"""The values as they stand between the quotes of a JSON string. There are no nulls among them.

    Escapes what has to be: `"`, `\`, and characters below U+0020, by their short forms where JSON has one.

    Raises:
        UnicodeDecodeError: A value is not UTF-8.
    """
    offsets, data = byte_range(strings)
    data = data[offsets[0] : offsets[-1]]
    newlines = np.count_nonzero(data == _NEWLINE)
    if np.count_nonzero(data < _SPACE) != newlines or not _is_utf8(strings):
        encode = msgspec.json.encode
        return strings_of([encode(text)[1:-1] for text in strings.to_pylist()])
    if (data == _BACKSLASH).any():
        strings = pc.replace_substring(strings, *_BACKSLASH_ESCAPED)
    for character, escape in _ALWAYS_ESCAPED:
        strings = pc.replace_substring(strings, character, escape)
    return strings


def _is_utf8(strings: pa.StringArray) -> bool:
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
