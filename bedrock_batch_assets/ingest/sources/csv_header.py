"""The header of a CSV file, and what comes before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_structure import StructureError, StructureScanner
from bedrock_batch_assets.ingest.sources.text_pieces import line_ends

_MAX_HEADER_BYTES = 1 << 20
# Excel's line before the header, which names the delimiter.
_SEPARATOR_LINE = re.compile(rb'"?sep=([^\r\n])"?(\r\n|\n|\r|\Z)')


@dataclass(frozen=True, slots=True)
class RawHeader:
    """The header as it is in the file.

    Attributes:
        text: Its bytes, without line end.
        rest: What was read beyond it.
        line: The number of the line that it is on, counted from 1.
        next_line: That of the first line below it.
        separator: The delimiter that a line `sep=` before it names, if there is one.
    """

    text: bytes
    rest: bytes
    line: int
    next_line: int
    separator: str | None


def read_header(
    name: str, pieces: Iterator[bytes], dialect: CsvDialect, *, watch_backslashes: bool = False
) -> RawHeader:
    """Read up to the end of the header: the first line that is not blank, nor Excel's `sep=`.

    Raises:
        RequestError: There is none, or it is longer than 1 MiB.
        StructureError: Its quoting is in doubt.
    """
    text = b""
    for piece in pieces:
        text += piece
        if (header := _found(text, dialect, at_end=False, watch=watch_backslashes)) is not None:
            return header
        if len(text) >= _MAX_HEADER_BYTES:
            raise RequestError(f"{name}: the header is longer than {_MAX_HEADER_BYTES >> 20} MiB: is this a CSV file?")
    if not text:
        raise RequestError(f"{name} is empty (0 bytes): upload a table with a header and rows.")
    if (header := _found(text, dialect, at_end=True, watch=watch_backslashes)) is None:
        raise RequestError(f"{name} holds nothing but blank lines: upload a table with a header and rows.")
    return header


def _found(text: bytes, dialect: CsvDialect, *, at_end: bool, watch: bool) -> RawHeader | None:
    separator = None
    begin = 0
    if (line := _SEPARATOR_LINE.match(text)) and (line[2] or at_end):
        separator = line[1].decode("ascii", "replace")
        begin = line.end()
    while begin < len(text) and text[begin] in b"\r\n":
        begin += 1
    if begin == len(text):
        return None
    end = _first_end(text[begin:], dialect, at_end=at_end, watch=watch)
    if end is None:
        return None
    end += begin
    below = end + (2 if text[end : end + 2] == b"\r\n" else 1)
    first_line = 1 + line_ends(text[:begin])
    return RawHeader(text[begin:end], text[below:], first_line, first_line + line_ends(text[begin:below]), separator)


def _first_end(text: bytes, dialect: CsvDialect, *, at_end: bool, watch: bool) -> int | None:
    scanner = StructureScanner(dialect.marks, single_column=False, watch_backslashes=watch)
    try:
        ends = scanner.record_ends(text, scanner.snapshot())
        if at_end and not len(ends):
            scanner.finish()
    except StructureError as error:
        # The error may be about a row.
        scanner = StructureScanner(dialect.marks, single_column=False)
        ends = scanner.record_ends(text[: error.start], scanner.snapshot())
        if not len(ends):
            raise
    if len(ends):
        return int(ends[0])
    return len(text) if at_end else None
