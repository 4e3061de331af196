"""The contents of a Parquet file, by its footer: its columns as Arrow gives them, and what Arrow leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.parquet_errors import parquet_errors_explained
from bedrock_batch_assets.records.nested_columns import is_nested, with_leaves
from bedrock_batch_assets.records.string_columns import strings_of, valid_values

# Each column is streamed in pieces of so many bytes, since some writers put the whole table into one row group.
_COLUMN_BUFFER_BYTES = 4 << 20
# "  optional group field_id=-1 v (Variant(1)) {", as Arrow prints the schema.
_VARIANT = re.compile(r" group field_id=\S+ (.+) \(Variant\(")

LeafChange = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class ParquetLayout:
    """A Parquet file's footer.

    Attributes:
        name: What to call the file in messages.
        row_count: Its rows.
        schema: Its columns, without metadata; times of type INT96 as timestamps in nanoseconds.
        microsecond_schema: The same with such times in microseconds.
        int96_columns: The columns that are or hold such times.
        changes: By column, what makes of each of its leaves what its Parquet type means; only for columns that need it.
    """

    name: str
    row_count: int
    schema: pa.Schema
    microsecond_schema: pa.Schema
    int96_columns: tuple[str, ...] = ()
    changes: Mapping[str, Sequence[LeafChange]] = field(default_factory=dict)

    def changed(self, column: str, values: pa.Array) -> pa.Array:
        """The column as its Parquet type means it."""
        changes = self.changes.get(column)
        if changes is None:
            return values
        steps = iter(changes)

        def changed_leaf(leaf: pa.Array) -> pa.Array:
            return next(steps)(leaf)

        return with_leaves(values, changed_leaf)

    def schema_in(self, units: Mapping[str, str]) -> pa.Schema:
        """The columns with times of type INT96 in the units that are given by column."""
        pairs = zip(self.schema, self.microsecond_schema, strict=True)
        return pa.schema([micro if units.get(nano.name) == "us" else nano for nano, micro in pairs])


def opened(file: BinaryIO, unit: str | None = None, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A Parquet file to read from, with times of type INT96 in a unit: "s", "us" or "ns", the default."""
    return pq.ParquetFile(
        file,
        metadata=metadata,
        buffer_size=_COLUMN_BUFFER_BYTES,
        pre_buffer=False,
        coerce_int96_timestamp_unit=unit,
    )


def read_layout(name: str, file: BinaryIO) -> tuple[ParquetLayout, pq.FileMetaData]:
    """Read the footer of a file.

    Args:
        name: What to call the file in messages.
        file: Seekable.

    Raises:
        RequestError: It is not a Parquet file, is damaged, or has a column that the result cannot hold.
    """
    with parquet_errors_explained(name, file):
        table = opened(file)
        metadata = table.metadata
        schema = table.schema_arrow.remove_metadata()
        leaves = [table.schema.column(index) for index in range(len(table.schema))]
        micro = schema
        if any(leaf.physical_type == "INT96" for leaf in leaves):
            micro = opened(file, "us", metadata).schema_arrow.remove_metadata()
    if variant := _VARIANT.search(str(table.schema)):
        raise RequestError(
            f"{name}: column {variant[1]!r} is of Parquet's type VARIANT, which the result cannot hold: write it as "
            "JSON text, or leave it out."
        )
    layout = ParquetLayout(name, metadata.num_rows, schema, micro)
    return (_with_meaning(layout, leaves) if any(map(_is_special, leaves)) else layout), metadata


def _with_meaning(layout: ParquetLayout, leaves: Sequence[pq.ColumnSchema]) -> ParquetLayout:
    """The layout with what only the Parquet types of its leaves tell."""
    int96_columns: list[str] = []
    changes: dict[str, list[LeafChange]] = {}
    rest = iter(leaves)
    for column in layout.schema:
        own = [[next(rest) for _ in range(width)] for width in _leaf_widths(column.type)]
        if any(leaf.physical_type == "INT96" for some in own for leaf in some):
            int96_columns.append(column.name)
        steps = [_change(some) for some in own]
        if any(step is not _unchanged for step in steps):
            changes[column.name] = steps
    meant = replace(layout, int96_columns=tuple(int96_columns), changes=changes)
    schemas = [
        pa.schema([column.with_type(meant.changed(column.name, _no_rows(column)).type) for column in schema])
        for schema in (layout.schema, layout.microsecond_schema)
    ]
    return replace(meant, schema=schemas[0], microsecond_schema=schemas[1])


def _no_rows(column: pa.Field) -> pa.Array:
    return pa.schema([column]).empty_table().column(0).combine_chunks()


def _leaf_widths(kind: pa.DataType) -> Iterator[int]:
    """For each leaf that `with_leaves` comes to, how many columns Parquet has for it."""
    if isinstance(kind, pa.BaseExtensionType):
        yield sum(_leaf_widths(kind.storage_type))
    elif is_nested(kind):
        for index in range(kind.num_fields):
            yield from _leaf_widths(kind.field(index).type)
    else:
        yield 1


def _is_special(leaf: pq.ColumnSchema) -> bool:
    return leaf.physical_type == "INT96" or leaf.converted_type in {"INTERVAL", "ENUM"}


def _change(leaves: Sequence[pq.ColumnSchema]) -> LeafChange:
    kinds = {leaf.converted_type for leaf in leaves}
    if "INTERVAL" in kinds:
        return _interval_texts
    return _enum_texts if "ENUM" in kinds else _unchanged


def _unchanged(leaf: pa.Array) -> pa.Array:
    return leaf


def _enum_texts(leaf: pa.Array) -> pa.Array:
    # Apache Parquet, LogicalTypes.md, ENUM: "the enum's name in UTF-8". Arrow gives its bytes.
    return leaf.cast(pa.string()) if pa.types.is_binary(leaf.type) else leaf


def _interval_texts(leaf: pa.Array) -> pa.Array:
    """ISO 8601 durations, such as "P1M3DT5.5S". Arrow gives the twelve bytes, and has no type that Parquet stores.

    Source: Apache Parquet, LogicalTypes.md, INTERVAL: months, days and milliseconds, each unsigned and of 32 bits.
    """
    data = leaf.buffers()[1]
    if data is None:
        return pa.nulls(len(leaf), pa.string())
    numbers = np.frombuffer(data, "<u4").reshape(-1, 3)[leaf.offset : leaf.offset + len(leaf)].tolist()
    is_valid = valid_values(leaf) if leaf.null_count else np.ones(len(leaf), np.bool_)
    texts = [_duration(*three) if valid else b"" for three, valid in zip(numbers, is_valid, strict=True)]
    return strings_of(texts, empty_is_null=True)


def _duration(months: int, days: int, milliseconds: int) -> bytes:
    seconds, rest = divmod(milliseconds, 1_000)
    part = f"{seconds}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(seconds)
    date = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    time = f"T{part}S" if milliseconds or not date else ""
    return f"P{date}{time}".encode()
