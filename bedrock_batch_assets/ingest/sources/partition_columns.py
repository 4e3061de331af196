"""Columns that are in the names of folders: `year=2023/part-0.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.records.nested_columns import resolved
from bedrock_batch_assets.request import PARTITION_TYPE_NAMES

# What Hive and Spark write for null and for the empty text (Hive's `hive.exec.default.partition.name`).
_NULL = "__HIVE_DEFAULT_PARTITION__"
# What a request may call the types that are not text.
PARTITION_TYPES: Mapping[str, pa.DataType] = dict(
    zip(PARTITION_TYPE_NAMES, (pa.string(), pa.int64(), pa.float64(), pa.date32()), strict=True)
)


@dataclass(frozen=True, slots=True)
class PartitionColumns:
    """Columns with one value for all rows of a file.

    Attributes:
        fields: The columns, which follow those of the files.
        by_file: The value of each for the rows of a file: a text, None for null, or a value of a type.
    """

    fields: tuple[pa.Field, ...] = ()
    by_file: Mapping[str, Sequence[str | pa.Scalar | None]] = field(default_factory=dict)

    def added_to(self, schema: pa.Schema) -> pa.Schema:
        """The files' columns and these; a column that the files have too stays of their type, at their place."""
        return pa.schema([*schema, *(column for column in self.fields if column.name not in schema.names)])

    def values(self, file: str, batch: pa.RecordBatch, schema: pa.Schema) -> list[pa.Array]:
        """The columns that `added_to` added, for some rows of a file.

        Args:
            file: Its name.
            batch: The rows.
            schema: What `added_to` gave.

        Raises:
            RequestError: A value is not of its column's type, or a column of the file says something else.
        """
        columns = []
        for column, given in zip(self.fields, self.by_file[file], strict=True):
            kind = schema.field(column.name).type
            value = _scalar(file, column.name, given, kind)
            if column.name not in batch.schema.names:
                is_null = not value.is_valid
                columns.append(pa.nulls(batch.num_rows, kind) if is_null else pa.repeat(value, batch.num_rows))
            elif not _are_all(resolved(batch.column(column.name)), value):
                raise RequestError(
                    f"{file} has a column {column.name!r} with other values than {value.as_py()!r}, which its folder "
                    "gives to all its rows: rename the column or the folder."
                )
        return columns


def partition_columns(paths: Mapping[str, str], types: Mapping[str, str]) -> PartitionColumns:
    """The columns that the folders of files give, as text unless `types` says otherwise.

    Args:
        paths: By the file's name, its path below the table's folder.
        types: By column, a name of `PARTITION_TYPES`.

    Raises:
        RequestError: The files' folders do not give the same columns, or `types` names another one.
    """
    pairs = {name: _pairs(name, path) for name, path in paths.items()}
    first = next(iter(pairs))
    keys = [key for key, _ in pairs[first]]
    for name, own in pairs.items():
        if [key for key, _ in own] != keys:
            raise RequestError(
                f"{name} lies in folders that give the columns {_listed([key for key, _ in own])}, and {first} in "
                f"folders that give {_listed(keys)}: put the files of one table into the same kind of folders."
            )
    unknown = [name for name in types if name not in keys]
    if unknown:
        raise RequestError(
            f"partition_types names {unknown[0]!r}, which no folder gives: the folders' columns are {_listed(keys)}."
        )
    fields = tuple(pa.field(key, PARTITION_TYPES[types.get(key, "text")]) for key in keys)
    return PartitionColumns(fields, {name: [value for _, value in own] for name, own in pairs.items()})


def _pairs(name: str, path: str) -> list[tuple[str, str | None]]:
    """The `key=value` folders on the way to a file. Hive and Spark escape both as URLs do."""
    pairs: list[tuple[str, str | None]] = []
    for part in path.split("/")[:-1]:
        key, separator, value = part.partition("=")
        if not (key and separator):
            continue
        try:
            key, value = unquote(key, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise RequestError(
                f"{name}: the folder name {part!r} is not UTF-8 once it is unescaped: rename it."
            ) from error
        if key in dict(pairs):
            raise RequestError(f"{name} lies in two folders that give the column {key!r}: rename one of them.")
        pairs.append((key, None if value == _NULL else value))
    return pairs


def _scalar(file: str, column: str, given: str | pa.Scalar | None, kind: pa.DataType) -> pa.Scalar:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    value = given if isinstance(given, pa.Scalar) else pa.scalar(given, pa.string())
    try:
        return value.cast(kind)
    except pa.ArrowException as error:
        raise RequestError(
            f"{file}: its folder's value {value.as_py()!r} of the column {column!r} is not of the type {kind}: correct "
            "partition_types, or rename the folder."
        ) from error


def _are_all(values: pa.Array, value: pa.Scalar) -> bool:
    if not value.is_valid:
        return bool(values.null_count == len(values))
    return values.null_count == 0 and bool(pc.all(pc.equal(values, value), min_count=0).as_py())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
