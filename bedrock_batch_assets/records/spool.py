"""Values that are written in one order and read in another: in memory while they are few, then in a file."""

from __future__ import annotations

import os
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

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

    def get(self, start: int, length: int) -> bytes:
        """One value."""
        if self._file is None:
            return bytes(self._memory[start : start + length])
        return os.pread(self._file, length, start)


def _nameless_file() -> int:
    handle, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - there is nothing to hold but the path
    return handle


def _write(file: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
