"""Rows to records: the JSON lines that a batch inference job reads.

A record is a constant JSON shell around one text, wherever the processor promises so. Then the shell is serialised
once, and columns are escaped and joined to lines as whole columns, by Arrow's kernels: nothing is done per record, and
the GIL is free meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.prompt_templates import PromptTemplate, empty_column_reason
from bedrock_batch_assets.records.column_texts import check_column, check_texts, text_column
from bedrock_batch_assets.records.string_columns import (
    ColumnTooLargeError,
    bitmap,
    byte_range,
    empty_values,
    json_escaped,
    strings_of,
)

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    import numpy.typing as npt

    from bedrock_batch_assets.processors.base import BaseProcessor

EMBEDDING_COLUMN = "input_text"

# "r" and ten digits: the oldest documentation of batch inference asks for 11 alphanumeric characters.
_ID_DIGITS = 10
ID_BYTES = 1 + _ID_DIGITS
_POWERS_OF_TEN = 10 ** np.arange(_ID_DIGITS - 1, -1, -1, dtype=np.int64)

# Rows that are worked on together: few enough for their texts to stay in the processor's cache (measured).
_SLICE_ROWS = 1_024

# Texts that a careless processor would change: whitespace at the ends, characters that JSON escapes, line breaks that
# JSON does not, braces, length.
_PROBES = (
    "k6Vd2pQw9Zr4",
    ' \t"k6Vd2pQw9Zr4"\\ \r\n{0}{text}%s${x} \u2028\x85\x00\x7f é漢😀 ',
    "H7" * 40_000,
)


def record_id(row: int) -> str:
    """The record id of a row, by its index in the whole batch: `r0000000042`."""
    return f"r{row:0{_ID_DIGITS}d}"


def row_of(identifier: str | None) -> int | None:
    """The row that a record id belongs to, or None if the id is not of `record_id`'s making."""
    if identifier is None or len(identifier) != ID_BYTES or identifier[0] != "r":
        return None
    digits = identifier[1:]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def rows_of(identifiers: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """`row_of` for many; -1 if there is no row."""
    try:
        characters = np.frombuffer("".join(identifiers).encode("ascii"), np.uint8)  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        characters = np.empty(0, np.uint8)
    if len(characters) == ID_BYTES * len(identifiers) and all(len(name) == ID_BYTES for name in identifiers):  # type: ignore[arg-type]
        return rows_of_characters(characters.reshape(-1, ID_BYTES))
    rows = (row_of(identifier) for identifier in identifiers)
    return np.fromiter((-1 if row is None else row for row in rows), np.int64, len(identifiers))


def rows_of_characters(identifiers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """`row_of` for many, given as the `ID_BYTES` characters of each: uint8, of shape (ids, ID_BYTES)."""
    digits = identifiers[:, 1:] - np.uint8(ord("0"))
    is_row = (identifiers[:, 0] == ord("r")) & (digits < 10).all(axis=1)
    return np.where(is_row, digits @ _POWERS_OF_TEN, -1)


@dataclass(frozen=True, slots=True)
class RenderedRecords:
    """The records of one Arrow batch.

    Attributes:
        pieces: UTF-8; together one line per sent row, in row order, each ended by a newline.
        record_count: Number of lines.
        line_sizes: int64, one per row of the Arrow batch: bytes of its line with the newline, 0 for a skipped row.
        skipped: Rows that are not sent, by their index in the whole batch, and why; in row order.
    """

    pieces: list[Buffer]
    record_count: int
    line_sizes: npt.NDArray[np.int64]
    skipped: list[tuple[int, str]]

    @property
    def jsonl(self) -> bytes:
        """The pieces as one. A copy: files and digests take the pieces as they are."""
        return b"".join(self.pieces)

    @property
    def size_bytes(self) -> int:
        """Size of all lines."""
        return int(self.line_sizes.sum())


class RecordRenderer:
    """Renders the rows of one table for one model."""

    def __init__(self, processor: BaseProcessor, template: PromptTemplate | None, schema: pa.Schema) -> None:
        """Check that the three fit together.

        Args:
            processor: With the batch's parameters.
            template: The prompt. None for embedding models, which read the column `input_text`.
            schema: Of the input.

        Raises:
            RequestError: A text model has no template, an embedding model has one, or a column that is needed is
                missing, doubled, or holds bytes.
            ConfigurationError: The processor breaks the promise that `input_is_template` makes.
        """
        if processor.kind == "embedding":
            if template is not None:
                raise RequestError(
                    f"Embedding models read the column {EMBEDDING_COLUMN!r} and take no prompt: leave prompt_id empty."
                )
            template = PromptTemplate(literals=("", ""), placeholders=(EMBEDDING_COLUMN,))
        elif template is None:
            raise RequestError("Text models need a prompt: set prompt_id.")
        reader = "The embedding model" if processor.kind == "embedding" else "The prompt"
        for column in template.columns:
            check_column(schema, column, reader)
        self.processor = processor
        self.template = template
        self._encoder = msgspec.json.Encoder()
        self._no_separator = strings_of([b""])[0]
        self._shell = self._make_shell() if processor.input_is_template else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return self.template.columns

    def render(self, batch: pa.RecordBatch, first_row: int) -> RenderedRecords:
        """Render one Arrow batch.

        Args:
            batch: Rows of the input; only the columns that the prompt reads are looked at.
            first_row: Index of its first row in the whole batch, which record ids are made of.

        Raises:
            RequestError: A value cannot be read as text, see `column_texts`, or is larger than any job's input.
        """
        pieces: list[Buffer] = []
        skipped: list[tuple[int, str]] = []
        sizes = np.zeros(batch.num_rows, dtype=np.int64)

        def render_slice(start: int, count: int) -> None:
            columns, sent, slice_skipped = self._texts(batch.slice(start, count), first_row + start, check=True)
            if len(sent) and self._shell is None:
                lines = self._encode_lines(columns, sent + (first_row + start))
                sizes[sent + start] = np.fromiter(map(len, lines), np.int64, len(lines))
                pieces.extend(lines)
            elif len(sent) and self._shell is not None:
                jsonl, line_sizes = self._fill_shell(self._shell, columns, sent + (first_row + start))
                sizes[sent + start] = line_sizes
                pieces.append(jsonl)
            skipped.extend(slice_skipped)

        _each_slice(render_slice, batch.num_rows, first_row)
        return RenderedRecords(pieces, batch.num_rows - len(skipped), sizes, skipped)

    def texts(self, batch: pa.RecordBatch) -> list[dict[str, str]]:
        """What the placeholders of a prompt stand for in each row, by column. For a few rows, none of them skipped.

        Raises:
            RequestError: See `render`.
        """
        columns, _, _ = self._texts(batch, 0, check=True)
        values = zip(*(column.to_pylist() for column in columns), strict=True) if columns else [()] * batch.num_rows
        return [dict(zip(self.columns, row, strict=True)) for row in values]

    def skipped_rows(self, batch: pa.RecordBatch, first_row: int) -> list[tuple[int, str]]:
        """The rows that `render` skips, and why, without rendering the others. For rows that were rendered before."""
        skipped: list[tuple[int, str]] = []

        def look_at_slice(start: int, count: int) -> None:
            skipped.extend(self._texts(batch.slice(start, count), first_row + start, check=False)[2])

        _each_slice(look_at_slice, batch.num_rows, first_row)
        return skipped

    def _texts(
        self, batch: pa.RecordBatch, first_row: int, *, check: bool
    ) -> tuple[list[pa.StringArray], npt.NDArray[np.int64], list[tuple[int, str]]]:
        """The texts per column of the rows that are sent, the positions of these rows in `batch`, and the others."""
        columns = [text_column(batch.column(column), column, first_row) for column in self.columns]
        if check:
            for column, texts in zip(self.columns, columns, strict=True):
                check_texts(texts, column, first_row)
        empty = [empty_values(texts) for texts in columns]
        skips = np.logical_or.reduce(empty) if empty else np.zeros(batch.num_rows, np.bool_)
        if not skips.any():
            return columns, np.arange(batch.num_rows, dtype=np.int64), []
        skipped = []
        for row in np.flatnonzero(skips).tolist():
            column = next(column for column, rows in zip(self.columns, empty, strict=True) if rows[row])
            skipped.append((first_row + row, empty_column_reason(column)))
        sent = np.flatnonzero(~skips)
        kept = pa.Array.from_buffers(pa.bool_(), batch.num_rows, [None, bitmap(~skips)])
        return [texts.filter(kept) for texts in columns], sent, skipped

    def _encode_lines(self, columns: Sequence[pa.StringArray], rows: npt.NDArray[np.int64]) -> list[bytes]:
        """One line per row, through the processor and the encoder."""
        encode = self._encoder.encode
        lines = []
        values_of_rows = zip(*(column.to_pylist() for column in columns), strict=True) if columns else [()] * len(rows)
        for row, values in zip(rows.tolist(), values_of_rows, strict=True):
            texts = dict(zip(self.columns, values, strict=True))
            prompt = self.template.literals[0]
            for placeholder, literal in zip(self.template.placeholders, self.template.literals[1:], strict=True):
                prompt += texts[placeholder] + literal
            body = self.processor.process_input(prompt)
            lines.append(encode({"recordId": record_id(row), "modelInput": body}) + b"\n")
        return lines

    def _fill_shell(
        self, shell: tuple[pa.StringScalar, ...], columns: Sequence[pa.StringArray], rows: npt.NDArray[np.int64]
    ) -> tuple[pa.Buffer, npt.NDArray[np.int64]]:
        """The lines of the rows, and the size of each."""
        escaped = dict(zip(self.columns, map(json_escaped, columns), strict=True))
        parts = [shell[0], _record_ids(rows)]
        for literal, placeholder in zip(shell[1:-1], self.template.placeholders, strict=True):
            parts += (literal, escaped[placeholder])
        try:
            lines = pc.binary_join_element_wise(*parts, shell[-1], self._no_separator)
        except pa.ArrowCapacityError as error:
            raise ColumnTooLargeError from error
        offsets, _ = byte_range(lines)
        return lines.buffers()[2].slice(offsets[0], offsets[-1] - offsets[0]), np.diff(offsets)

    def _make_shell(self) -> tuple[pa.StringScalar, ...]:
        """The constant parts of a line: before the id, from the id to the first value, between values, after the last.

        Raises:
            ConfigurationError: The body is not the same around every text.
        """
        shells = {self._split_at(probe) for probe in _PROBES}
        shell = shells.pop()
        if shells or shell is None:
            name = type(self.processor).__name__
            raise ConfigurationError(
                f"{name} sets input_is_template, but its process_input does not put the text into the body exactly "
                "once, whole and unchanged: correct it, or set input_is_template to False."
            )
        before, after = shell
        literals = [self._encoder.encode(literal)[1:-1] for literal in self.template.literals]
        literals[0] = b'","modelInput":' + before + literals[0]
        literals[-1] += after + b"}\n"
        return tuple(strings_of([b'{"recordId":"', *literals]))

    def _split_at(self, text: str) -> tuple[bytes, bytes] | None:
        body: Any = self._encoder.encode(self.processor.process_input(text))
        parts = body.split(self._encoder.encode(text))
        if len(parts) != 2:
            return None
        return parts[0] + b'"', b'"' + parts[1]


def _each_slice(work: Callable[[int, int], None], row_count: int, first_row: int) -> None:
    """Call `work` with the start and the row count of each slice, or of its halves if its texts are too large.

    Raises:
        RequestError: One row alone is too large.
    """
    waiting = [(start, min(_SLICE_ROWS, row_count - start)) for start in range(0, row_count, _SLICE_ROWS)][::-1]
    while waiting:
        start, count = waiting.pop()
        try:
            work(start, count)
        except ColumnTooLargeError as error:
            if count == 1:
                raise RequestError(
                    f"The record of row {first_row + start + 1} (counted from 1) has more than a gigabyte, the most "
                    "that an input file may have: shorten its text."
                ) from error
            half = count // 2
            waiting += [(start + half, count - half), (start, half)]


def _record_ids(rows: npt.NDArray[np.int64]) -> pa.StringArray:
    digits = np.empty((len(rows), ID_BYTES), dtype=np.uint8)
    digits[:, 0] = ord("r")
    digits[:, 1:] = rows[:, None] // _POWERS_OF_TEN % 10 + ord("0")
    offsets = np.arange(0, ID_BYTES * (len(rows) + 1), ID_BYTES, dtype=np.int32)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(digits))
