"""Column types that Parquet gives back as they were."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.errors import RequestError

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.sources.source import Source


class StorableSource:
    """A source whose types survive being stored as Parquet.

    Almost all do. Dictionaries (pandas' categoricals) become their values, since each batch brings another dictionary;
    extension types other than Arrow's own become their storage; and what Parquet has no type for becomes the type that
    it is read back as, such as `timestamp[ms]` for `timestamp[s]`.
    """

    def __init__(self, source: Source) -> None:
        """Find the storable types.

        Raises:
            RequestError: Parquet has no place for a column's type. Names the column.
        """
        self._source = source
        self.name = source.name
        self.schema = pa.schema([_storable_field(source.name, field) for field in source.schema])
        self._unchanged = self.schema.equals(source.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the storable types."""
        if self._unchanged:
            yield from self._source.batches()
            return
        for batch in self._source.batches():
            columns = [self._converted(*pair) for pair in zip(batch.columns, self.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _converted(self, values: pa.Array, field: pa.Field) -> pa.Array:
        if values.type == field.type:
            return values
        try:
            return _without_extensions(values).cast(field.type)
        except pa.ArrowException as error:
            raise RequestError(
                f"{self.name}: column {field.name!r} of type {values.type} cannot be stored as {field.type} ({error}): "
                "convert it first."
            ) from error


def _storable_field(source: str, field: pa.Field) -> pa.Field:
    plain = pa.field(field.name, storable_type(field.type), field.nullable)
    try:
        file = io.BytesIO()
        pq.write_table(pa.schema([plain]).empty_table(), file)
        stored = pq.read_schema(file).field(0)
    except pa.ArrowException as error:
        raise RequestError(
            f"{source}: column {field.name!r} has the type {field.type}, which Parquet cannot store: convert it first."
        ) from error
    # Field metadata is the file's (Parquet field ids), not the table's.
    return pa.field(field.name, stored.type, field.nullable)


def storable_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and foreign extension types, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind if _is_canonical(kind) else storable_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return storable_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([_storable_child(kind.field(index)) for index in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(storable_type(kind.key_type), _storable_child(kind.item_field), keys_sorted=kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_storable_child(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_storable_child(kind.value_field))
    if pa.types.is_list(kind):
        return pa.list_(_storable_child(kind.value_field))
    return kind


def _storable_child(field: pa.Field) -> pa.Field:
    return field.with_type(storable_type(field.type))


def _is_canonical(kind: pa.BaseExtensionType) -> bool:
    # Arrow columnar format, "Canonical Extension Types": named "arrow.", and known to every reader.
    return str(kind.extension_name).startswith("arrow.") and kind.extension_name != "arrow.py_extension_type"


def _without_extensions(values: pa.Array) -> pa.Array:
    if isinstance(values, pa.ExtensionArray) and not _is_canonical(values.type):
        return _without_extensions(values.storage)
    if pa.types.is_dictionary(values.type):
        return _without_extensions(values.dictionary_decode())
    return values
