"""The body of a CSV file as the blocks that Arrow's parser reads, each checked before it is handed on."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bedrock_batch_assets.ingest.sources.csv_escapes import EscapedText
from bedrock_batch_assets.ingest.sources.csv_structure import (
    Problem,
    ScannerState,
    StructureError,
    StructureScanner,
)
from bedrock_batch_assets.ingest.sources.text_pieces import BOM, line_ends

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.sources.csv_bits import Positions
    from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect

# A quote that is opened and never closed would take the rest of the file for a cell. Bedrock takes records of some MB.
MAX_ROW_BYTES = 256 << 20
# How many blocks are handed on ahead of the rows that are asked for. Arrow by itself pauses only after 32 blocks
# (arrow/util/async_generator_fwd.h, kDefaultBackgroundMaxQ).
_AHEAD_BYTES = 16 << 20
_AHEAD_BLOCKS = 16
# Arrow needs to see the block after the one that it parses.
_LEAST_BLOCKS = 2
# While Arrow is at work, it is only slowed down, not stopped: before it raises an error, it waits for its reading
# thread.
_BRAKE_SECONDS = 0.2
_STOP_SECONDS = 10.0


class PlacedError(Exception):
    """A structure error with its place in the file.

    Attributes:
        problem: What is wrong.
        row: The row that it is in, counted from 1 below the header.
        line: The line of the file if that begins which cannot be read, such as the opening quote.
        end_line: The line if it shows.
        seen: The text from the one to the other, and a little more.
    """

    def __init__(self, problem: Problem, *, row: int, line: int, end_line: int, seen: str) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.row = row
        self.line = line
        self.end_line = end_line
        self.seen = seen


@dataclass(slots=True)
class _Block:
    """A block that was handed on: its text, and what was before it."""

    text: bytes
    state: ScannerState
    rows_before: int
    rows: int
    # Of its first byte, and of the first byte of the record that it begins in.
    line: int
    record_line: int
    # The beginning of that record, in the blocks before.
    record: bytes


class BlockStream(io.RawIOBase):
    """Reads blocks: pieces of the file that hold the end of a record at least, whatever size is asked for.

    Every block is scanned by `StructureScanner` first, which counts its records: the parser must come to the same
    number, see `take`. In a dialect with an escape character, blocks are whole records without escapes.
    """

    def __init__(
        self, pieces: Iterator[bytes], dialect: CsvDialect, *, line: int, single_column: bool, watch_backslashes: bool
    ) -> None:
        """Begin below the header.

        Args:
            pieces: The text below the header.
            dialect: How it is written.
            line: The number of its first line.
            single_column: Whether the table has one column, so that blank lines are rows.
            watch_backslashes: See `StructureScanner`.
        """
        super().__init__()
        self._pieces = pieces
        self._dialect = dialect
        self._single_column = single_column
        self._scanner = StructureScanner(
            dialect.marks, single_column=single_column, watch_backslashes=watch_backslashes
        )
        self.escaped = EscapedText(dialect.marks, dialect.null_text) if dialect.marks.escape is not None else None
        self._changed = threading.Condition()
        self._is_started = False
        self._has_begun = False
        self._is_wanted = True
        self._is_stopped = False
        self._is_over = False
        self._is_finished = False
        self._blocks: deque[_Block] = deque()
        self._bytes_ahead = 0
        self._taken = 0
        self.bytes_read = 0
        self._rows = 0
        self._line = line
        # Pieces that are not handed on yet, and what the scanner knew before the first of them.
        self._waiting: list[bytes] = []
        self._waiting_state = self._scanner.snapshot()
        self._waiting_line = line
        self._escapes: list[tuple[Positions, npt.NDArray[np.bool_]]] = []
        # The record that is not at its end yet: its bytes so far, and the line that it begins on.
        self._record: list[bytes] = []
        self._record_bytes = 0
        self._record_line = line
        # Of these, the bytes that were handed on.
        self._before = b""
        self._blank_quotes: list[int] = []

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def stop(self, *, wait: bool = False) -> None:
        """End here: from now on the file is used elsewhere.

        Args:
            wait: Wait until Arrow knows. It reads ahead in a thread of its own, and a process that ends while that
                thread calls Python may hang. To be used only if Arrow goes on reading: its reader still exists, and has
                come neither to the end nor to an error.
        """
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            if wait and self._is_started:
                self._changed.wait_for(lambda: self._is_over, timeout=_STOP_SECONDS)

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - a block has the size that its rows need
        """The next block; nothing at the end.

        Raises:
            PlacedError: The structure is in doubt.
            NotDecodableError: A byte does not belong to the file's encoding.
            RequestError: The file is broken gzip.
        """
        with self._changed:
            self._is_started = True
            if not self._changed.wait_for(self._may_go_on, timeout=_BRAKE_SECONDS):
                self._changed.wait_for(lambda: self._is_wanted or self._may_go_on())
            block = b""
            try:
                if not self._is_stopped and not self._is_over:
                    block = self._next()
                if not self._has_begun and block.startswith(BOM):
                    # Arrow takes away the byte order mark that a stream begins with, and this one belongs to a cell.
                    block = BOM + block
                self._has_begun = True
            finally:
                if not block:
                    self._is_over = True
                    self._changed.notify_all()
            return block

    def want(self) -> None:
        """Note that the parser is asked for rows from now on, so that no block is kept from it."""
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()

    def _may_go_on(self) -> bool:
        ahead = len(self._blocks)
        is_little = self._bytes_ahead < _AHEAD_BYTES and ahead < _AHEAD_BLOCKS
        return self._is_stopped or is_little or ahead < _LEAST_BLOCKS

    def take(self, rows: int) -> bool:
        """Note how many rows the parser has given altogether. False if they do not end with a block."""
        with self._changed:
            self._is_wanted = False
            while self._blocks and self._blocks[0].rows_before + self._blocks[0].rows <= rows:
                block = self._blocks.popleft()
                self._bytes_ahead -= len(block.text)
                self._taken = block.rows_before + block.rows
            self._changed.notify_all()
            return self._taken == rows

    @property
    def rows(self) -> int:
        """Records so far; at the end of the file, all of it."""
        return self._rows

    @property
    def line(self) -> int:
        """The line that the next piece begins on."""
        return self._line

    def record_at(self, row: int) -> tuple[int, str]:
        """The line that a row begins on and its text, shortened; it must not be taken yet."""
        with self._changed:
            block = next(block for block in self._blocks if row <= block.rows_before + block.rows)
            number = row - block.rows_before
            scanner = StructureScanner(self._dialect.marks, single_column=self._single_column)
            text = block.text
            ends = [*scanner.record_ends(text, block.state).tolist(), len(text)]
            if number == 1 and block.record:
                return block.record_line, _shown(block.record + text[: ends[0]])
            begin = ends[number - 2] if number > 1 else 0
            # The line end of the row before, and blank lines.
            while begin < len(text) and text[begin] in b"\r\n":
                begin += 1
            return block.line + line_ends(text[:begin]), _shown(text[begin : ends[number - 1]])

    def _next(self) -> bytes:
        while not self._is_finished and (piece := next(self._pieces, None)) is not None:
            if (block := self._add(piece)) is not None:
                return block
        return b"" if self._is_finished else self._finish()

    def _add(self, piece: bytes) -> bytes | None:
        """Scan a piece; gives the block that it completes, if it does."""
        start = self._scanner.state.position
        try:
            scan = self._scanner.scan(piece)
        except StructureError as error:
            raise self._placed(error, piece) from error
        if len(self._scanner.escapes):
            self._escapes.append((self._scanner.escapes + start, self._scanner.escapes_quoted))
        self._blank_quotes += self._scanner.blank_quotes
        self.bytes_read += len(piece)
        self._waiting.append(piece)
        self._record.append(piece)
        self._record_bytes += len(piece)
        if not scan.cut:
            self._line += scan.lines
            if self._record_bytes > MAX_ROW_BYTES:
                state = self._scanner.state
                begin = state.opened if state.inside else state.position - self._record_bytes
                raise self._placed(StructureError(Problem.too_long, start, begin))
            return None
        self._check_blank_quotes(start + scan.cut)
        block = b"".join(self._waiting)
        rest = piece[scan.cut :]
        if self.escaped is not None:
            block = block[: len(block) - len(rest)]
        handed = self._without_escapes(block, start + scan.cut - len(block))
        self._hand_on(block, scan.rows)
        self._rows += scan.rows
        cut_line = self._line + scan.lines_before_cut
        self._line += scan.lines
        self._record = [rest] if rest else []
        self._record_bytes = len(rest)
        self._record_line = cut_line
        if self.escaped is None:
            self._before = rest
            self._waiting = []
            self._waiting_state = self._scanner.snapshot()
            self._waiting_line = self._line
        else:
            self._waiting = [rest] if rest else []
            self._waiting_state = ScannerState(position=start + scan.cut)
            self._waiting_line = cut_line
        return handed

    def _hand_on(self, block: bytes, rows: int) -> None:
        self._blocks.append(
            _Block(
                block,
                self._waiting_state,
                self._rows,
                rows,
                self._waiting_line,
                self._record_line,
                self._before,
            )
        )
        self._bytes_ahead += len(block)

    def _finish(self) -> bytes:
        """The last record, if nothing ends it."""
        self._is_finished = True
        try:
            rows = self._scanner.finish()
        except StructureError as error:
            raise self._placed(error) from error
        self._check_blank_quotes(self._scanner.state.position)
        block = b"".join(self._waiting)
        if not block:
            # Its bytes were handed on with the block before.
            if rows and self._blocks:
                self._blocks[-1].rows += rows
            self._rows += rows
            return b""
        handed = self._without_escapes(block, self._scanner.state.position - len(block))
        self._hand_on(block, rows)
        self._rows += rows
        return handed

    def _without_escapes(self, block: bytes, start: int) -> bytes:
        if self.escaped is None or not self._escapes:
            return block
        places = np.concatenate([some for some, _ in self._escapes]) - start
        quoted = np.concatenate([some for _, some in self._escapes])
        within = places < len(block)
        self._escapes = [(places[~within] + start, quoted[~within])] if not within.all() else []
        try:
            return self.escaped.without_escapes(block, places[within], quoted[within])
        except StructureError as error:
            error.position += start
            error.start += start
            raise self._placed(error) from error

    def _check_blank_quotes(self, end: int) -> None:
        """Refuse cells that begin with blanks and a quote which is not closed before the delimiter.

        By RFC 4180 and Python's csv module such a quote is text; readers that skip the blanks take it for an opening
        one, and find other cells and rows.
        """
        if not self._blank_quotes:
            return
        record = b"".join(self._record)
        start = self._scanner.state.position - len(record)
        marks = self._dialect.marks
        for place in self._blank_quotes:
            if place >= end:
                break
            rest = record[place - start :]
            stops = (rest.find(bytes([mark])) for mark in (marks.delimiter, ord("\n"), ord("\r")))
            cell = rest[: min((stop for stop in stops if stop >= 0), default=len(rest))]
            if cell.count(bytes([marks.quote or 0])) % 2:
                raise self._placed(StructureError(Problem.blank_before_quote, place + len(cell), place))
        self._blank_quotes = [place for place in self._blank_quotes if place >= end]

    def _placed(self, error: StructureError, piece: bytes = b"") -> PlacedError:
        """The error with its place; `piece` is what was not added yet."""
        record = b"".join([*self._record, piece])
        origin = self._scanner.state.position - len(record) + len(piece)
        start = min(max(error.start - origin, 0), len(record))
        end = min(max(error.position - origin, start), len(record))
        scanner = StructureScanner(self._dialect.marks, single_column=self._single_column)
        try:
            before = scanner.scan(_whole(record[:start], self._dialect.marks.escape))
        except StructureError as earlier:
            # One piece may have several faults, which are not found in their order.
            return self._placed(
                StructureError(earlier.problem, earlier.position + origin, earlier.start + origin), piece
            )
        line = self._record_line + line_ends(record[:start])
        # The cell that it is in, if that is near.
        nearby = record[max(start - 40, 0) : start]
        marks = (self._dialect.marks.delimiter, *b"\r\n")
        begin = start - (len(nearby) - 1 - max(nearby.rfind(bytes([mark])) for mark in marks))
        return PlacedError(
            error.problem,
            row=self._rows + before.rows + 1,
            line=line,
            end_line=line + line_ends(record[start:end]),
            seen=_shown(record[begin : end + 1], record[end + 1 : end + 41].partition(b"\n")[0].rstrip(b"\r")),
        )


def _whole(text: bytes, escape: int | None) -> bytes:
    """The text without an escape character at its end, which a scanner does not take."""
    return text if escape is None else text.rstrip(bytes([escape]))


def _shown(text: bytes, following: bytes = b"") -> str:
    """The text, shortened in the middle, and what follows it."""
    begin, end = text[:40], text[40:]
    if len(end) > 40:
        begin, end = begin + b" ... ", end[-40:]
    return (begin + end + following).decode("utf-8", "replace").strip("\ufffd")
