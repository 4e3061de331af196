"""Answers back to their rows.

Answers are kept in flat buffers, one slot per row of the chunk, and never as Python objects: 100,000 embeddings of
1024 numbers are 400 MB here, and several GB as lists.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.records.parsing import BinaryReader, OutputParser, OutputRecord
from bedrock_batch_assets.records.rendering import RecordRenderer, row_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.processors.base import ModelAnswer

RESPONSE_FIELD = pa.field("response", pa.string())
EMBEDDING_FIELD = pa.field("embedding", pa.list_(pa.float32()))
_STATUS_FIELDS = (
    pa.field("record_status", pa.string(), nullable=False),
    pa.field("record_error", pa.string()),
    pa.field("stop_reason", pa.string()),
    pa.field("input_tokens", pa.int64()),
    pa.field("output_tokens", pa.int64()),
)
# Every name that the join may add. An input table must have none of them.
OUTPUT_COLUMNS: tuple[str, ...] = (*(field.name for field in _STATUS_FIELDS), RESPONSE_FIELD.name, EMBEDDING_FIELD.name)

MISSING_REASON = "the job's output has no line for this record"

# Offsets of Arrow's string and list columns are 32 bits wide.
_MAX_OFFSET = 2**31 - 1
_NO_TOKENS = -1
_NO_STOP_REASON = 0


class _Status(IntEnum):
    """In order of worth: of two lines for a record, the one of higher worth counts."""

    missing = 0
    skipped = 1
    error = 2
    truncated = 3
    ok = 4


@dataclass(frozen=True, slots=True)
class JoinSummary:
    """Counts of one chunk. `rows == ok + error + truncated + skipped + missing`.

    Attributes:
        rows: Rows that were joined.
        ok: Rows with a whole answer.
        error: Rows whose record the service or the model failed, or whose answer could not be read.
        truncated: Rows with an answer that stopped at the token limit.
        skipped: Rows that were never sent.
        missing: Rows that were sent, and of which no output line speaks.
        duplicate_lines: Output lines beyond the first for a record, within one wave.
        corrupt_lines: Output lines that could not be read.
        unknown_record_ids: Output lines with a record id that none of the chunk's sent rows has.
        input_tokens: Sum of the column.
        output_tokens: Sum of the column.
    """

    rows: int = 0
    ok: int = 0
    error: int = 0
    truncated: int = 0
    skipped: int = 0
    missing: int = 0
    duplicate_lines: int = 0
    corrupt_lines: int = 0
    unknown_record_ids: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class OutputJoin:
    """Joins the output files of one chunk to its rows, on the record id.

    Call `add_outputs` for every file, then `join` for every Arrow batch of the chunk's rows, in order.
    """

    def __init__(self, renderer: RecordRenderer, first_row: int, row_count: int) -> None:
        """Make room for a chunk.

        Args:
            renderer: The one that the records were rendered with; it knows the processor and the skipped rows.
            first_row: Index of the chunk's first row in the whole batch.
            row_count: Number of the chunk's rows.
        """
        self._renderer = renderer
        self._parser = OutputParser(renderer.processor)
        self._is_text = renderer.processor.kind == "text"
        self._first_row = first_row
        self._row_count = row_count
        self._next_row = first_row
        self._status = bytearray(row_count)
        self._wave = array("i", bytes(4 * row_count))
        self._lines = array("i", bytes(4 * row_count))
        self._input_tokens = array("q", [_NO_TOKENS]) * row_count
        self._output_tokens = array("q", [_NO_TOKENS]) * row_count
        self._stop_reason = array("i", bytes(4 * row_count))
        self._stop_reasons: dict[str | None, int] = {None: _NO_STOP_REASON}
        self._errors: dict[int, str] = {}
        self._reasons: dict[str, str] = {}
        # The answers themselves: UTF-8 text or float32 numbers, in order of arrival.
        self._content = bytearray()
        self._content_start = array("q", bytes(8 * row_count))
        self._content_length = array("q", bytes(8 * row_count))
        self._counts = {field.name: 0 for field in fields(JoinSummary) if field.name != "rows"}

    def add_outputs(self, source: BinaryReader | Iterable[bytes], wave: int = 0) -> None:
        """Read one output file.

        A record may occur in several lines and files. A whole answer beats a truncated one, and that beats an error;
        else the first line counts, and an error of a later wave replaces that of an earlier one.

        Args:
            source: A binary file, or its content in blocks.
            wave: 0 for the chunk's first job, 1 for the job that re-sent the records that it failed, and so on.
        """
        first_row, row_count = self._first_row, self._row_count
        for record in self._parser.parse(source):
            if record.corrupt:
                self._counts["corrupt_lines"] += 1
                if record.record_id is None:
                    continue
            row = row_of(record.record_id)
            if row is None or not 0 <= row - first_row < row_count:
                # A corrupt line is not counted twice.
                self._counts["unknown_record_ids"] += not record.corrupt
                continue
            self._keep(row - first_row, record, wave)

    def join(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The next rows of the chunk, with the answers' columns after their own.

        Args:
            batch: Rows that follow those of the previous call. A few thousand are best: their answers are copied.

        Returns:
            As many rows, in the same order, with the schema `joined_schema`.

        Raises:
            RequestError: The input has a column that the join adds.
            ValueError: There are more rows than the chunk has, or their answers are larger than 2 GiB together, which
                is what an Arrow string column holds.
        """
        start = self._next_row - self._first_row
        stop = start + batch.num_rows
        if stop > self._row_count:
            raise ValueError(f"row {self._first_row + stop - 1} is not in the chunk of {self._row_count} rows")
        schema = joined_schema(batch.schema, self._renderer)
        errors = self._settle(batch, start, stop)
        status = np.frombuffer(self._status, np.uint8)[start:stop]
        for value in _Status:
            self._counts[value.name] += int(np.count_nonzero(status == value))
        columns = [
            _pick(status, [value.name for value in _Status]),
            _strings([errors.get(slot) for slot in range(start, stop)]),
            _pick(np.frombuffer(self._stop_reason, np.int32)[start:stop], list(self._stop_reasons)),
            self._token_column("input_tokens", self._input_tokens, start, stop),
            self._token_column("output_tokens", self._output_tokens, start, stop),
            self._content_column(status, start, stop),
        ]
        self._next_row += batch.num_rows
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema)

    @property
    def summary(self) -> JoinSummary:
        """The counts of the rows joined so far."""
        counts = self._counts
        rows = sum(counts[status.name] for status in _Status)
        return JoinSummary(rows=rows, **counts)

    def _keep(self, slot: int, record: OutputRecord, wave: int) -> None:
        answer, error = record.answer, record.error
        status, content = _Status.error, b""
        if answer is not None:
            content = self._content_of(answer)
            if content:
                status = _Status.truncated if answer.truncated else _Status.ok
            else:
                error = f"the model returned no content (stop reason: {answer.stop_reason or 'none given'})"
        last_wave, earlier_lines = self._wave[slot], self._lines[slot]
        self._lines[slot] = earlier_lines + 1
        if earlier_lines and wave == last_wave:
            self._counts["duplicate_lines"] += 1
        self._wave[slot] = max(wave, last_wave)
        current = self._status[slot]
        if status < current or (status == current and (status != _Status.error or wave <= last_wave)):
            return
        self._status[slot] = status
        if status is _Status.error:
            # Many records fail for one reason: keep its text once.
            self._errors[slot] = self._reasons.setdefault(error or "", error or "")
        else:
            self._errors.pop(slot, None)
            self._content_start[slot] = len(self._content)
            self._content_length[slot] = len(content)
            self._content += content
        if answer is None:
            self._stop_reason[slot] = _NO_STOP_REASON
            self._input_tokens[slot] = self._output_tokens[slot] = _NO_TOKENS
            return
        self._stop_reason[slot] = self._stop_reasons.setdefault(answer.stop_reason, len(self._stop_reasons))
        self._input_tokens[slot] = _NO_TOKENS if answer.input_tokens is None else answer.input_tokens
        self._output_tokens[slot] = _NO_TOKENS if answer.output_tokens is None else answer.output_tokens

    def _content_of(self, answer: ModelAnswer) -> bytes:
        if self._is_text:
            # A processor of somebody's own may hand over half a surrogate pair, which UTF-8 has no bytes for.
            return answer.response.encode("utf-8", "replace") if answer.response else b""
        return array("f", answer.embedding).tobytes() if answer.embedding else b""

    def _settle(self, batch: pa.RecordBatch, start: int, stop: int) -> dict[int, str]:
        """Mark the skipped rows, and give every row that has no answer its reason, by slot."""
        errors = {slot: self._errors[slot] for slot in range(start, stop) if slot in self._errors}
        for slot in range(start, stop):
            if self._status[slot] == _Status.missing:
                errors[slot] = MISSING_REASON
        for row, reason in self._renderer.skipped_rows(batch, self._first_row + start):
            slot = row - self._first_row
            # It was never sent, so a line with its id is not about it.
            self._counts["unknown_record_ids"] += self._lines[slot]
            self._status[slot] = _Status.skipped
            self._stop_reason[slot] = _NO_STOP_REASON
            self._input_tokens[slot] = self._output_tokens[slot] = _NO_TOKENS
            errors[slot] = reason
        return errors

    def _token_column(self, name: str, tokens: array[int], start: int, stop: int) -> pa.Array:
        values = np.frombuffer(tokens, np.int64)[start:stop].copy()
        known = values != _NO_TOKENS
        self._counts[name] += int(values[known].sum())
        return pa.Array.from_buffers(pa.int64(), len(values), [_bitmap(known), pa.py_buffer(values)])

    def _content_column(self, status: npt.NDArray[np.uint8], start: int, stop: int) -> pa.Array:
        has_content = status >= _Status.truncated
        lengths = np.where(has_content, np.frombuffer(self._content_length, np.int64)[start:stop], 0)
        content, starts = self._content, self._content_start
        slots = (np.flatnonzero(has_content) + start).tolist()
        values = b"".join([content[starts[slot] : starts[slot] + self._content_length[slot]] for slot in slots])
        if self._is_text:
            return _variable_size(pa.string(), has_content, lengths, pa.py_buffer(values))
        numbers = pa.Array.from_buffers(pa.float32(), len(values) // 4, [None, pa.py_buffer(values)])
        return _variable_size(EMBEDDING_FIELD.type, has_content, lengths // 4, None, [numbers])


def joined_schema(schema: pa.Schema, renderer: RecordRenderer) -> pa.Schema:
    """The schema of the result: the input's columns, then the join's.

    The input's metadata is left out: what pandas and Hugging Face note there describes the input's columns alone.

    Raises:
        RequestError: The input has a column that the join adds.
    """
    answer = RESPONSE_FIELD if renderer.processor.kind == "text" else EMBEDDING_FIELD
    added = [*_STATUS_FIELDS, answer]
    for field in added:
        if field.name in schema.names:
            raise RequestError(f"The input has a column {field.name!r}, which the result adds: rename the input's.")
    return pa.schema([*schema, *added])


def _pick(indices: npt.NDArray[np.uint8] | npt.NDArray[np.int32], texts: list[str] | list[str | None]) -> pa.Array:
    """The text of each index."""
    codes = indices.astype(np.int32)
    code_array = pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes)])
    return _strings(texts).take(code_array)


# `pa.array` would do for the following, and import pandas: 34 MB, in a process that shares its machine with many.


def _strings(texts: Sequence[str | None]) -> pa.Array:
    encoded = [text.encode("utf-8", "replace") if text is not None else b"" for text in texts]
    valid = np.fromiter((text is not None for text in texts), np.bool_, len(texts))
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return _variable_size(pa.string(), valid, lengths, pa.py_buffer(b"".join(encoded)))


def _variable_size(
    kind: pa.DataType,
    valid: npt.NDArray[np.bool_],
    lengths: npt.NDArray[np.int64],
    data: pa.Buffer | None,
    children: list[pa.Array] | None = None,
) -> pa.Array:
    """A string or list column from the length of each value, 0 for a null."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > _MAX_OFFSET:
        raise ValueError(f"{len(lengths)} rows have {offsets[-1]} bytes or numbers of answers: join fewer at a time")
    buffers = [_bitmap(valid), pa.py_buffer(offsets.astype(np.int32))]
    if data is not None:
        buffers.append(data)
    return pa.Array.from_buffers(kind, len(lengths), buffers, children=children)


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
