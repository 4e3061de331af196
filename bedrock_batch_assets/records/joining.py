"""Answers back to their rows.

Answers are kept as the bytes that Arrow columns are made of, one slot per row of the chunk: 100,000 embeddings of 1024
numbers are 400 MB here, and several GB as lists of Python numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.records.parsing import BinaryReader, OutputParser, OutputRecord
from bedrock_batch_assets.records.rendering import RecordRenderer, row_of

if TYPE_CHECKING:
    import numpy.typing as npt

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

# Offsets of Arrow's string columns are 32 bits wide.
_MAX_BYTES = 2**31 - 1
_NUMBER_BYTES = 4
_NO_ANSWER = ModelAnswer()


# In order of worth: of two lines for a record, the one of higher worth counts. Plain numbers, since an enum's members
# cost more to reach than all the rest of what is done per line (measured).
_STATUSES = ("missing", "skipped", "error", "truncated", "ok")
_MISSING, _SKIPPED, _ERROR, _TRUNCATED, _OK = range(5)


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


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """What one output file holds: lines that are not blank, and the tokens of every answer in them."""

    lines: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: OutputCounts) -> OutputCounts:
        """The counts of two files together."""
        return OutputCounts(
            self.lines + other.lines,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


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
        # One slot per row. The contents are UTF-8 text or float32 numbers, empty where there is no answer.
        self._status = bytearray(row_count)
        self._contents = [b""] * row_count
        self._stop_reasons = [b""] * row_count
        self._input_tokens: list[int | None] = [None] * row_count
        self._output_tokens: list[int | None] = [None] * row_count
        self._lines = [0] * row_count
        self._waves: dict[int, int] = {}
        self._errors: dict[int, bytes] = {}
        # Many records stop, or fail, for the same reason: it is encoded and kept once.
        self._reasons: dict[str | None, bytes] = {None: b""}
        self._counts = {field.name: 0 for field in fields(JoinSummary) if field.name != "rows"}

    def add_outputs(self, source: BinaryReader | Iterable[bytes], wave: int = 0) -> OutputCounts:
        """Read one output file.

        A record may occur in several lines and files. A whole answer beats a truncated one, and that beats an error;
        else the first line counts, and an error of a later wave replaces that of an earlier one.

        Args:
            source: A binary file, or its content in blocks.
            wave: 0 for the chunk's first job, 1 for the job that re-sent the records that it failed, and so on.

        Returns:
            What the file holds, whether or not it counts for a row.
        """
        first_row, row_count, counts = self._first_row, self._row_count, self._counts
        lines = input_tokens = output_tokens = 0
        for record in self._parser.parse(source):
            lines += 1
            if (answer := record.answer) is not None:
                input_tokens += answer.input_tokens or 0
                output_tokens += answer.output_tokens or 0
            row = row_of(record.record_id)
            if record.corrupt:
                counts["corrupt_lines"] += 1
            if row is None or not 0 <= row - first_row < row_count:
                # A corrupt line is not counted twice.
                counts["unknown_record_ids"] += not record.corrupt
                continue
            self._keep(row - first_row, record, wave)
        return OutputCounts(lines, input_tokens, output_tokens)

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
        if (size := sum(map(len, self._contents[start:stop]))) > _MAX_BYTES:
            raise ValueError(f"the answers of {batch.num_rows} rows have {size} bytes: join fewer at a time")
        errors = self._settle(batch, start, stop)
        status = self._status[start:stop]
        for code, name in enumerate(_STATUSES):
            self._counts[name] += status.count(code)
        names = [name.encode() for name in _STATUSES]
        columns = [
            _column([names[code] for code in status], pa.string()),
            _column(errors, pa.string()),
            _column(self._stop_reasons[start:stop], pa.string()),
            self._token_column("input_tokens", self._input_tokens[start:stop]),
            self._token_column("output_tokens", self._output_tokens[start:stop]),
            _column(self._contents[start:stop], pa.string() if self._is_text else EMBEDDING_FIELD.type),
        ]
        # They are handed out once, and embeddings are large.
        self._contents[start:stop] = [b""] * batch.num_rows
        self._next_row += batch.num_rows
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema)

    @property
    def summary(self) -> JoinSummary:
        """The counts of the rows joined so far."""
        counts = self._counts
        rows = sum(counts[status] for status in _STATUSES)
        return JoinSummary(rows=rows, **counts)

    def _keep(self, slot: int, record: OutputRecord, wave: int) -> None:
        answer, error = record.answer, record.error
        status, content = _ERROR, b""
        if answer is not None:
            try:
                content = self._content_of(answer)
            except (struct.error, OverflowError, TypeError) as problem:
                error = f"unexpected model output: {problem}"
            else:
                if content:
                    status = _TRUNCATED if answer.truncated else _OK
                else:
                    error = f"the model returned no content (stop reason: {answer.stop_reason or 'none given'})"
        earlier_lines = self._lines[slot]
        self._lines[slot] = earlier_lines + 1
        if earlier_lines:
            if not self._beats_earlier_line(slot, status, wave):
                return
        elif wave:
            self._waves[slot] = wave
        self._status[slot] = status
        self._contents[slot] = content
        if error is not None:
            self._errors[slot] = self._reason(error)
        if answer is None:
            answer = _NO_ANSWER
        self._stop_reasons[slot] = self._reason(answer.stop_reason)
        self._input_tokens[slot] = answer.input_tokens
        self._output_tokens[slot] = answer.output_tokens

    def _beats_earlier_line(self, slot: int, status: int, wave: int) -> bool:
        """Whether a further line for a record replaces what is known. Forgets it if so, and counts duplicates."""
        last_wave = self._waves.get(slot, 0)
        self._counts["duplicate_lines"] += wave == last_wave
        self._waves[slot] = max(wave, last_wave)
        current = self._status[slot]
        if status > current or (status == current == _ERROR and wave > last_wave):
            self._errors.pop(slot, None)
            return True
        return False

    def _content_of(self, answer: ModelAnswer) -> bytes:
        if self._is_text:
            return _encoded(answer.response) if answer.response else b""
        if not answer.embedding:
            return b""
        # Twice as fast as array or numpy (measured).
        vector = struct.pack(f"{len(answer.embedding)}f", *answer.embedding)
        if not np.isfinite(np.frombuffer(vector, np.float32)).all():
            raise OverflowError("the embedding has a number that is infinite or none")
        return vector

    def _reason(self, text: str | None) -> bytes:
        encoded = self._reasons.get(text)
        if encoded is None:
            encoded = self._reasons[text] = _encoded(text or "")
        return encoded

    def _settle(self, batch: pa.RecordBatch, start: int, stop: int) -> list[bytes]:
        """Mark the skipped rows. Returns why a row has no answer, for every row that has none."""
        errors = [b""] * (stop - start)
        missing = MISSING_REASON.encode()
        # Copies, since a view would forbid the buffer to change.
        status = np.frombuffer(self._status[start:stop], np.uint8)
        for index in np.flatnonzero(status <= _ERROR).tolist():
            errors[index] = self._errors.get(start + index, missing)
        for row, reason in self._renderer.skipped_rows(batch, self._first_row + start):
            slot = row - self._first_row
            # It was never sent, so a line with its id is not about it.
            self._counts["unknown_record_ids"] += self._lines[slot]
            self._status[slot] = _SKIPPED
            self._contents[slot] = self._stop_reasons[slot] = b""
            self._input_tokens[slot] = self._output_tokens[slot] = None
            errors[slot - start] = _encoded(reason)
        return errors

    def _token_column(self, name: str, tokens: Sequence[int | None]) -> pa.Array:
        validity = None
        if None in tokens:
            validity = _bitmap(np.array([count is not None for count in tokens], np.bool_))
            tokens = [count or 0 for count in tokens]
        values = np.array(tokens, np.int64)
        self._counts[name] += int(values.sum())
        return pa.Array.from_buffers(pa.int64(), len(tokens), [validity, pa.py_buffer(values)])


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


def _encoded(text: str) -> bytes:
    # A processor of somebody's own may hand over half a surrogate pair, which UTF-8 has no bytes for.
    return text.encode("utf-8", "replace")


def _column(contents: Sequence[bytes], kind: pa.DataType) -> pa.Array:
    """A column of strings or of lists of float32 numbers, made of their bytes; empty ones are null.

    `pa.array` would do, but it imports pandas: 34 MB, in a process that shares its machine with many.
    """
    lengths = np.fromiter(map(len, contents), np.int64, len(contents))
    offsets = np.zeros(len(contents) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    validity = _bitmap(lengths > 0)
    data = pa.py_buffer(b"".join(contents))
    if pa.types.is_string(kind):
        return pa.Array.from_buffers(kind, len(contents), [validity, pa.py_buffer(offsets.astype(np.int32)), data])
    numbers = pa.Array.from_buffers(pa.float32(), offsets[-1] // _NUMBER_BYTES, [None, data])
    starts = pa.py_buffer((offsets // _NUMBER_BYTES).astype(np.int32))
    return pa.Array.from_buffers(kind, len(contents), [validity, starts], children=[numbers])


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
