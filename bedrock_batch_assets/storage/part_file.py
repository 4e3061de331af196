"""One file of the result table, in the batch's output format."""

import csv
import io
import itertools
import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from bedrock_batch_assets.request import OutputFormat

if TYPE_CHECKING:
    import pyarrow as pa


class PartFile:
    """Writes record batches to a local Parquet or CSV file. A context manager; the file is whole once it is left.

    CSV holds lists and structs as JSON, since it has no types of its own, and nulls as empty cells.
    """

    def __init__(self, path: Path, output_format: OutputFormat) -> None:
        self._path = path
        self._format = output_format
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append rows. All batches of a file have one schema."""
        if self._format is OutputFormat.csv:
            batch = _flat(batch)
        if self._writer is None:
            self._writer = self._open(batch.schema)
        self._writer.write_batch(batch)

    def _open(self, schema: "pa.Schema") -> Any:
        if self._format is OutputFormat.csv:
            import pyarrow.csv

            return pyarrow.csv.CSVWriter(self._path, schema)
        import pyarrow.parquet

        return pyarrow.parquet.ParquetWriter(self._path, schema, compression="zstd")


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
    from bedrock_batch_assets.storage.tables import read_rows

    rows: list[dict[str, Any]] = next(read_rows(file, batch_rows=count)).to_pylist()
    return rows


def _flat(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    import pyarrow as pa

    columns = [
        pa.array(
            (None if value is None else json.dumps(value, default=str) for value in column.to_pylist()), pa.string()
        )
        if pa.types.is_nested(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
