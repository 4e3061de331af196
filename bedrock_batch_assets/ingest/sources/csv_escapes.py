"""Escape characters in CSV: taken out before the text is parsed, and what they made text put back afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.ingest.sources.csv_structure import Problem, StructureError

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.sources.csv_bits import Positions
    from bedrock_batch_assets.ingest.sources.csv_dialect import Marks

_LF = 10
_CR = 13
# Bytes that no text in UTF-8 holds (RFC 3629, section 1: "The octet values C0, C1, F5 to FF never appear") stand for
# escaped quotes, delimiters, LF and CR while the text is parsed.
_QUOTE, _DELIMITER, _LINE_FEED, _RETURN = range(0xF8, 0xFC)


class EscapedText:
    r"""Takes escape characters out of whole records.

    Inside quotes, and outside if the dialect says so, the escape character may stand before a quote, another escape
    character, a delimiter and a line end, which are text then. Before anything else readers differ about it (Python's
    csv module and Arrow drop it, Spark keeps it, MySQL takes `\0` and `\n` for characters of their own), so that it
    is an error there.
    """

    def __init__(self, marks: Marks, null_text: str | None) -> None:
        r"""Make the tables.

        Args:
            marks: The bytes with a meaning; there is an escape character among them.
            null_text: The text of cells that are null: it may hold escape characters, as MySQL's `\N` does.
        """
        self._marks = marks
        self._null = (null_text or "").encode()
        escape = marks.escape or 0
        self._null_escapes = [place for place, byte in enumerate(self._null) if byte == escape]
        self._ends = {marks.delimiter, _LF, _CR}
        # What each escaped byte becomes: 0 for those that are not to be escaped.
        codes = np.zeros(256, np.uint8)
        codes[escape] = escape
        codes[[marks.delimiter, _LF, _CR]] = (_DELIMITER, _LINE_FEED, _RETURN)
        if marks.quote is not None:
            codes[marks.quote] = _QUOTE
        self._codes = codes
        back = bytearray(range(256))
        back[_DELIMITER], back[_LINE_FEED], back[_RETURN] = marks.delimiter, _LF, _CR
        back[_QUOTE] = marks.quote or 0
        self._back = bytes(back)

    def without_escapes(self, text: bytes, escapes: Positions, quoted: npt.NDArray[np.bool_]) -> bytes:
        """Whole records without escape characters.

        Args:
            text: The records.
            escapes: Positions of the escape characters that escape a byte.
            quoted: Which of them are inside quotes.

        Raises:
            StructureError: One of them has no clear meaning. The position is that in `text`.
        """
        if self._marks.escape_unquoted is False:
            escapes = escapes[quoted]
        elif not quoted.all():
            keeps = np.array([self._is_in_null(text, place) for place in escapes[~quoted].tolist()])
            if self._marks.escape_unquoted is None and not keeps.all():
                place = int(escapes[~quoted][~keeps][0])
                raise StructureError(Problem.escape_unquoted, place, place)
            is_kept = np.zeros(len(escapes), np.bool_)
            is_kept[~quoted] = keeps
            escapes = escapes[~is_kept]
        if not len(escapes):
            return text
        values = np.frombuffer(text, np.uint8).copy()
        codes = self._codes[values[escapes + 1]]
        if not codes.all():
            place = int(escapes[codes == 0][0])
            raise StructureError(Problem.escape_of_other, place, place)
        values[escapes + 1] = codes
        stays = np.ones(len(values), np.bool_)
        stays[escapes] = False
        return values[stays].tobytes()

    def restored(self, column: pa.StringArray) -> pa.StringArray:
        """A column of parsed cells, with what was escaped in its place."""
        validity, offsets, data = column.buffers()
        if data is None:
            return column
        text = pa.py_buffer(data.to_pybytes().translate(self._back))
        return pa.StringArray.from_buffers(len(column), offsets, text, validity, column.null_count, column.offset)

    def _is_in_null(self, text: bytes, place: int) -> bool:
        """Whether the escape character belongs to a cell that is null."""
        for before in self._null_escapes:
            begin = place - before
            end = begin + len(self._null)
            if (
                begin >= 0
                and text[begin:end] == self._null
                and (begin == 0 or text[begin - 1] in self._ends)
                and (end == len(text) or text[end] in self._ends)
            ):
                return True
        return False
