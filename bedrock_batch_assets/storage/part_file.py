"""One file of the result table, in the batch's output format."""

import csv
import io
import itertools
import json
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from bedrock_batch_assets.request import OutputFormat

if TYPE_CHECKING:
    import pyarrow as pa


# Batches differ in length: with one alone, both sides would wait for each other by turns (measured).
_WAITING_BATCHES = 3
_SHORT_BYTES = 64


class PartFile:
    """Writes record batches to a local Parquet or CSV file, on a thread of its own.

    A context manager; once it is left the file is whole, or, where something went wrong, not there. CSV holds lists and
    structs as JSON, since it has no types of its own, and nulls as empty cells.
    """

    def __init__(self, path: Path, output_format: OutputFormat) -> None:
        self._path = path
        self._format = output_format
        self._writer: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="part")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        whole = False
        try:
            if self._writer is not None:
                self._writer.close()
            if error is None:
                for written in self._waiting:
                    written.result()
                whole = True
        finally:
            if not whole:
                # With its footer, which closing writes, it would look as if it were.
                self._path.unlink(missing_ok=True)

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append rows, while the caller makes the next ones. All batches of a file have one schema."""
        self._waiting.append(self._thread.submit(self._write, batch))
        if len(self._waiting) > _WAITING_BATCHES:
            self._waiting.popleft().result()

    def _write(self, batch: "pa.RecordBatch") -> None:
        if self._format is OutputFormat.csv:
            batch = _flat(batch)
        if self._writer is None:
            self._writer = self._open(batch)
        self._writer.write_batch(batch)

    def _open(self, batch: "pa.RecordBatch") -> Any:
        if self._format is OutputFormat.csv:
            import pyarrow.csv

            return pyarrow.csv.CSVWriter(self._path, batch.schema)
        import pyarrow.parquet

        columns = _plain_columns(batch)
        return pyarrow.parquet.ParquetWriter(
            self._path,
            batch.schema,
            use_dictionary=_repetitive(columns),
            write_statistics=_short(columns),
            compression="snappy",
        )


def _plain_columns(batch: "pa.RecordBatch") -> dict[str, "pa.Array"]:
    """The columns that Parquet knows by their own names: nested ones have others."""
    import pyarrow as pa

    names = [field.name for field in batch.schema if not pa.types.is_nested(field.type)]
    return {name: batch.column(name) for name in names if batch.schema.names.count(name) == 1}


def _repetitive(columns: dict[str, "pa.Array"]) -> list[str]:
    """The columns that a dictionary makes smaller, by their first rows.

    Parquet would try it with every column, which costs texts and vectors more than all else (measured).
    """
    import pyarrow.compute as pc

    return [name for name, values in columns.items() if _distinct(pc.unique, values) * 4 <= len(values)]


def _short(columns: dict[str, "pa.Array"]) -> list[str]:
    """The columns whose least and greatest values are worth noting, for readers that skip by them.

    Nobody looks for prompts and vectors between two others, and to compare them costs a tenth of writing (measured).
    """
    return [name for name, values in columns.items() if values.nbytes <= _SHORT_BYTES * len(values)]


def _distinct(unique: Any, values: "pa.Array") -> int:
    import pyarrow as pa

    try:
        return len(unique(values))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return len(values)


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
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        return list(itertools.islice(csv.DictReader(text), count))
    from bedrock_batch_assets.records.preview import preview_rows
    from bedrock_batch_assets.storage.tables import read_rows

    return preview_rows(next(read_rows(file, batch_rows=count)))


def _flat(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    import pyarrow as pa

    from bedrock_batch_assets.records.preview import python_value
    from bedrock_batch_assets.records.string_columns import strings_of

    def values_of(column: "pa.Array") -> list[Any]:
        try:
            values: list[Any] = column.to_pylist()
        except (ValueError, OverflowError):
            values = [python_value(value) for value in column]
        return values

    def as_json(value: Any) -> bytes:
        return b"" if value is None else json.dumps(value, default=str).encode()

    columns = [
        strings_of([as_json(value) for value in values_of(column)], empty_is_null=True)
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
