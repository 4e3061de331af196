"""How the rows of a part become the bytes of a Parquet or CSV file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows, RowGroupPart, RowsToEncode
from bedrock_batch_assets.parquet.row_group_writer import RowGroupWriter
from bedrock_batch_assets.parquet.vector_rows import VectorRows
from bedrock_batch_assets.parquet.writer_options import writer_options
from bedrock_batch_assets.records.column_texts import text_column
from bedrock_batch_assets.records.exact_values import exact_values, with_writable_times
from bedrock_batch_assets.records.nested_columns import is_nested
from bedrock_batch_assets.records.preview import python_value
from bedrock_batch_assets.records.string_columns import strings_of


class PartFormat(Protocol):
    """A file that becomes whole row by row. Its owner opens and closes it.

    What `rows` returns is for `append`, with or without `encoded` in between; its type is the format's own.
    """

    def rows(self, batch: pa.RecordBatch, beside: EncodedRows | None = None) -> Any:
        """Rows to write, in their order; `beside` are their first columns, encoded already. For one thread.

        Raises:
            TypeError: Only Parquet takes rows as they are encoded.
        """
        ...

    def encoded(self, rows: Any) -> Any:
        """The same rows, encoded in memory. For any thread."""
        ...

    def append(self, rows: Any) -> None:
        """Write rows, encoded or not, behind what the file has. For one thread, in the order of the rows."""
        ...

    def finish(self) -> None:
        """Write what comes after all rows."""
        ...


def part_format(output_format: OutputFormat, file: BinaryIO) -> PartFormat:
    """The format, for a file that is empty."""
    return _Csv(file) if output_format is OutputFormat.csv else _Parquet(file)


class _Parquet:
    """Row groups, and a footer in the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Schemas by the names of their columns: those of answers alone, and those of all columns.
        self._options: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self._writer: RowGroupWriter | None = None

    def rows(self, batch: pa.RecordBatch, beside: EncodedRows | None = None) -> Sequence[RowGroupPart]:
        # Answers that are vectors are the last of the columns.
        last = batch.num_columns - 1
        vectors = VectorRows.of(batch.schema.field(last), batch.column(last)) if last else None
        others = batch if vectors is None else batch.select(range(last))
        parts = [beside, RowsToEncode(others, self._options_for(others)), vectors]
        return [part for part in parts if part is not None]

    def encoded(self, rows: Sequence[RowGroupPart]) -> Sequence[RowGroupPart]:
        return [part.encoded() if isinstance(part, RowsToEncode) else part for part in rows]

    def append(self, rows: Sequence[RowGroupPart]) -> None:
        if self._writer is None:
            self._writer = RowGroupWriter(self._file, pa.schema([field for part in rows for field in part.schema]))
        self._writer.append(*rows)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _options_for(self, batch: pa.RecordBatch) -> Mapping[str, Any]:
        names = tuple(batch.schema.names)
        if names not in self._options:
            self._options[names] = {"compression": "snappy", **writer_options(batch)}
        return self._options[names]


@dataclass(frozen=True, slots=True)
class _CsvRows:
    batch: pa.RecordBatch
    options: pa_csv.WriteOptions


class _Csv:
    """Rows as text, the first with the header. Once they are encoded they are a buffer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._has_header = False

    def rows(self, batch: pa.RecordBatch, beside: EncodedRows | None = None) -> _CsvRows:
        if beside is not None:
            raise TypeError("only Parquet takes rows as they are encoded")
        options = pa_csv.WriteOptions(include_header=not self._has_header)
        self._has_header = True
        return _CsvRows(batch, options)

    def encoded(self, rows: _CsvRows) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(_flat(rows.batch), sink, rows.options)
        return sink.getvalue()

    def append(self, rows: _CsvRows | pa.Buffer) -> None:
        self._file.write(self.encoded(rows) if isinstance(rows, _CsvRows) else rows)

    def finish(self) -> None:
        """CSV ends with its last row."""


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as columns that Arrow can write into CSV: JSON for nested values, texts for what it has no text for."""
    return pa.RecordBatch.from_arrays([_flat_column(column) for column in batch.columns], names=batch.schema.names)


def _flat_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return _json_texts(column)
    if isinstance(kind, pa.BaseExtensionType):
        return text_column(column, "")
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    return with_writable_times(column)


def _json_texts(column: pa.Array) -> pa.StringArray:
    exact = exact_values(column)
    try:
        values = exact.to_pylist()
    except ValueError:
        # The answers are paid for by now, so a text that is not UTF-8 must not lose them.
        values = [python_value(value) for value in exact]
    texts = [b"" if value is None else json.dumps(value, default=str).encode() for value in values]
    return strings_of(texts, empty_is_null=True)
