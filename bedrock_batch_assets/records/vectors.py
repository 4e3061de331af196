"""Vectors in output lines: thousands of digits that a JSON decoder would make Python floats of, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


# What stands in the vector's place: a number that no vector has, so that it is found again in its place.
_MARK = b"[-1.7052341e-203]"
MARK = [-1.7052341e-203]


class VectorReader:
    """Cuts the one array of numbers out of a line, and reads it by itself.

    Ten thousand characters of digits are read twice as fast as by the decoder of everything else (measured), and
    into one buffer.
    """

    def __init__(self, field: str) -> None:
        """Prepare for the field that holds the vector."""
        import simdjson

        self._key = f'"{field}"'.encode()
        self._parser_type = simdjson.Parser
        self._parser: Any = simdjson.Parser()

    def cut(self, line: bytes) -> tuple[bytes, npt.NDArray[np.float64]] | None:
        """The line with `MARK` for the vector, and the vector.

        None if this is not for sure what the line says: the field occurs twice (in whatever place), or is no flat
        array of numbers that 64 bits hold.
        """
        key = line.find(self._key)
        if key < 0:
            return None
        # A quote that is not escaped ends a string, so this is a key, or the end of a text that no colon follows.
        after = key + len(self._key)
        start = line.find(b"[", after)
        if start < 0 or line[after:start].strip() != b":":
            return None
        end = line.find(b"]", start) + 1
        # There is none within: it would be no array of numbers.
        if line.find(self._key, end) >= 0:
            return None
        try:
            array = self._parser.parse(line[start:end])
            vector = np.frombuffer(array.as_buffer(of_type="d"))
        except (ValueError, TypeError, RuntimeError):
            # The old one is not to be used again while a trace back holds what it parsed.
            self._parser = self._parser_type()
            return None
        return line[:start] + _MARK + line[end:], vector
