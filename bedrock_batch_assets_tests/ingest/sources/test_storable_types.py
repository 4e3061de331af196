from collections.abc import Iterator
from decimal import Decimal

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
        (pa.RunEndEncodedArray.from_arrays([1, 3], pa.array(["a", None])), pa.array(["a", None, None])),
        (pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())), pa.array([[1], None, [2, 3]], pa.list_(pa.int8()))),
        (pa.array([["a"], None], pa.list_(pa.string_view())), pa.array([["a"], None], pa.list_(pa.large_string()))),
        (pa.array([[], None], pa.list_(pa.int8(), 0)), pa.array([[], None], pa.list_(pa.int8()))),
        (pa.array([Decimal(100)], pa.decimal128(5, -2)), pa.array([Decimal(100)], pa.decimal128(7, 0))),
        (pa.array([86_400_000, None], pa.date64()), pa.array([1, None], pa.date32())),
    ],
)
def test_other_types_become_their_values(values: pa.Array, expected: pa.Array) -> None:
    """Dictionaries and foreign extension types are unpacked, at any depth, and no value changes."""
    found = stored(pa.table({"a": values}))
    assert found.column("a").combine_chunks().equals(expected)


@pytest.mark.parametrize(
    "values",
    [pa.array([0, 86_400_005], pa.int64()).view(pa.date64()), pa.array([0, 2**62], pa.timestamp("s"))],
    ids=lambda values: str(values.type),
)
def test_a_value_that_would_change_is_refused(values: pa.Array) -> None:
    """Arrow would cut the first in silence while it writes Parquet. The message names column and row."""
    with pytest.raises(RequestError, match=r"column 'a' of type .*, row 2 \(counted from 1\), cannot be stored as"):
        stored(pa.table({"a": values}))


@pytest.mark.parametrize("kind", [pa.binary(0), pa.month_day_nano_interval(), pa.struct([])], ids=str)
def test_other_types_that_parquet_cannot_hold_are_refused(kind: pa.DataType) -> None:
    """Arrow has an error of its own for each."""
    with pytest.raises(RequestError, match=r"column 'a' has the type .*which Parquet cannot store"):
        stored(pa.table({"a": pa.nulls(1, kind)}))


def test_what_parquet_cannot_hold_is_refused() -> None:
    """The message names column and type, before a row is read."""
    values = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array(["x"])])
    with pytest.raises(RequestError, match="column 'a' has the type dense_union"):
        stored(pa.table({"a": values}))
