"""Answers by reference: for each row of a table, the chunk and the place in it that have its answer.

The answers are read once, chunk by chunk, and put into local files by where their rows are; then each file's are sorted
by row. So any order of the rows takes the same memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.row_group_writer import as_file
from bedrock_batch_assets.parquet.tables import read_encoded_rows, read_rows
from bedrock_batch_assets.records.joining import REUSED, result_schema
from bedrock_batch_assets.records.reasons import Reason, ReasonCounts

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.records.rendering import RecordRenderer

# Answers to so many consecutive rows are sorted together, or to more, so that there are no more than so many files.
_GROUP_ROWS = 16_384
_MOST_GROUPS = 400
# Answers on their way into the files.
_WAITING_BYTES = 32 << 20
# A row group whose answers have more bytes is cut, so that memory does not grow with them.
_MOST_ANSWER_BYTES = 48 << 20
_REASONS_KEPT = 10
_ROW = "row"


@dataclass(frozen=True)
class References:
    """The answer of each row of a batch. All arrays have one element a row.

    Attributes:
        source: int32: the number of the chunk among the batch's sources; -1 for a row that is not sent.
        position: int32: the place among the chunk's rows.
        is_repeated: bool: whether an earlier row of the table has the same record.
    """

    source: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    is_repeated: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """Those that `write` stored."""
        table = pq.read_table(file)
        return cls(*(table.column(name).to_numpy() for name in ("source", "position", "is_repeated")))

    def write(self, path: Path) -> None:
        """Store them as Parquet."""
        schema = pa.schema([("source", pa.int32()), ("position", pa.int32()), ("is_repeated", pa.bool_())])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for start in range(0, len(self.source), 1 << 20):
                rows = slice(start, start + (1 << 20))
                arrays = [pa.array(values[rows]) for values in (self.source, self.position, self.is_repeated)]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def sources_of(self, first_row: int, row_count: int) -> list[int]:
        """The sources of some rows' answers, by number."""
        some = self.source[first_row : first_row + row_count]
        return [int(number) for number in np.unique(some) if number >= 0]


def write_referenced(
    part: PartFile,
    rows: BinaryIO,
    first_row: int,
    row_count: int,
    answers: AnswerSpools,
    renderer: RecordRenderer,
    *,
    may_stay_encoded: bool,
) -> RowAccount:
    """Append some rows of a table with their answers. What is encoded stays so, unless its answers are many bytes.

    Args:
        part: The file.
        rows: The table, as a Parquet file.
        first_row: The first row.
        row_count: How many rows.
        answers: With all that these rows need.
        renderer: Knows why a row was not sent.
        may_stay_encoded: Whether the part is Parquet.
    """
    account = RowAccount()
    row = first_row
    read = read_encoded_rows if may_stay_encoded else read_rows
    for some in read(rows, first_row, row_count):
        decoded: Iterator[pa.RecordBatch] = iter(())
        if not isinstance(some, EncodedRows):
            decoded = iter([some])
        elif answers.is_whole(row, some.row_count) and answers.size(row, some.row_count) <= _MOST_ANSWER_BYTES:
            found = answers.take(row, some.row_count)
            part.write_beside(some, found)
            account.add(row, found)
            row += some.row_count
        else:
            decoded = read_rows(as_file(some))
        for piece in decoded:
            skipped = [] if answers.is_whole(row, piece.num_rows) else renderer.skipped_rows(piece, row)
            found = answers.take(row, piece.num_rows, skipped)
            schema = pa.schema([*piece.schema, *found.schema])
            part.write(pa.RecordBatch.from_arrays([*piece.columns, *found.columns], schema=schema))
            account.add(row, found)
            row += piece.num_rows
    return account


class AnswerSpools:
    """The answers of some parts, in local files by where their rows are."""

    def __init__(
        self, folder: Path, *, is_text: bool, references: References, ranges: Sequence[tuple[int, int]]
    ) -> None:
        """Begin without answers.

        Args:
            folder: A local folder for files.
            is_text: Whether the answers are texts, and not vectors.
            references: Which answer each row has.
            ranges: The rows that answers are wanted for: first row and count of each range.
        """
        self._folder = folder
        self._schema = result_schema(pa.schema([]), is_text=is_text)
        self._references = references
        rows = [np.arange(first, first + count) for first, count in ranges]
        wanted = np.concatenate(rows) if rows else np.empty(0, np.int64)
        wanted = wanted[references.source[wanted] >= 0].astype(np.int32)
        # Sorted by where the answers are, and not by row.
        self._rows = wanted[np.lexsort((references.position[wanted], references.source[wanted]))]
        sources, starts = np.unique(references.source[self._rows], return_index=True)
        stops = np.append(starts[1:], len(self._rows))
        self._of_source = dict(zip(sources.tolist(), zip(starts.tolist(), stops.tolist(), strict=True), strict=True))
        self._group_rows = max(_GROUP_ROWS, -(-len(references.source) // _MOST_GROUPS))
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._current: tuple[int, npt.NDArray[np.int32], pa.Table] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(self, source: int, file: BinaryIO, *, is_foreign: bool) -> None:
        """Take what is wanted of a chunk's answers.

        Args:
            source: The number of the chunk.
            file: Its answers, as Parquet.
            is_foreign: Whether another batch paid for it.
        """
        if source not in self._of_source:
            return
        rows = self._rows[slice(*self._of_source[source])]
        positions = self._references.position[rows]
        first, last = int(positions[0]), int(positions[-1])
        # Version 0.2 and before did not say who answered.
        columns = [name for name in self._schema.names if name in pq.read_schema(file).names]
        for batch in read_rows(file, first, last - first + 1, columns=columns):
            start, stop = np.searchsorted(positions, [first, first + batch.num_rows])
            if start < stop:
                taken = self._completed(batch).take(pa.array(positions[start:stop] - first))
                self._append(rows[start:stop], taken, is_foreign=is_foreign)
            first += batch.num_rows

    def finish(self) -> None:
        """Close the files: all answers are in."""
        self._flush()
        for writer in self._writers.values():
            writer.close()

    def is_whole(self, row: int, count: int) -> bool:
        """Whether all of these rows were sent."""
        return bool((self._references.source[row : row + count] >= 0).all())

    def size(self, row: int, count: int) -> int:
        """The bytes of the answers to some rows."""
        return sum(table.nbytes for table in self._slices(row, count))

    def take(self, row: int, count: int, skipped: Sequence[tuple[int, str]] = ()) -> pa.RecordBatch:
        """The answers' columns for some rows.

        Args:
            row: The first.
            count: How many.
            skipped: Those of them that were not sent, and why.
        """
        slices = list(self._slices(row, count))
        table = pa.concat_tables([self._schema.empty_table(), *slices])
        columns = [_whole(table.column(name)) for name in self._schema.names]
        is_sent = self._references.source[row : row + count] >= 0
        if not is_sent.all():
            places = pa.array(np.cumsum(is_sent) - 1, mask=~is_sent)
            columns = [column.take(places) for column in columns]
            columns = _with_reasons(columns, self._schema.names, [(place - row, reason) for place, reason in skipped])
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _completed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The answers' columns in order, with nulls for one that is not there."""
        names = batch.schema.names
        columns = [
            batch.column(field.name) if field.name in names else pa.nulls(batch.num_rows, field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _append(self, rows: npt.NDArray[np.signedinteger], taken: pa.RecordBatch, *, is_foreign: bool) -> None:
        is_reused = np.ones(len(rows), np.bool_) if is_foreign else self._references.is_repeated[rows]
        if is_reused.any():
            place = taken.schema.get_field_index("answered_by")
            known = taken.column(place)
            changed = pc.and_(pa.array(is_reused), known.is_valid())
            taken = taken.set_column(place, taken.schema.field(place), pc.if_else(changed, REUSED, known))
        self._waiting.append(taken.append_column(_ROW, pa.array(rows)))
        self._waiting_bytes += taken.nbytes
        if self._waiting_bytes > _WAITING_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        rows = table.column(_ROW).to_numpy()
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            table, rows = table.take(pa.array(order)), rows[order]
        groups = rows // self._group_rows
        for group in np.unique(groups).tolist():
            start, stop = np.searchsorted(groups, [group, group + 1])
            if group not in self._writers:
                self._writers[group] = pa.ipc.new_stream(str(self._path(group)), table.schema)
            self._writers[group].write_table(table.slice(start, stop - start))

    def _slices(self, row: int, count: int) -> Iterator[pa.Table]:
        """The answers to some rows, in order: those of rows that were sent."""
        for group in range(row // self._group_rows, (row + count - 1) // self._group_rows + 1):
            if group in self._writers:
                rows, table = self._group(group)
                start, stop = np.searchsorted(rows, [row, row + count])
                yield table.slice(start, stop - start)

    def _group(self, group: int) -> tuple[npt.NDArray[np.int32], pa.Table]:
        if self._current is None or self._current[0] != group:
            self._current = None
            with pa.memory_map(str(self._path(group))) as file:
                table = pa.ipc.open_stream(file).read_all()
            rows = table.column(_ROW).to_numpy()
            table = table.drop_columns([_ROW])
            if (rows[1:] < rows[:-1]).any():
                order = np.argsort(rows, kind="stable")
                table, rows = table.take(pa.array(order)), rows[order]
            self._current = group, rows, table
        return self._current[1:]

    def _path(self, group: int) -> Path:
        return self._folder / f"answers-{group}.arrow"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _with_reasons(
    columns: Sequence[pa.Array], names: Sequence[str], skipped: Sequence[tuple[int, str]]
) -> list[pa.Array]:
    """The columns with the rows that were not sent, each with its reason."""
    is_skipped = np.zeros(len(columns[0]), np.bool_)
    reasons: list[str | None] = [None] * len(columns[0])
    for place, reason in skipped:
        is_skipped[place] = True
        reasons[place] = reason
    changed = pa.array(is_skipped)
    changed_columns = list(columns)
    status, error = names.index("record_status"), names.index("record_error")
    changed_columns[status] = pc.if_else(changed, "skipped", columns[status])
    changed_columns[error] = pc.if_else(changed, pa.array(reasons, pa.string()), columns[error])
    return changed_columns


class RowAccount:
    """Counts the rows of a part, by their answers' columns."""

    def __init__(self) -> None:
        """Begin with no rows."""
        self._statuses: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._reasons = ReasonCounts()

    def add(self, row: int, answers: pa.RecordBatch) -> None:
        """Count rows, from `row` on."""
        status = answers.column("record_status")
        self._statuses.update({item["values"]: item["counts"] for item in pc.value_counts(status).to_pylist()})
        for name in ("input_tokens", "output_tokens"):
            self._sums[name] += pc.sum(answers.column(name)).as_py() or 0
        self._sums["reused"] += pc.sum(pc.equal(answers.column("answered_by"), REUSED)).as_py() or 0
        errors = answers.column("record_error")
        for place in np.flatnonzero(pc.not_equal(status, "ok").to_numpy(zero_copy_only=False)).tolist():
            self._reasons.add(Reason(status[place].as_py(), errors[place].as_py() or "", 1, row + place))

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status, rows in all, sums of tokens, and reused rows, by the names of `PartSummary`."""
        return {"rows": self._statuses.total(), **self._statuses, **self._sums}

    @property
    def reasons(self) -> list[Reason]:
        """Why rows have no whole answer: the ten reasons with most rows."""
        return self._reasons.most_frequent(_REASONS_KEPT)
