"""CSV tables of one file, or of all the files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_source import CsvSource
from bedrock_batch_assets.ingest.sources.partition_columns import PartitionColumns

_TAB_ENDINGS = (".tsv", ".tsv.gz")


class CsvFilesSource:
    """One or more CSV files, read in the order given, as one table: see `CsvSource`.

    Each has a header of its own, with the same names; their order may differ. A part may have no rows.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_file: Callable[[str], BinaryIO],
        dialect: CsvDialect | None = None,
        *,
        partitions: PartitionColumns | None = None,
    ) -> None:
        """Read the first file's header.

        Args:
            names: The files, at least one; what to call them in messages. Those that end with `.tsv` are separated by
                tabs unless `dialect` says otherwise.
            open_file: Opens one of them as a seekable binary file.
            dialect: How they are written; RFC 4180 in UTF-8 if not given.
            partitions: Columns that the files' folders give.

        Raises:
            RequestError: The first file cannot be read.
        """
        self.name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        self._names = names
        self._open_file = open_file
        self._dialect = dialect or CsvDialect()
        self._partitions = partitions or PartitionColumns()
        self._first = self._open(names[0])
        self.schema = self._partitions.added_to(self._first.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all files, in order.

        Raises:
            RequestError: A file cannot be read, or has other columns than the first. Names the file.
        """
        row_count = 0
        for name in self._names:
            part = self._first if name == self._names[0] else self._open(name)
            order = self._order(name, part.schema.names)
            for batch in part.batches():
                columns = [batch.column(place) for place in order]
                rows = pa.RecordBatch.from_arrays(columns, schema=self._first.schema)
                if self._partitions.fields:
                    columns += self._partitions.values(name, rows, self.schema)
                    rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
                row_count += rows.num_rows
                yield rows
        if not row_count:
            raise RequestError(f"{self.name} have headers and no rows: put rows below one of them.")

    def _open(self, name: str) -> CsvSource:
        dialect = self._dialect
        if dialect.delimiter is None and name.lower().endswith(_TAB_ENDINGS):
            dialect = dialect.with_settings(delimiter="\t")
        return CsvSource(name, self._open_file(name), dialect, allow_no_rows=len(self._names) > 1)

    def _order(self, name: str, columns: Sequence[str]) -> Sequence[int]:
        """Where the first file's columns are in another."""
        expected = self._first.schema.names
        if columns == expected:
            return range(len(expected))
        if sorted(columns) != sorted(expected) or len(set(columns)) < len(columns):
            raise RequestError(
                f"{name} begins with {_listed(columns)}, and {self._names[0]} with {_listed(expected)}: give every "
                'file the same header (Spark writes one with option("header", True)).'
            )
        return [columns.index(column) for column in expected]


def _listed(columns: Sequence[str], limit: int = 10) -> str:
    shown = ", ".join(repr(column[:60]) for column in columns[:limit])
    return shown if len(columns) <= limit else f"{shown} and {len(columns) - limit} more"
