from collections.abc import Iterator

import pyarrow as pa
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns


class Table:
    """A table in memory as a source."""

    def __init__(self, table: pa.Table) -> None:
        self.name = "table"
        self.schema = table.schema
        self._table = table

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=2)


class Pixels(pa.ExtensionType):  # type: ignore[misc]
    """An extension type as libraries define them."""

    def __init__(self) -> None:
        super().__init__(pa.list_(pa.list_(pa.uint8())), "test.pixels")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Pixels":
        return cls()


def stored(table: pa.Table) -> pa.Table:
    source = StorableSource(Table(table))
    return pa.Table.from_batches(source.batches(), schema=source.schema)


@pytest.mark.parametrize("name", typed_columns())
def test_storable_types_are_left_alone(name: str) -> None:
    """What Parquet keeps is not touched."""
    table = pa.table({name: typed_columns()[name]})
    assert stored(table).equals(table)


WORDS = ["a", None, "b", "a"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(WORDS).dictionary_encode(), pa.array(WORDS)),
        (
            pa.ListArray.from_arrays([0, 1, 3, 4], pa.array(WORDS).dictionary_encode()),
            pa.ListArray.from_arrays([0, 1, 3, 4], pa.array(WORDS)),
        ),
        (
            pa.StructArray.from_arrays([pa.array(WORDS).dictionary_encode()], ["x"]),
            pa.StructArray.from_arrays([pa.array(WORDS)], ["x"]),
        ),
        (
            pa.ExtensionArray.from_storage(Pixels(), pa.array([[[1], [2]], None], Pixels().storage_type)),
            pa.array([[[1], [2]], None], Pixels().storage_type),
        ),
        (pa.array([1, None], pa.timestamp("s", "UTC")), pa.array([1_000, None], pa.timestamp("ms", "UTC"))),
    ],
)
def test_other_types_become_their_values(values: pa.Array, expected: pa.Array) -> None:
    """Dictionaries and foreign extension types are unpacked, at any depth, and no value changes."""
    found = stored(pa.table({"a": values}))
    assert found.column("a").combine_chunks().equals(expected)


def test_what_parquet_cannot_hold_is_refused() -> None:
    """The message names column and type, before a row is read."""
    values = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array(["x"])])
    with pytest.raises(RequestError, match="column 'a' has the type dense_union"):
        stored(pa.table({"a": values}))
