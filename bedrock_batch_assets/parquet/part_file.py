"""One part of the result table: a local file in the batch's output format, as it is written."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.damage import DamagedPartError
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.part_check import check_part
from bedrock_batch_assets.parquet.part_formats import part_format

# Batches differ in length: with fewer in the queue, the producer and the writers would take turns waiting (measured).
_WAITING_BATCHES = 3
_WAITING_BYTES = 32 << 20
# More threads would wait for the one that produces the batches.
_MAX_ENCODERS = 4
# Larger batches are encoded by the thread that writes them: fresh memory for megabytes costs more than that gains.
_MOST_BYTES_AHEAD = 8 << 20


class PartFile:
    """Writes rows to a local Parquet or CSV file: encoded and written on other threads, while the caller makes more.

    A context manager; once it is left the file is whole, or, if something went wrong or no rows came, not there. A
    Parquet file that does not hold the rows that it was given counts as something that went wrong.
    CSV holds lists and structs as JSON, since it has no types of its own, and nulls as empty cells.

    Attributes:
        footer_digest: A digest of the footer of a whole Parquet file, see `part_check.count_statuses`; None for CSV.
    """

    def __init__(self, path: Path, output_format: OutputFormat) -> None:
        self.footer_digest: str | None = None
        self._path = path
        self._output_format = output_format
        self._file = path.open("wb")
        self._format = part_format(output_format, self._file)
        encoders = min(os.cpu_count() or 1, _MAX_ENCODERS)
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="part-encoder")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="part-writer")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._schema: pa.Schema | None = None
        self._row_count = 0

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
                if self._schema is not None:
                    self._check(self._schema)
                    whole = True
        finally:
            self._encoders.shutdown(cancel_futures=True)
            self._writer.shutdown(cancel_futures=True)
            self._file.close()
            if not whole:
                # With a footer a broken file would look whole; without one, it cannot be read.
                self._path.unlink(missing_ok=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. All batches of a file have one schema."""
        # A row group without rows may still have pages, whose places Arrow does not report.
        if batch.num_rows:
            self._append(batch)

    def write_beside(self, rows: EncodedRows, batch: pa.RecordBatch) -> None:
        """Append rows that are encoded already, with the columns of `batch` beside their own. For Parquet alone."""
        self._append(batch, rows)

    def _append(self, batch: pa.RecordBatch, beside: EncodedRows | None = None) -> None:
        if self._schema is None:
            self._schema = batch.schema if beside is None else pa.schema([*beside.schema, *batch.schema])
        self._row_count += batch.num_rows
        rows = self._format.rows(batch, beside)
        size = batch.nbytes
        ahead = self._encoders.submit(self._format.encoded, rows) if size <= _MOST_BYTES_AHEAD else None
        size += 0 if beside is None else beside.nbytes
        self._waiting.append((self._writer.submit(self._write, rows, ahead), size))
        self._wait_for_all_but(_WAITING_BATCHES, _WAITING_BYTES)

    def _write(self, rows: Any, ahead: "Future[Any] | None") -> None:
        self._format.append(rows if ahead is None else ahead.result())

    def _check(self, schema: pa.Schema) -> None:
        if self._output_format is not OutputFormat.parquet:
            return
        try:
            with self._path.open("rb") as file:
                self.footer_digest = check_part(file, self._row_count, schema)
        except DamagedPartError as error:
            raise DamagedPartError(f"A part of {self._row_count} rows was not written as such: {error}.") from error

    def _wait_for_all_but(self, count: int, total_size: int) -> None:
        """Wait until no more batches are on their way than these, nor bytes."""
        while len(self._waiting) > count or sum(size for _, size in self._waiting) > total_size:
            self._waiting.popleft()[0].result()
