"""Column types that Parquet gives back as they were."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.conversion import InexactError, converted

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.sources.source import Source

# The most digits of a 128-bit decimal (Arrow columnar format, "Decimal").
DIGITS_OF_128_BITS = 38


class StorableSource:
    """A source whose types survive being stored as Parquet, and whose values do.

    Almost all types do. Dictionaries (pandas' categoricals) and run-end encoded columns become their values, since each
    batch brings another dictionary; views of lists become lists; extension types other than Arrow's own become their
    storage; and what Parquet has no type for becomes the type that it is read back as, such as `timestamp[ms]` for
    `timestamp[s]`.
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
        """The rows, in the storable types.

        Raises:
            RequestError: A value would be changed by that. Names the column and the row.
        """
        if self._unchanged:
            yield from self._source.batches()
            return
        row = 0
        for batch in self._source.batches():
            columns = [self._converted(*pair, row) for pair in zip(batch.columns, self.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
            row += batch.num_rows

    def _converted(self, values: pa.Array, field: pa.Field, first_row: int) -> pa.Array:
        try:
            return converted(values, field.type)
        except InexactError as error:
            raise RequestError(
                f"{self.name}: column {field.name!r} of type {values.type}, row {first_row + error.position + 1} "
                f"(counted from 1), cannot be stored as {field.type} ({error.reason}): convert it first."
            ) from error


def _storable_field(source: str, field: pa.Field) -> pa.Field:
    plain = pa.field(field.name, storable_type(field.type), field.nullable)
    try:
        file = io.BytesIO()
        pq.ParquetWriter(file, pa.schema([plain])).close()
        stored = pq.read_schema(file).field(0)
    except (pa.ArrowException, OSError, ValueError) as error:
        # Arrow has a class of its own for most of these, and takes OSError for the rest.
        raise RequestError(
            f"{source}: column {field.name!r} has the type {field.type}, which Parquet cannot store "
            f"({str(error).strip().partition(chr(10))[0].rstrip('.')}): convert it first, or leave it out."
        ) from error
    # Field metadata is the file's (Parquet field ids), not the table's.
    return pa.field(field.name, stored.type, field.nullable)


def storable_type(kind: pa.DataType) -> pa.DataType:
    """The type without what only encodes values, and without foreign extension types, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind if is_canonical(kind) else storable_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return storable_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([_storable_child(kind.field(index)) for index in range(kind.num_fields)])
    if pa.types.is_map(kind):
        key = _storable_child(kind.key_field)
        return pa.map_(key, _storable_child(kind.item_field), keys_sorted=kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        # Parquet knows no lists without items; Arrow reads them back as if they had some.
        return pa.list_(_storable_child(kind.value_field), kind.list_size or -1)
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_storable_child(kind.value_field))
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_storable_child(kind.value_field))
    if pa.types.is_decimal(kind) and kind.scale < 0:
        # Parquet's decimals have no zeros left out before the point (parquet.thrift, DecimalType).
        digits = kind.precision - kind.scale
        return pa.decimal128(digits, 0) if digits <= DIGITS_OF_128_BITS else pa.decimal256(digits, 0)
    return kind


def is_canonical(kind: pa.BaseExtensionType) -> bool:
    """Whether an extension type is one of Arrow's own, which every reader knows.

    Source: Arrow columnar format, "Canonical Extension Types": their names begin with "arrow.".
    """
    return str(kind.extension_name).startswith("arrow.") and kind.extension_name != "arrow.py_extension_type"


def _storable_child(field: pa.Field) -> pa.Field:
    kind = storable_type(field.type)
    # Arrow's writer cannot cut views that are below other values (pyarrow 26, "Slicing not implemented").
    if pa.types.is_string_view(kind):
        kind = pa.large_string()
    elif pa.types.is_binary_view(kind):
        kind = pa.large_binary()
    return field.with_type(kind)
