"""A byte stream that is checked to be UTF-8 on its way."""

import codecs
import io
from typing import Protocol

from bedrock_batch_assets.errors import RequestError


class Readable(Protocol):
    """Anything with a `read`."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Utf8Reader(io.RawIOBase):
    """Hands on the bytes of another stream unchanged, and raises at the first that is not UTF-8.

    Args:
        name: What to call the stream in messages.
        stream: The bytes.
        first_bytes: Bytes that come before them.
        offset: The position of the first byte in the file, for messages.
        line: The line that it is on, counted from 1, for messages.
    """

    def __init__(
        self, name: str, stream: Readable, *, first_bytes: bytes = b"", offset: int = 0, line: int = 1
    ) -> None:
        super().__init__()
        self._name = name
        self._stream = stream
        self._first = first_bytes
        self._offset = offset
        self._line = line
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            RequestError: A byte is not UTF-8. Names its value, offset and line.
        """
        if self._first:
            piece, self._first = (self._first[:size], self._first[size:]) if size >= 0 else (self._first, b"")
            if 0 <= size == len(piece):
                pass
            else:
                piece += self._stream.read(size - len(piece) if size >= 0 else -1)
        else:
            piece = self._stream.read(size)
        if size != 0:
            self.check(piece, final=not piece or size < 0)
        return piece

    def check(self, piece: bytes, *, final: bool) -> None:
        """Check the next piece of the stream; `final` where nothing comes after it.

        Raises:
            RequestError: A byte is not UTF-8.
        """
        # An ASCII piece between whole characters, which is most of them, needs no decoding.
        pending = self._decoder.getstate()[0]
        if not (pending == b"" and piece.isascii()):
            try:
                self._decoder.decode(piece, final)
            except UnicodeDecodeError as error:
                # error.object is the pending bytes and this piece.
                place = error.start - len(pending)
                byte = error.object[error.start]
                line = self._line + _line_ends(piece[: max(place, 0)])
                raise RequestError(
                    f"{self._name} is not UTF-8: byte 0x{byte:02x} at offset {self._offset + place} (line {line}). "
                    "Save the file as UTF-8."
                ) from error
        self._offset += len(piece)
        self._line += _line_ends(piece)


def _line_ends(piece: bytes) -> int:
    return piece.count(b"\n") or piece.count(b"\r")
