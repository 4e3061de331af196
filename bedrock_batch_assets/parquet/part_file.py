"""One part of the result table: a local file in the batch's output format."""

import csv
import io
import itertools
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from bedrock_batch_assets.request import OutputFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
    from bedrock_batch_assets.parquet.part_formats import PartRows
    from bedrock_batch_assets.records.joining import OutputJoin

# Batches differ in length: with fewer on their way, makers and writers would wait for each other by turns (measured).
_WAITING_BATCHES = 3
_WAITING_BYTES = 32 << 20
# More would wait for the one that makes the batches.
_MAX_ENCODERS = 4
# Larger ones are encoded by the thread that writes them: fresh memory for megabytes costs more than is won (measured).
_MOST_BYTES_AHEAD = 8 << 20
# What `csv.field_size_limit` takes on every platform.
_MOST_CELL_CHARACTERS = 2**31 - 1
# A row group whose answers have more bytes is cut, so that memory does not grow with them.
_MOST_ANSWER_BYTES = 48 << 20


class PartFile:
    """Writes rows to a local Parquet or CSV file: encoded and written on other threads, while the caller makes more.

    A context manager; once it is left the file is whole, or, where something went wrong or no rows came, not there.
    CSV holds lists and structs as JSON, since it has no types of its own, and nulls as empty cells.
    """

    def __init__(self, path: Path, output_format: OutputFormat) -> None:
        from bedrock_batch_assets.parquet.part_formats import part_format

        self._path = path
        self._file = path.open("wb")
        self._format = part_format(output_format, self._file)
        encoders = min(os.cpu_count() or 1, _MAX_ENCODERS)
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="part-encoder")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="part-writer")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._is_empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = False
        try:
            if error is None:
                self._wait_for_all_but(0, 0)
                self._format.finish()
                self._file.flush()
                whole = not self._is_empty
        finally:
            self._encoders.shutdown(cancel_futures=True)
            self._writer.shutdown(cancel_futures=True)
            self._file.close()
            if not whole:
                # With its footer it would look as if it were; without, nobody could read it.
                self._path.unlink(missing_ok=True)

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append rows. All batches of a file have one schema."""
        self._append(self._format.rows(batch), batch.nbytes)

    def write_beside(self, rows: "EncodedRows", batch: "pa.RecordBatch") -> None:
        """Append rows that are encoded already, with the columns of `batch` beside their own. For Parquet alone."""
        self._append(self._format.rows(batch, [rows]), batch.nbytes, rows.nbytes)

    def _append(self, rows: "PartRows", size: int, encoded_size: int = 0) -> None:
        self._is_empty = False
        ahead = self._encoders.submit(rows.encoded) if size <= _MOST_BYTES_AHEAD else None
        self._waiting.append((self._writer.submit(_write, rows, ahead), size + encoded_size))
        self._wait_for_all_but(_WAITING_BATCHES, _WAITING_BYTES)

    def _wait_for_all_but(self, count: int, total_size: int) -> None:
        """Wait until no more batches are on their way than these, nor bytes."""
        while len(self._waiting) > count or sum(size for _, size in self._waiting) > total_size:
            self._waiting.popleft()[0].result()


def _write(rows: "PartRows", ahead: "Future[PartRows] | None") -> None:
    (rows if ahead is None else ahead.result()).write()


def write_joined(
    part: PartFile, join: "OutputJoin", rows: "Iterable[EncodedRows | pa.RecordBatch]", *, all_sent: bool
) -> None:
    """Append a chunk's rows with their answers. What is encoded stays so, unless its answers are many bytes.

    Args:
        part: The file.
        join: With all outputs added.
        rows: The chunk's rows, in order.
        all_sent: Whether it is known that none of the rows was skipped. Else it is seen from what the prompt reads.

    Raises:
        RequestError: The input has a column that the join adds.
    """
    from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
    from bedrock_batch_assets.parquet.tables import read_rows
    from bedrock_batch_assets.records.joining import joined_schema

    renderer = join.renderer
    for some in rows:
        if not isinstance(some, EncodedRows):
            part.write(join.join(some))
        elif join.answer_bytes(some.row_count) > _MOST_ANSWER_BYTES:
            for batch in read_rows(some.decoded()):
                part.write(join.join(batch))
        else:
            joined_schema(some.schema, renderer)
            skipped: list[tuple[int, str]] = []
            row = join.next_row
            for batch in () if all_sent else read_rows(some.decoded(), columns=renderer.columns):
                skipped += renderer.skipped_rows(batch, row)
                row += batch.num_rows
            part.write_beside(some, join.answers(some.row_count, skipped))


def parquet_row_count(file: BinaryIO) -> int | None:
    """Rows that the footer of a Parquet file counts; None where it has no footer that can be read.

    Args:
        file: Seekable; only its end is read.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        rows: int = pyarrow.parquet.read_metadata(file).num_rows
    except pa.ArrowInvalid:
        return None
    return rows


def read_head(file: BinaryIO, output_format: OutputFormat, count: int) -> list[dict[str, Any]]:
    """The first `count` rows of a part, as far as there are so many."""
    if output_format is OutputFormat.csv:
        # Python's own limit is below what an answer may have.
        csv.field_size_limit(_MOST_CELL_CHARACTERS)
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        return list(itertools.islice(csv.DictReader(text), count))
    from bedrock_batch_assets.parquet.tables import read_rows
    from bedrock_batch_assets.records.preview import preview_rows

    head: list[dict[str, Any]] = []
    for batch in read_rows(file, batch_rows=count):
        head += preview_rows(batch.slice(0, count - len(head)))
        if len(head) == count:
            break
    return head
