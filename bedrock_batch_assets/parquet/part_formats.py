"""How the rows of a part become the bytes of a Parquet or CSV file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv

from bedrock_batch_assets.parquet.encoded_rows import EncodedRows, EncodedRowsWriter, RowGroupPart, RowsToEncode
from bedrock_batch_assets.parquet.vector_rows import VectorRows
from bedrock_batch_assets.parquet.writer_options import writer_options
from bedrock_batch_assets.records.preview import python_value
from bedrock_batch_assets.records.string_columns import strings_of
from bedrock_batch_assets.request import OutputFormat


class PartRows(Protocol):
    """Some rows of a part."""

    def encoded(self) -> PartRows:
        """The same, encoded now. For any thread."""
        ...

    def write(self) -> None:
        """Write them behind what the file has, encoded now where they are not. In the order of the rows."""
        ...


class PartFormat(Protocol):
    """A file that becomes whole row by row. Its owner opens and closes it."""

    def rows(self, batch: pa.RecordBatch, beside: Sequence[EncodedRows] = ()) -> PartRows:
        """Rows to write, asked for in their order; `beside` are their first columns, encoded already.

        Raises:
            TypeError: Only Parquet takes rows as they are encoded.
        """
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
        # By the names of the columns: those of answers alone, and those of all.
        self._options: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self._writer: EncodedRowsWriter | None = None

    def rows(self, batch: pa.RecordBatch, beside: Sequence[EncodedRows] = ()) -> PartRows:
        # Answers that are vectors are the last of the columns.
        last = batch.num_columns - 1
        vectors = VectorRows.of(batch.schema.field(last), batch.column(last)) if last else None
        others = batch if vectors is None else batch.select(range(last))
        pieces: list[RowGroupPart] = [*beside, RowsToEncode(others, self._options_for(others))]
        if vectors is not None:
            pieces.append(vectors)
        if self._writer is None:
            self._writer = EncodedRowsWriter(self._file, pa.schema([field for rows in pieces for field in rows.schema]))
        return _ParquetRows(pieces, self._writer)

    def _options_for(self, batch: pa.RecordBatch) -> Mapping[str, Any]:
        names = tuple(batch.schema.names)
        if names not in self._options:
            self._options[names] = {"compression": "snappy", **writer_options(batch)}
        return self._options[names]

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True, slots=True)
class _ParquetRows:
    pieces: Sequence[RowGroupPart]
    writer: EncodedRowsWriter

    def encoded(self) -> PartRows:
        return _ParquetRows([rows.encoded() for rows in self.pieces], self.writer)

    def write(self) -> None:
        self.writer.append(*self.pieces)


class _Csv:
    """Texts, the first with the header."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._has_header = False

    def rows(self, batch: pa.RecordBatch, beside: Sequence[EncodedRows] = ()) -> PartRows:
        if beside:
            raise TypeError("only Parquet takes rows as they are encoded")
        options = pa_csv.WriteOptions(include_header=not self._has_header)
        self._has_header = True
        return _CsvRows(batch, options, self._file)

    def finish(self) -> None:
        """Nothing is missing."""


@dataclass(frozen=True, slots=True)
class _CsvRows:
    batch: pa.RecordBatch
    options: pa_csv.WriteOptions
    file: BinaryIO

    def encoded(self) -> PartRows:
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(_flat(self.batch), sink, self.options)
        return _Text(sink.getvalue(), self.file)

    def write(self) -> None:
        self.encoded().write()


@dataclass(frozen=True, slots=True)
class _Text:
    text: pa.Buffer
    file: BinaryIO

    def encoded(self) -> PartRows:
        return self

    def write(self) -> None:
        self.file.write(self.text)


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with JSON in the place of what CSV has no type for."""

    def values_of(column: pa.Array) -> list[Any]:
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
