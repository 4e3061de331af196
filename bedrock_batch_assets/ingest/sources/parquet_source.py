"""Parquet tables from S3: one file, or all the files of a folder, read by ranges."""

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.errors import RequestError

# A row group up to this size is fetched in one go; of a larger one each column is streamed, since some writers put the
# whole table into one row group.
_WHOLE_ROW_GROUP_BYTES = 64 << 20
_COLUMN_BUFFER_BYTES = 4 << 20
# Batches aim at this many bytes, so that rows of megabytes do not add up.
_BATCH_BYTES = 16 << 20
_MAX_BATCH_ROWS = 8_192


class ParquetSource:
    """One or more Parquet files with one schema, read in the order given. Types are kept as they are.

    Schema metadata (pandas' index, the features of a Hugging Face dataset) is dropped: it describes the file, and
    would be wrong for the result table.
    """

    def __init__(self, names: Sequence[str], open_file: Callable[[str], BinaryIO]) -> None:
        """Read the first file's schema.

        Args:
            names: The files, at least one; what to call them in messages.
            open_file: Opens one of them as a seekable binary file.

        Raises:
            RequestError: The first file is not Parquet.
        """
        self.name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        self._names = names
        self._open_file = open_file
        self._first = self._open(names[0])
        self.schema = self._first.schema_arrow.remove_metadata()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all files, in order.

        Raises:
            RequestError: A file is not Parquet, is damaged, or has another schema than the first. Names file and
                column.
        """
        for index, name in enumerate(self._names):
            file = self._first if index == 0 else self._open(name)
            with file:
                self._check_schema(name, file.schema_arrow)
                try:
                    for batch in _read(file):
                        yield self._aligned(batch)
                except pa.ArrowException as error:
                    raise RequestError(f"{name} cannot be read as Parquet ({_first_line(error)}).") from error
                except OSError as error:
                    # pyarrow reports damaged pages so; errors of the network have a class or a number of their own.
                    if type(error) is not OSError or error.errno is not None:
                        raise
                    raise RequestError(f"{name} is damaged ({_first_line(error)}): write it again.") from error

    def _open(self, name: str) -> pq.ParquetFile:
        file = self._open_file(name)
        try:
            return pq.ParquetFile(file, buffer_size=_COLUMN_BUFFER_BYTES, pre_buffer=False)
        except pa.ArrowInvalid as error:
            size = file.seek(0, 2)
            if size == 0:
                raise RequestError(f"{name} is empty (0 bytes): upload a Parquet file with rows.") from error
            raise RequestError(
                f"{name} is not a Parquet file ({_first_line(error)}): name a .csv file, a .parquet file, or a folder "
                "that holds Parquet files alone."
            ) from error

    def _check_schema(self, name: str, schema: pa.Schema) -> None:
        first = self._names[0]
        for column in self.schema.names:
            if column not in schema.names:
                raise RequestError(f"{name} has no column {column!r}, which {first} has: give all files one schema.")
        for field in schema:
            if field.name not in self.schema.names:
                raise RequestError(
                    f"{name} has a column {field.name!r}, which {first} has not: give all files one schema."
                )
            if len(schema.get_all_field_indices(field.name)) > 1:
                continue  # Named by the check of the column names.
            expected = self.schema.field(field.name).type
            if field.type != expected:
                raise RequestError(
                    f"Column {field.name!r} is {field.type} in {name} and {expected} in {first}: "
                    "give all files one schema."
                )

    def _aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.schema.names != self.schema.names:
            batch = batch.select(self.schema.names)
        return pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)


def _read(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for index in range(file.num_row_groups):
        group = file.metadata.row_group(index)
        if not group.num_rows:
            continue
        rows = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)))
        yield from file.iter_batches(batch_size=rows, row_groups=[index])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
