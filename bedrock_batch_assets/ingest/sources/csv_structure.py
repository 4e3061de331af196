"""Where the records of a CSV file end, and whether its quoting says so without doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bedrock_batch_assets.ingest.sources import csv_bits as bits
from bedrock_batch_assets.ingest.sources.csv_dialect import BACKSLASH, Marks
from bedrock_batch_assets.ingest.sources.csv_quotes import QuoteEvents, TextAfterQuoteError, literal_quotes

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.sources.csv_bits import Positions, Words

_LF = 10
_CR = 13
_SPACE = 32
_TAB = 9
_BACKSLASH = ord(BACKSLASH)


class Problem(Enum):
    """The faults of a file's structure."""

    text_after_quote = "text after a closing quote"
    never_closed = "a quote that is never closed"
    backslash_before_quote = "a closing quote that a backslash may make text"
    escape_unquoted = "an escape character outside quotes"
    escape_of_other = "an escape character before an ordinary one"
    escape_at_end = "an escape character at the end of the file"
    doubled_quote = "a doubled quote where quotes are escaped"
    blank_before_quote = "a blank before an opening quote"
    too_long = "a row that is too long"


class StructureError(Exception):
    """The records of the file cannot be told apart without doubt.

    Attributes:
        problem: What is wrong.
        position: Where it shows, in bytes from where the scanner began.
        start: Where that begins which cannot be read, such as the opening quote.
    """

    def __init__(self, problem: Problem, position: int, start: int) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.position = position
        self.start = start


class Scan(NamedTuple):
    """What a piece of the file holds.

    Attributes:
        cut: Bytes up to the last end of a record, that included; 0 if no record ends here.
        rows: Records that end here.
        lines: Line ends in the whole piece, those inside quotes included.
        lines_before_cut: Those of them before `cut`.
    """

    cut: int
    rows: int
    lines: int
    lines_before_cut: int


@dataclass(slots=True)
class ScannerState:
    """What must be known of all bytes before a piece.

    Attributes:
        position: How many they are.
        inside: Whether the piece begins inside quotes.
        opened: The position of the last opening quote.
        separated: Whether a quote at the beginning of the piece would open a cell, or be the second of a doubled one.
        closed: Whether the last byte is a quote that closes, unless it is doubled by the next.
        ended: Whether the last byte ends a record.
        blank: Whether the last byte is a blank, and there is nothing but blanks before it in its cell.
        backslash: Whether the last byte is a backslash.
        escaping: Whether the last byte is an escape character, or a line end outside quotes that is escaped.
    """

    position: int = 0
    inside: bool = False
    opened: int = 0
    separated: bool = True
    closed: bool = False
    ended: bool = True
    blank: bool = False
    backslash: bool = False
    escaping: bool = False


class StructureScanner:
    """Finds the ends of records in one piece of a CSV file after the other, by RFC 4180 or a dialect near to it.

    A quote at the beginning of a cell opens it, and only a delimiter or a line end may follow the quote that closes
    it. Any other quote outside quotes is text, as in Python's csv module. A blank line is a record only in a table of
    one column.

    No piece but the last may end with CR, or with an escape character that escapes the next byte. If there is an escape
    character, quotes are not doubled.

    Attributes:
        state: What is known of the bytes so far.
        escapes: Positions in the last piece of the escape characters that escape a byte.
        escapes_quoted: Which of them are inside quotes.
        blank_quotes: Positions in the file of the quotes in the last piece that are text outside quotes, and the
            first character of their cell that is not blank.
    """

    def __init__(self, marks: Marks, *, single_column: bool, watch_backslashes: bool = False) -> None:
        """Begin at the beginning of a record.

        Args:
            marks: The bytes with a meaning.
            single_column: Whether blank lines are records.
            watch_backslashes: Whether a closing quote after a backslash is a StructureError.
        """
        self._marks = marks
        self._single_column = single_column
        self._watch = watch_backslashes
        self._finder = bits.ByteFinder()
        self._blanks = bytes(blank for blank in (_SPACE, _TAB) if blank != marks.delimiter)
        self.state = ScannerState()
        self.escapes: Positions = np.zeros(0, np.int64)
        self.escapes_quoted: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.blank_quotes: list[int] = []
        self._record_ends: Words = np.zeros(0, np.uint64)

    def snapshot(self) -> ScannerState:
        """A copy of the state, from which a piece can be scanned again."""
        return replace(self.state)

    def scan(self, piece: bytes) -> Scan:
        """Scan the next piece.

        Raises:
            StructureError: Its quoting is in doubt.
        """
        if not piece:
            return Scan(0, 0, 0, 0)
        state, marks = self.state, self._marks
        self.escapes = np.zeros(0, np.int64)
        self.blank_quotes = []
        values = self._finder.load(piece)
        has_quotes = marks.quote is not None and marks.quote in piece
        has_escapes = marks.escape is not None and marks.escape in piece
        blank = self._ends_with_blank(piece)
        if has_quotes or has_escapes or state.inside or state.closed or b"\r" in piece:
            scan = self._scan(piece, values, has_quotes=has_quotes, has_escapes=has_escapes)
        else:
            scan = self._scan_plain(piece)
        state.position += len(piece)
        state.blank = blank and not state.inside
        state.backslash = piece[-1] == _BACKSLASH
        return scan

    def record_ends(self, piece: bytes, state: ScannerState) -> Positions:
        """Positions in a piece of the line ends that end records: of the LF, or CR, or CR of CRLF.

        Args:
            piece: Scanned before.
            state: As it was before that; it becomes that of the scanner.
        """
        self.state = state
        if not piece:
            return np.zeros(0, np.int64)
        quote, escape = self._marks.quote, self._marks.escape
        self._scan(
            piece,
            self._finder.load(piece),
            has_quotes=quote is not None and quote in piece,
            has_escapes=escape is not None and escape in piece,
        )
        return bits.positions(self._record_ends)

    def finish(self) -> int:
        """End the file; gives the records that end without a line end, which are one or none.

        Raises:
            StructureError: It ends inside quotes.
        """
        state = self.state
        if state.inside:
            raise StructureError(Problem.never_closed, state.position, state.opened)
        if state.escaping and self._marks.escape_unquoted is not False:
            place = state.position - 1
            raise StructureError(Problem.escape_at_end, place, place)
        return 0 if state.ended else 1

    def _scan_plain(self, piece: bytes) -> Scan:
        """A piece without quotes, escapes and CR, outside quotes."""
        state = self.state
        mask = self._finder.mask(_LF)
        lines = int(np.count_nonzero(mask))
        rows = lines
        if not self._single_column:
            rows -= int(np.count_nonzero(mask[1:] & mask[:-1])) + (state.ended and piece[0] == _LF)
        state.ended = piece[-1] == _LF
        state.escaping = False
        state.separated = state.ended or piece[-1] == self._marks.delimiter
        return Scan(piece.rfind(b"\n") + 1, rows, lines, lines)

    def _scan(self, piece: bytes, values: npt.NDArray[np.uint8], *, has_quotes: bool, has_escapes: bool) -> Scan:
        marks, state, finder = self._marks, self.state, self._finder
        end = len(piece) - 1
        line_feeds = line_ends = finder.find(_LF)
        returns = finder.find(_CR) if b"\r" in piece else None
        if returns is not None:
            line_ends = line_feeds | returns
        separators = line_ends | finder.find(marks.delimiter)
        quotes = finder.find(marks.quote) if has_quotes and marks.quote is not None else finder.none()
        escaped = None
        state.escaping = False
        if has_escapes and marks.escape is not None:
            self.escapes = _escaping(values, marks.escape)
            if len(self.escapes) and int(self.escapes[-1]) == end:
                state.escaping = True
                self.escapes = self.escapes[:-1]
            escaped = finder.at(self.escapes + 1)
            # Outside quotes this changes nothing: a quote after an escape character does not open a cell anyway.
            quotes &= ~escaped
            if marks.escape_unquoted:
                separators &= ~escaped
        inside = self._inside(piece, values, quotes, separators)
        ends = line_ends & ~inside
        if escaped is not None:
            self.escapes_quoted = bits.chosen(inside, self.escapes)
            if marks.escape_unquoted:
                ends &= ~escaped
        cut = bits.last(ends) + 1
        if not self._single_column:
            self._record_ends = ends & ~bits.after(ends, first=state.ended)
        elif returns is None:
            self._record_ends = ends
        else:
            self._record_ends = ends & ~(line_feeds & bits.after(ends & returns, first=False))
        state.ended = bits.holds(ends, end)
        state.escaping = state.escaping or (piece[-1] in (_LF, _CR) and not state.ended and not state.inside)
        lines = bits.count(line_ends)
        lines_after_cut = bits.count_from(line_ends, cut)
        if returns is not None:
            pairs = line_feeds & bits.after(returns, first=False)
            lines -= bits.count(pairs)
            lines_after_cut -= bits.count_from(pairs, cut)
        return Scan(cut, bits.count(self._record_ends), lines, lines - lines_after_cut)

    def _inside(self, piece: bytes, values: npt.NDArray[np.uint8], quotes: Words, separators: Words) -> Words:
        """The positions inside quotes, the opening quotes included.

        Raises:
            StructureError: They are in doubt.
        """
        state = self.state
        end = len(piece) - 1
        near = quotes | separators
        if state.closed and not bits.holds(near, 0):
            raise StructureError(Problem.text_after_quote, state.position - 1, state.opened)
        can_open = bits.after(separators, first=state.separated and not state.closed)
        if not state.inside and not state.closed and not (quotes & can_open).any():
            self._find_blank_quotes(piece, quotes, separators)
            state.separated = bits.holds(separators, end)
            return self._finder.none()
        inside = bits.odd_parity(quotes, odd=state.inside)
        opening = quotes & inside
        closing = quotes ^ opening
        wrong = opening & ~bits.after(near, first=state.separated)
        wrong |= closing & ~bits.before(near, end)
        if wrong.any():
            all_quotes = quotes
            quotes = self._without_text(values, all_quotes, separators, can_open)
            self._find_blank_quotes(piece, all_quotes & ~quotes, separators)
            near = quotes | separators
            inside = bits.odd_parity(quotes, odd=state.inside)
            opening = quotes & inside
            closing = quotes ^ opening
        if self._marks.escape is not None:
            self._check_doubled(opening, closing)
        elif self._watch and (state.backslash or _BACKSLASH in piece):
            self._watch_backslashes(piece, closing, opening)
        was_closed = state.closed
        state.inside = bits.holds(inside, end)
        state.closed = bits.holds(closing, end)
        state.separated = bits.holds(near, end)
        if state.inside or state.closed:
            # The second of two quotes that are doubled opens nothing.
            opened = bits.last(opening & ~bits.after(closing, first=was_closed))
            if opened >= 0:
                state.opened = state.position + opened
        return inside

    def _check_doubled(self, opening: Words, closing: Words) -> None:
        doubled = opening & bits.after(closing, first=self.state.closed)
        if doubled.any():
            place = self.state.position + int(bits.positions(doubled)[0])
            raise StructureError(Problem.doubled_quote, place, place)

    def _without_text(self, values: npt.NDArray[np.uint8], quotes: Words, separators: Words, can_open: Words) -> Words:
        """The quotes without those that are text, outside quotes.

        Raises:
            StructureError: Text follows a closing quote.
        """
        state = self.state
        places = bits.positions(quotes)
        events = QuoteEvents(
            places,
            can_open=bits.chosen(can_open, places),
            can_close=bits.chosen(bits.before(separators, len(values) - 1), places),
            inside=state.inside,
            closed=state.closed,
        )
        try:
            literal = literal_quotes(events)
        except TextAfterQuoteError as error:
            start = state.opened if error.opened is None else state.position + error.opened
            raise StructureError(Problem.text_after_quote, state.position + error.closed, start) from None
        return quotes & ~self._finder.at(literal)

    def _find_blank_quotes(self, piece: bytes, literal: Words, separators: Words) -> None:
        state = self.state
        if not literal.any():
            return
        begins_blank = state.blank or state.separated
        blanks = self._finder.none()
        for blank in self._blanks:
            if blank in piece:
                blanks |= self._finder.find(blank)
        # In prose a quote often follows a single blank: what is before that is looked at for all of them at once.
        likely = blanks & (bits.after(separators, first=begins_blank) | bits.after(blanks, first=begins_blank))
        for place in bits.positions(literal & bits.after(likely, first=state.blank)).tolist():
            begin = place
            while begin > 0 and piece[begin - 1] in self._blanks:
                begin -= 1
            if begins_blank if begin == 0 else piece[begin - 1] in (self._marks.delimiter, _LF, _CR):
                self.blank_quotes.append(state.position + place)

    def _watch_backslashes(self, piece: bytes, closing: Words, opening: Words) -> None:
        state = self.state
        backslashes = self._finder.find(_BACKSLASH)
        for place in bits.positions(closing & bits.after(backslashes, first=state.backslash)).tolist():
            run = place - len(piece[:place].rstrip(BACKSLASH.encode()))
            # A run that began in the piece before is taken for odd, which costs a second look at most.
            if run % 2 or (run == place and state.backslash):
                openings = bits.positions(opening & ~bits.after(closing, first=state.closed))
                openings = openings[openings < place]
                start = state.position + int(openings[-1]) if len(openings) else state.opened
                raise StructureError(Problem.backslash_before_quote, state.position + place, start)

    def _ends_with_blank(self, piece: bytes) -> bool:
        """Whether the last byte is a blank that, outside quotes, may be the beginning of a cell."""
        if piece[-1] not in self._blanks:
            return False
        rest = piece.rstrip(self._blanks)
        if not rest:
            return self.state.blank or self.state.separated
        return rest[-1] in (self._marks.delimiter, _LF, _CR)


def _escaping(values: npt.NDArray[np.uint8], escape: int) -> Positions:
    """The positions of escape characters that escape the next byte: of a run of them every other one."""
    places = np.flatnonzero(values == escape)
    begins = np.concatenate(([True], np.diff(places) != 1))
    numbers = np.arange(len(places))
    in_run = numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
    escaping: Positions = places[in_run % 2 == 0]
    return escaping
