"""Values that are written in one order and read in another: in memory while they are few, then in a file."""

from __future__ import annotations

import os
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Buffer, Iterable  # type: ignore[attr-defined]

    import numpy.typing as npt

# A process that joins stays far below what its machine's other runs leave it.
_MEMORY_BYTES = 48 << 20


class Spool:
    """Byte strings, found again by where they were put. A context manager; its file has no name and goes with it."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: int | None = None
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything."""
        self._memory = bytearray()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def append(self, data: Buffer) -> int:
        """Put bytes behind the others. Returns where they begin."""
        view = memoryview(data).cast("B")
        start = self._end
        self._end += len(view)
        if self._file is None and len(self._memory) + len(view) <= _MEMORY_BYTES:
            self._memory += view
            return start
        if self._file is None:
            self._file = _nameless_file()
            _write(self._file, self._memory)
            self._memory = bytearray()
        _write(self._file, view)
        return start

    def append_all(self, pieces: Iterable[Buffer]) -> int:
        """Put pieces behind the others, as if they were one. Returns where they begin."""
        start = self._end
        for piece in pieces:
            self.append(piece)
        return start

    def gather(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Buffer:
        """Several values, one behind the other. None of them overlaps another."""
        if self._file is not None:
            file, places = self._file, zip(starts.tolist(), lengths.tolist(), strict=True)
            return b"".join([os.pread(file, length, start) if length else b"" for start, length in places])
        return _gathered(self._memory, starts, lengths)


def _gathered(memory: bytearray, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Buffer:
    """As `Spool.gather`, by Arrow: the bytes as a column, in which values and what lies between them take turns."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(starts[used])]
    offsets = np.empty(2 * len(order) + 1, np.int64)
    offsets[0:-1:2] = starts[order]
    offsets[1::2] = starts[order] + lengths[order]
    offsets[-1] = len(memory)
    places = np.zeros(len(starts), np.int64)
    places[order] = np.arange(0, 2 * len(order), 2)
    values = pa.Array.from_buffers(
        pa.large_binary(), 2 * len(order), [None, pa.py_buffer(offsets), pa.py_buffer(memory)]
    )
    wanted = pa.Array.from_buffers(pa.int64(), len(used), [None, pa.py_buffer(places[used])])
    return values.take(wanted).buffers()[2] or b""


def _nameless_file() -> int:
    handle, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - there is nothing to hold but the path
    return handle


def _write(file: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
