"""Parquet tables from S3: one file, or all the files of a folder, read by ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.conversion import InexactError, converted, exactly
from bedrock_batch_assets.ingest.sources.int96 import int96_units
from bedrock_batch_assets.ingest.sources.parquet_errors import first_line, is_about_the_file, parquet_errors_explained
from bedrock_batch_assets.ingest.sources.parquet_layout import ParquetLayout, opened, read_layout
from bedrock_batch_assets.ingest.sources.partition_columns import PartitionColumns
from bedrock_batch_assets.ingest.sources.schema_union import check_declared, united_schema

# Batches aim at this many bytes, so that rows of megabytes do not add up.
_BATCH_BYTES = 16 << 20
_MAX_BATCH_ROWS = 8_192
# Footers wait for the network, not for the processor.
_FOOTERS_AT_A_TIME = 8
# Footers are kept for reading the rows later, up to so many bytes: the footer of a wide table has megabytes.
_MOST_FOOTER_BYTES = 16 << 20


class ParquetSource:
    """One or more Parquet files, read in the order given, as one table: see `united_schema`.

    Every value comes out as it was written: times of type INT96 in the unit that holds them, names of enums and
    intervals as texts. Schema metadata (pandas' index, the features of a Hugging Face dataset) is dropped: it
    describes the file, and would be wrong for the result table.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_file: Callable[[str], BinaryIO],
        *,
        partitions: PartitionColumns | None = None,
        declared: pa.Schema | None = None,
        max_rows: int | None = None,
    ) -> None:
        """Read the footers of the files.

        Args:
            names: The files, at least one; what to call them in messages.
            open_file: Opens one of them as a seekable binary file.
            partitions: Columns that the files' folders give.
            declared: The columns of the table, if it has any of its own beside those of its files: what a file lacks is
                null, and what it has beyond them is no part of the table.
            max_rows: Files that begin beyond these rows are not looked at.

        Raises:
            RequestError: A file is not Parquet or damaged, or its columns are not those of the others.
        """
        self.name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        self._open_file = open_file
        self._partitions = partitions or PartitionColumns()
        self._footers: dict[str, pq.FileMetaData] = {}
        self._layouts = self._read_footers(names, max_rows)
        doubled = any(len(set(layout.schema.names)) < len(layout.schema) for layout in self._layouts)
        # The check of the names refuses columns of one name, which cannot be told apart here.
        self._units = {} if doubled else self._int96_units(max_rows)
        schemas = [(layout.name, layout.schema_in(self._units)) for layout in self._layouts]
        if declared is not None:
            check_declared(declared, schemas)
        self._file_schema = united_schema(schemas) if declared is None else declared
        self.schema = self._partitions.added_to(self._file_schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all files, in order.

        Raises:
            RequestError: A file is damaged, or a value does not fit the type that its column has in all files. Names
                file and column.
        """
        for layout in self._layouts:
            row = 0
            names = layout.schema.names
            same_order = names == self._file_schema.names
            places = range(len(names)) if same_order else [_place(names, name) for name in self._file_schema.names]
            for batch in self._read(layout):
                columns = [
                    pa.nulls(batch.num_rows, field.type)
                    if place is None
                    else self._column(layout, field, batch.column(place), row)
                    for place, field in zip(places, self._file_schema, strict=True)
                ]
                rows = pa.RecordBatch.from_arrays(columns, schema=self._file_schema)
                if self._partitions.fields:
                    columns += self._partitions.values(layout.name, rows, self.schema)
                    rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
                yield rows
                row += batch.num_rows

    def _read_footers(self, names: Sequence[str], max_rows: int | None) -> list[ParquetLayout]:
        layouts: list[ParquetLayout] = []
        rows = kept_bytes = 0
        for start in range(0, len(names), _FOOTERS_AT_A_TIME):
            some = names[start : start + _FOOTERS_AT_A_TIME]
            for layout, footer in self._footers_of(some):
                layouts.append(layout)
                rows += layout.row_count
                if kept_bytes + footer.serialized_size <= _MOST_FOOTER_BYTES:
                    self._footers[layout.name] = footer
                    kept_bytes += footer.serialized_size
                if max_rows is not None and rows >= max_rows:
                    return layouts
        return layouts

    def _footers_of(self, names: Sequence[str]) -> list[tuple[ParquetLayout, pq.FileMetaData]]:
        def read(name: str) -> tuple[ParquetLayout, pq.FileMetaData]:
            return read_layout(name, self._open_file(name))

        if len(names) == 1:
            return [read(names[0])]
        with ThreadPoolExecutor(len(names), thread_name_prefix="parquet-footer") as pool:
            return list(pool.map(read, names))

    def _int96_units(self, max_rows: int | None) -> Mapping[str, str]:
        if not any(layout.int96_columns for layout in self._layouts):
            return {}
        return int96_units(self._layouts, self._open_file, max_rows)

    def _read(self, layout: ParquetLayout) -> Iterator[pa.RecordBatch]:
        """The rows of a file as Arrow gives them, with times of type INT96 in the units that hold them."""
        units = {self._units.get(column, "ns") for column in layout.int96_columns} or {"ns"}
        files = {unit: self._opened(layout, unit) for unit in sorted(units)}
        file = next(iter(files.values()))
        for index in range(file.num_row_groups):
            try:
                group = file.metadata.row_group(index)
                if not group.num_rows:
                    continue
                rows = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)))
                if len(files) == 1:
                    yield from file.iter_batches(batch_size=rows, row_groups=[index])
                else:
                    yield from self._in_two_units(layout, files, index, rows)
            except (pa.ArrowException, OSError) as error:
                if not is_about_the_file(error):
                    raise
                raise RequestError(_damage(layout, file, index, error)) from error

    def _in_two_units(
        self, layout: ParquetLayout, files: Mapping[str, pq.ParquetFile], index: int, rows: int
    ) -> Iterator[pa.RecordBatch]:
        names = layout.schema.names
        micros = {name for name in names if self._units.get(name) == "us"}
        choices = {"us": list(micros), "ns": [name for name in names if name not in micros]}
        streams = [
            files[unit].iter_batches(batch_size=rows, row_groups=[index], columns=columns)
            for unit, columns in choices.items()
        ]
        for in_micros, others in zip(*streams, strict=True):
            columns = [(in_micros if name in micros else others).column(name) for name in names]
            yield pa.RecordBatch.from_arrays(columns, names=names)

    def _opened(self, layout: ParquetLayout, unit: str) -> pq.ParquetFile:
        file = self._open_file(layout.name)
        with parquet_errors_explained(layout.name, file):
            return opened(file, unit, self._footers.get(layout.name))

    def _column(self, layout: ParquetLayout, field: pa.Field, values: pa.Array, row: int) -> pa.Array:
        try:
            if field.name in layout.changes:
                values = exactly(values, lambda some: layout.changed(field.name, some))
            return converted(values, field.type)
        except InexactError as error:
            raise RequestError(
                f"{layout.name}: column {field.name!r} of type {values.type}, row {row + error.position + 1} (counted "
                f"from 1), cannot be read as {field.type} ({error.reason}): correct the value, or give all files one "
                "type for the column."
            ) from error


def _place(names: Sequence[str], name: str) -> int | None:
    return names.index(name) if name in names else None


def _damage(layout: ParquetLayout, file: pq.ParquetFile, index: int, error: Exception) -> str:
    """What is damaged: the column, if one of them cannot be read by itself."""
    for column in layout.schema.names:
        try:
            for _ in file.iter_batches(row_groups=[index], columns=[column]):
                pass
        except (pa.ArrowException, OSError) as own:
            if not is_about_the_file(own):
                raise
            if "decrypt" in str(own).lower():
                return f"{layout.name} is encrypted: column {column!r} cannot be read. Write it without encryption."
            return f"{layout.name} is damaged: column {column!r} cannot be read ({first_line(own)}). Write it again."
    return f"{layout.name} is damaged ({first_line(error)}): write it again."
