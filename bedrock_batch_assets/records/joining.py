"""Answers back to their rows.

Output lines come in any order and any number, so there is a slot per row of the chunk: numbers in arrays (50 bytes a
row), and texts and vectors, which may be gigabytes, in a spool. A block's first answers are put into their slots
together; errors, and further lines for a record, one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.records.answer_blocks import UNKNOWN, AnswerBlock, encoded
from bedrock_batch_assets.records.block_reader import BlockReader
from bedrock_batch_assets.records.parsing import BinaryReader
from bedrock_batch_assets.records.reasons import Reason, ReasonCounts
from bedrock_batch_assets.records.rendering import RecordRenderer
from bedrock_batch_assets.records.spool import Spool
from bedrock_batch_assets.records.string_columns import bitmap, string_column, strings_of

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    import numpy.typing as npt

RESPONSE_FIELD = pa.field("response", pa.string())
EMBEDDING_FIELD = pa.field("embedding", pa.list_(pa.float32()))
_STATUS_FIELDS = (
    pa.field("record_status", pa.string(), nullable=False),
    pa.field("record_error", pa.string()),
    pa.field("stop_reason", pa.string()),
    pa.field("input_tokens", pa.int64()),
    pa.field("output_tokens", pa.int64()),
    pa.field("answered_by", pa.string()),
)
# Every column that the join may add. An input table must not have them.
OUTPUT_COLUMNS: tuple[str, ...] = (*(field.name for field in _STATUS_FIELDS), RESPONSE_FIELD.name, EMBEDDING_FIELD.name)

MISSING_REASON = "the job's output has no line for this record"
TRUNCATED_REASON = "the answer stopped at the token limit"
_REASONS_KEPT = 10

# Offsets of Arrow's string columns are 32 bits wide.
_MAX_BYTES = 2**31 - 1
_NUMBER_BYTES = 4


# Statuses by rank: of two lines for a record, the one of higher rank counts. They are plain numbers, since the
# members of an enum cost more to reach than all the rest of what is done per line (measured).
_STATUSES = ("missing", "skipped", "error", "truncated", "ok")
_STATUS_NAMES = tuple(name.encode() for name in _STATUSES)
_MISSING, _SKIPPED, _ERROR, _TRUNCATED, _OK = range(5)

# The values of `answered_by`: null for a row without an output line; the last for a row whose answer was paid for
# elsewhere.
_ANSWERED_BY = (b"", b"job", b"on_demand")
_NOBODY, _JOB, _ON_DEMAND = range(3)
REUSED = "reused"


@dataclass(frozen=True, slots=True)
class JoinSummary:
    """Counts of one chunk. `rows == ok + error + truncated + skipped + missing`.

    Attributes:
        rows: Rows that were joined.
        ok: Rows with a whole answer.
        error: Rows whose record the service or the model failed, or whose answer could not be read.
        truncated: Rows with an answer that stopped at the token limit.
        skipped: Rows that were never sent.
        missing: Rows that were sent, and that have no output line.
        duplicate_lines: Output lines beyond the first for a record, within one wave.
        corrupt_lines: Output lines that could not be read.
        unknown_record_ids: Output lines with a record id that none of the chunk's sent rows has.
        input_tokens: Sum of the column.
        output_tokens: Sum of the column.
        reasons: Why rows have no whole answer: the ten reasons with most rows.
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
    reasons: tuple[Reason, ...] = ()


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

    Call `add_outputs` for every file, then `join` for every Arrow batch of the chunk's rows, in order. A context
    manager, since it may hold a file.

    Attributes:
        renderer: The one that the records were rendered with.
        next_row: Index in the whole batch of the row that comes next.
    """

    def __init__(self, renderer: RecordRenderer, first_row: int, row_count: int) -> None:
        """Make room for a chunk.

        Args:
            renderer: The one that the records were rendered with; it knows the processor and the skipped rows.
            first_row: Index of the chunk's first row in the whole batch.
            row_count: Number of the chunk's rows.
        """
        self.renderer = renderer
        self._reader = BlockReader(renderer.processor)
        self._is_text = renderer.processor.kind == "text"
        self._first_row = first_row
        self._row_count = row_count
        self.next_row = first_row
        # One slot per row. The contents are UTF-8 text or float32 numbers, of no length if there is no answer.
        self._spool = Spool()
        self._starts = np.zeros(row_count, np.int64)
        self._lengths = np.zeros(row_count, np.int64)
        self._status = np.zeros(row_count, np.uint8)
        self._stop_reasons = np.zeros(row_count, np.int32)
        self._input_tokens = np.full(row_count, UNKNOWN, np.int64)
        self._output_tokens = np.full(row_count, UNKNOWN, np.int64)
        self._lines = np.zeros(row_count, np.int32)
        self._answered_by = np.full(row_count, _NOBODY, np.uint8)
        self._waves: dict[int, int] = {}
        self._errors: dict[int, bytes] = {}
        # Many records stop for the same reason, so each reason is encoded and kept once.
        self._reason_codes: dict[str | None, int] = {None: 0}
        self._reasons: list[bytes] = [b""]
        self._answering = _JOB
        self._counts = {field.name: 0 for field in fields(JoinSummary) if field.name not in {"rows", "reasons"}}
        self._reason_counts = ReasonCounts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add_outputs(
        self, source: BinaryReader | Iterable[bytes], wave: int = 0, *, on_demand: bool = False
    ) -> OutputCounts:
        """Read one output file.

        A record may occur in several lines and files. A whole answer beats a truncated one, and that beats an error;
        else the first line counts, and an error of a later wave replaces that of an earlier one.

        Args:
            source: A binary file, or its content in blocks.
            wave: 0 for the chunk's first job, 1 for the job that re-sent the records that it failed, and so on.
            on_demand: Whether the records were asked for on demand, and by no job.

        Returns:
            What the file holds, whether or not it counts for a row.
        """
        self._answering = _ON_DEMAND if on_demand else _JOB
        seen = OutputCounts()
        for found in self._reader.read(source):
            block = self._spooled(found)
            seen += OutputCounts(len(block), _total(block.input_tokens), _total(block.output_tokens))
            slots = self._slots(block)
            for place in self._keep_first_answers(block, slots, wave):
                if slots[place] >= 0:
                    self._keep(int(slots[place]), block, place, wave)
        return seen

    def _spooled(self, block: AnswerBlock) -> AnswerBlock:
        """The block with its answers in the spool, and this join's codes for its stop reasons."""
        codes = np.array([self._reason_code(reason) for reason in block.reasons], np.int64)
        start = self._spool.append_all(block.contents)
        return replace(block, starts=block.starts + start, stop_reasons=codes[block.stop_reasons], contents=[])

    def _slots(self, block: AnswerBlock) -> npt.NDArray[np.int64]:
        """The slot of each line, -1 if it has none. Counts lines that are corrupt or belong to no record."""
        slots = block.rows - self._first_row
        slots[(slots < 0) | (slots >= self._row_count)] = -1
        self._counts["corrupt_lines"] += int(np.count_nonzero(block.corrupt))
        # A corrupt line is not counted twice.
        self._counts["unknown_record_ids"] += int(np.count_nonzero((slots < 0) & ~block.corrupt))
        return slots

    def _keep_first_answers(self, block: AnswerBlock, slots: npt.NDArray[np.int64], wave: int) -> Iterable[int]:
        """Put answers into the slots of records that have had no line yet, all at once.

        Returns the places, in order, of the lines that are left: errors, and further lines for a record.
        """
        is_first = np.zeros(len(block), np.bool_)
        is_first[np.unique(slots, return_index=True)[1]] = True
        is_first &= (slots >= 0) & (block.lengths > 0)
        is_first[is_first] = self._lines[slots[is_first]] == 0
        places = np.flatnonzero(is_first)
        if len(places):
            rows = slots[places]
            self._starts[rows] = block.starts[places]
            self._lengths[rows] = block.lengths[places]
            self._status[rows] = np.where(block.truncated[places], _TRUNCATED, _OK)
            self._stop_reasons[rows] = block.stop_reasons[places]
            self._input_tokens[rows] = block.input_tokens[places]
            self._output_tokens[rows] = block.output_tokens[places]
            self._lines[rows] = 1
            self._answered_by[rows] = self._answering
            if wave:
                self._waves.update(dict.fromkeys(rows.tolist(), wave))
        return np.flatnonzero(~is_first).tolist()

    def _keep(self, slot: int, block: AnswerBlock, place: int, wave: int) -> None:
        error = block.errors.get(place)
        status = _ERROR if error is not None else _TRUNCATED if block.truncated[place] else _OK
        earlier_lines = self._lines[slot]
        self._lines[slot] = earlier_lines + 1
        if earlier_lines:
            if not self._beats_earlier_line(slot, status, wave):
                return
        elif wave:
            self._waves[slot] = wave
        self._status[slot] = status
        self._answered_by[slot] = self._answering
        self._starts[slot] = block.starts[place]
        self._lengths[slot] = block.lengths[place]
        if error is not None:
            self._errors[slot] = encoded(error)
        self._stop_reasons[slot] = block.stop_reasons[place]
        self._input_tokens[slot] = block.input_tokens[place]
        self._output_tokens[slot] = block.output_tokens[place]

    def _beats_earlier_line(self, slot: int, status: int, wave: int) -> bool:
        """Whether a further line for a record replaces the earlier one, which is then dropped. Counts duplicates."""
        last_wave = self._waves.get(slot, 0)
        self._counts["duplicate_lines"] += wave == last_wave
        self._waves[slot] = max(wave, last_wave)
        current = self._status[slot]
        if status > current or (status == current == _ERROR and wave > last_wave):
            self._errors.pop(slot, None)
            return True
        return False

    def _reason_code(self, reason: str | None) -> int:
        code = self._reason_codes.get(reason)
        if code is None:
            code = self._reason_codes[reason] = len(self._reasons)
            self._reasons.append(encoded(reason or ""))
        return code

    def join(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The next rows of the chunk, with the answers' columns after their own.

        Args:
            batch: Rows that follow those of the previous call. A few thousand are best: their answers are copied.

        Returns:
            As many rows, in the same order, with the schema `joined_schema`.

        Raises:
            RequestError: The input has a column that the join adds.
            ValueError: As for `answers`.
        """
        schema = joined_schema(batch.schema, self.renderer)
        skipped = self.renderer.skipped_rows(batch, self.next_row)
        return pa.RecordBatch.from_arrays(
            [*batch.columns, *self.answers(batch.num_rows, skipped).columns], schema=schema
        )

    def answers(self, row_count: int, skipped: Iterable[tuple[int, str]] = ()) -> pa.RecordBatch:
        """The answers' columns alone, for the next rows of the chunk.

        Args:
            row_count: How many.
            skipped: Which of these rows were not sent, and why, see `RecordRenderer.skipped_rows`.

        Raises:
            ValueError: There are more rows than the chunk has, or their answers are larger than 2 GiB together, which
                is what an Arrow string column holds.
        """
        start = self.next_row - self._first_row
        stop = start + row_count
        if stop > self._row_count:
            raise ValueError(f"row {self._first_row + stop - 1} is not in the chunk of {self._row_count} rows")
        if (size := self.answer_bytes(row_count)) > _MAX_BYTES:
            raise ValueError(f"the answers of {row_count} rows have {size} bytes: join fewer at a time")
        errors = self._settle(start, stop, skipped)
        status = self._status[start:stop]
        for name, count in zip(_STATUSES, np.bincount(status, minlength=len(_STATUSES)).tolist(), strict=True):
            self._counts[name] += count
        lengths = self._lengths[start:stop]
        contents = self._spool.gather(self._starts[start:stop], lengths)
        columns = [
            _texts_at(status.astype(np.int32), _STATUS_NAMES),
            strings_of(errors, empty_is_null=True) if any(errors) else pa.nulls(len(errors), pa.string()),
            _texts_at(self._stop_reasons[start:stop], self._reasons),
            self._token_column("input_tokens", self._input_tokens[start:stop]),
            self._token_column("output_tokens", self._output_tokens[start:stop]),
            _texts_at(self._answered_by[start:stop].astype(np.int32), _ANSWERED_BY),
            string_column(contents, lengths, empty_is_null=True) if self._is_text else _vectors(contents, lengths),
        ]
        self.next_row += row_count
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(_added_fields(self.renderer)))

    def answer_bytes(self, row_count: int) -> int:
        """The size of the answers to the next rows."""
        start = self.next_row - self._first_row
        return int(self._lengths[start : start + row_count].sum())

    @property
    def summary(self) -> JoinSummary:
        """The counts of the rows joined so far."""
        counts = self._counts
        rows = sum(counts[status] for status in _STATUSES)
        return JoinSummary(rows=rows, **counts, reasons=tuple(self._reason_counts.most_frequent(_REASONS_KEPT)))

    @property
    def unanswered(self) -> list[int]:
        """The joined rows without any answer, errors and missing ones, counted from the first of the chunk."""
        status = self._status[: self.next_row - self._first_row]
        return np.flatnonzero((status == _ERROR) | (status == _MISSING)).tolist()

    def _settle(self, start: int, stop: int, skipped: Iterable[tuple[int, str]]) -> list[bytes]:
        """Mark the skipped rows. Returns why a row has no whole answer, for every row that has none."""
        errors = [b""] * (stop - start)
        missing = MISSING_REASON.encode()
        for index in np.flatnonzero(self._status[start:stop] == _TRUNCATED).tolist():
            errors[index] = self._truncation(int(self._stop_reasons[start + index]))
        for index in np.flatnonzero(self._status[start:stop] <= _ERROR).tolist():
            errors[index] = self._errors.get(start + index, missing)
        for row, reason in skipped:
            slot = row - self._first_row
            # The record was never sent, so a line with its id is not its answer.
            self._counts["unknown_record_ids"] += int(self._lines[slot])
            self._status[slot] = _SKIPPED
            self._lengths[slot] = self._stop_reasons[slot] = self._answered_by[slot] = 0
            self._input_tokens[slot] = self._output_tokens[slot] = UNKNOWN
            errors[slot - start] = encoded(reason)
        self._count_reasons(start, stop, errors)
        return errors

    def _count_reasons(self, start: int, stop: int, errors: list[bytes]) -> None:
        """Count why rows have no whole answer. Rows of the very same reason are added up before its text is read."""
        status = self._status[start:stop]
        places = np.flatnonzero(status != _OK)
        found = list(zip(status[places].tolist(), (errors[place] for place in places.tolist()), strict=True))
        rows = Counter(found)
        # Counted from the last to the first: the first place of a reason stays.
        first = dict(zip(reversed(found), reversed(places.tolist()), strict=True))
        for (code, error), count in rows.items():
            row = self._first_row + start + first[code, error]
            self._reason_counts.add(Reason(_STATUSES[code], error.decode(), count, row))

    def _truncation(self, code: int) -> bytes:
        reason = self._reasons[code]
        return TRUNCATED_REASON.encode() + (b" (stop reason: " + reason + b")" if reason else b"")

    def _token_column(self, name: str, tokens: npt.NDArray[np.int64]) -> pa.Array:
        known = tokens != UNKNOWN
        values = np.where(known, tokens, 0)
        self._counts[name] += int(values.sum())
        validity = None if known.all() else bitmap(known)
        return pa.Array.from_buffers(pa.int64(), len(values), [validity, pa.py_buffer(values)])


def joined_schema(schema: pa.Schema, renderer: RecordRenderer) -> pa.Schema:
    """The schema of the result: the input's columns, then the join's.

    The input's metadata is left out: what pandas and Hugging Face note there describes the input's columns alone.

    Raises:
        RequestError: The input has a column that the join adds.
    """
    for field in _added_fields(renderer):
        if field.name in schema.names:
            raise RequestError(f"The input has a column {field.name!r}, which the result adds: rename the input's.")
    return result_schema(schema, is_text=renderer.processor.kind == "text")


def result_schema(schema: pa.Schema, *, is_text: bool) -> pa.Schema:
    """The schema of a result: the input's columns, then those of a text model's answers, or of an embedding model's."""
    return pa.schema([*schema, *_STATUS_FIELDS, RESPONSE_FIELD if is_text else EMBEDDING_FIELD])


def answer_columns(schema: pa.Schema) -> list[str]:
    """The columns of a result that the join added."""
    return [name for name in schema.names if name in OUTPUT_COLUMNS]


def _added_fields(renderer: RecordRenderer) -> list[pa.Field]:
    return list(result_schema(pa.schema([]), is_text=renderer.processor.kind == "text"))


def _total(tokens: npt.NDArray[np.int64]) -> int:
    return int(tokens[tokens != UNKNOWN].sum())


def _texts_at(codes: npt.NDArray[np.int32], texts: Sequence[bytes]) -> pa.StringArray:
    """A text for each of its codes; null for an empty one."""
    places = pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes)])
    return strings_of(texts, empty_is_null=True).take(places)


def _vectors(contents: Buffer, lengths: npt.NDArray[np.int64]) -> pa.ListArray:
    """A column of lists of float32 numbers, made of their bytes; empty ones are null."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths // _NUMBER_BYTES, out=offsets[1:])
    numbers = pa.Array.from_buffers(pa.float32(), int(offsets[-1]), [None, pa.py_buffer(contents)])
    buffers = [bitmap(lengths > 0), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(EMBEDDING_FIELD.type, len(lengths), buffers, children=[numbers])
