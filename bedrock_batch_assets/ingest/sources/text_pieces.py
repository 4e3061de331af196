"""The bytes of a text file as pieces of UTF-8: unpacked, decoded, and checked."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO, Protocol

from bedrock_batch_assets.errors import RequestError

_GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
_UTF8_NAMES = {"utf-8", "utf-8-sig"}


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class NotDecodableError(Exception):
    """A byte does not belong to the file's encoding.

    Attributes:
        byte: The byte.
        offset: Its position in the file, unpacked.
        text: What could be decoded of the piece before it, as UTF-8.
        is_alone: Whether nothing before it in the file was other than ASCII.
    """

    def __init__(self, byte: int, offset: int, text: bytes, *, is_alone: bool) -> None:
        super().__init__(f"byte 0x{byte:02x} at offset {offset}")
        self.byte = byte
        self.offset = offset
        self.text = text
        self.is_alone = is_alone


def text_pieces(
    name: str, file: BinaryIO, size: int, *, encoding: str | None = None, escape: int | None = None
) -> Iterator[bytes]:
    """Read a file from its beginning, as pieces of UTF-8 without byte order mark; gzip is found by its first bytes.

    No piece but the last ends with CR, so that CRLF stays together, or with an escape character that escapes the next
    byte. Characters of several bytes may be divided.

    Args:
        name: What to call the file in messages.
        file: The bytes, seekable.
        size: Bytes to read at a time.
        encoding: Python's name of its encoding; UTF-8 if not given.
        escape: The escape character, if it has one.

    Raises:
        NotDecodableError: A byte does not belong to the encoding.
        RequestError: The file is broken gzip.
    """
    held = b""
    try:
        for read in _decoded(_unpacked(name, file, size), encoding):
            piece = held + read if held else read
            end = len(piece) - piece.endswith(b"\r")
            if escape is not None:
                end -= (end - len(piece[:end].rstrip(bytes([escape])))) % 2
            held = piece[end:]
            if end:
                yield piece[:end] if held else piece
    except NotDecodableError as error:
        error.text = held + error.text
        raise
    if held:
        yield held


def likely_encodings(name: str, file: BinaryIO) -> list[str]:
    """The encodings that a file's first bytes tell of: a byte order mark, or zeros as every other byte; mostly none."""
    start = next(_unpacked(name, file, 256), b"")
    # UTF-32's mark begins with UTF-16's.
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return [encoding]
    half = len(start) // 2
    zeros = {"utf-16-be": start[: 2 * half : 2].count(0), "utf-16-le": start[1 : 2 * half : 2].count(0)}
    return [encoding for encoding, count in zeros.items() if half and count > half * 0.7]


def line_ends(text: bytes) -> int:
    """How many lines end: with LF, CR or CRLF."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


@contextmanager
def gzip_errors_explained(name: str) -> Iterator[None]:
    """Turn the errors of a broken gzip file into ours.

    Raises:
        RequestError: In place of such an error.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RequestError(f"{name} is a broken gzip file ({error}): upload it again.") from error


def _unpacked(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    file.seek(0)
    first = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    stream: _Readable = gzip.GzipFile(fileobj=file) if first == _GZIP_MAGIC else file
    while True:
        with gzip_errors_explained(name):
            piece = stream.read(size)
        if not piece:
            return
        yield piece


def _decoded(pieces: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    if encoding is None or codecs.lookup(encoding).name in _UTF8_NAMES:
        yield from _checked(pieces)
    else:
        yield from _transcoded(pieces, encoding)


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """UTF-8, as it is."""
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= len(BOM):
            break
    offset = len(BOM) if start.startswith(BOM) else 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_alone = True
    for piece, is_last in _with_last(chain([start[offset:]], pieces)):
        pending = decoder.getstate()[0]
        # An ASCII piece between whole characters, as most pieces are, needs no decoding.
        if pending or not piece.isascii():
            try:
                decoder.decode(piece, is_last)
            except UnicodeDecodeError as error:
                # error.object is the pending bytes and this piece.
                place = error.start - len(pending)
                good = piece[: max(place, 0)]
                is_alone = is_alone and not pending and good.isascii()
                raise NotDecodableError(error.object[error.start], offset + place, good, is_alone=is_alone) from error
            is_alone = is_alone and piece.isascii()
        offset += len(piece)
        if piece:
            yield piece


def _transcoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    is_first = True
    for piece, is_last in _with_last(pieces):
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(piece, is_last)
        except UnicodeDecodeError as error:
            place = error.start - len(pending)
            before = codecs.getincrementaldecoder(encoding)("replace").decode(error.object[: error.start])
            raise NotDecodableError(
                error.object[min(error.start, len(error.object) - 1)],
                offset + place,
                before.encode("utf-8", "replace"),
                is_alone=False,
            ) from error
        except UnicodeError as error:
            # A file in UTF-16 or UTF-32 must say by a byte order mark which of the two kinds it is.
            raise NotDecodableError(piece[0], offset, b"", is_alone=False) from error
        if is_first and text:
            text = text.removeprefix("\ufeff")
            is_first = False
        offset += len(piece)
        try:
            utf8 = text.encode()
        except UnicodeEncodeError as error:
            # Half a surrogate pair, which some decoders let pass.
            raise NotDecodableError(piece[0], offset - len(piece), b"", is_alone=False) from error
        if utf8:
            yield utf8


def _with_last(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The pieces, and at the end an empty one that is marked as the last."""
    for piece in pieces:
        yield piece, False
    yield b"", True
