"""Answers back to their rows.

Answers are kept in flat buffers, one slot per row of the chunk, and never as Python objects: 100,000 embeddings of
1024 numbers are 400 MB here, and several GB as lists.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

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

        Raises:
            ValueError: The input has a column that the join adds, see `OUTPUT_COLUMNS`.
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
        # The answers themselves: UTF-8 text or float32 numbers, in order of arrival.
        self._content = bytearray()
        self._content_start = array("q", bytes(8 * row_count))
        self._content_length = array("q", bytes(8 * row_count))
        self._counts = dict.fromkeys(
            (*(status.name for status in _Status), "duplicate_lines", "corrupt_lines", "unknown_record_ids"), 0
        )

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

    def _keep(self, slot: int, record: OutputRecord, wave: int) -> None:
        answer, error = record.answer, record.error
        status = _Status.error
        if answer is not None:
            content = self._content_of(answer.response, answer.embedding)
            if content is None:
                error = _no_content_reason(answer.stop_reason)
            else:
                status = _Status.truncated if answer.truncated else _Status.ok
        ...
