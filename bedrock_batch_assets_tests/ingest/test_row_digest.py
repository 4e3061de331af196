import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.ingest import row_digest
from bedrock_batch_assets.ingest.row_digest import digest_ranges, digest_rows, digest_texts
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns


def digest(table: pa.Table, batch_rows: int | None = None) -> str:
    return digest_rows(table.schema, table.to_batches(max_chunksize=batch_rows))


@pytest.mark.parametrize("nulls", [True, False])
@pytest.mark.parametrize("name", typed_columns())
def test_layout_does_not_count(name: str, nulls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, slices, offsets, and copies of the same values of any type give the same digest."""
    monkeypatch.setattr(row_digest, "_BLOCK_ROWS", 7)
    values = typed_columns()[name]
    if not nulls and name != "null":
        values = values.drop_null().take(pa.array([0, 1, 2, 1, 0]))
    plain = pa.table({"a": pa.concat_arrays([values] * 4)})
    expected = digest(plain)
    assert digest(plain, 1) == digest(plain, 3) == expected
    surrounded = pa.concat_arrays([values.slice(2), *[values] * 4, values.slice(1)])
    assert digest(pa.table({"a": surrounded.slice(3, 20)})) == expected
    assert digest(plain.take(pa.array(range(20)))) == expected


@pytest.mark.parametrize("name", [name for name in typed_columns() if name != "null"])
def test_every_value_counts(name: str) -> None:
    """Another order, another value, a null more, a row more, or another column name is another digest."""
    values = typed_columns()[name]
    tables = [
        pa.table({"a": values}),
        pa.table({"b": values}),
        pa.table({"a": values.take(pa.array([1, 0, 2, 3, 4]))}),
        pa.table({"a": values.take(pa.array([0, 1, 2, 3, 0]))}),
        pa.table({"a": values.take(pa.array([None, 1, 2, 3, 4]))}),
        pa.table({"a": values.take(pa.array([0, 1, 2, 3, 4, 4]))}),
        pa.table({"a": values.slice(0, 0)}),
    ]
    assert len({digest(table) for table in tables}) == len(tables)


def test_text_boundaries_count() -> None:
    """The same characters split elsewhere are other values, in columns, lists and texts."""
    assert digest(pa.table({"a": ["ab", "c"]})) != digest(pa.table({"a": ["a", "bc"]}))
    assert digest(pa.table({"a": [["a"], ["b"]]})) != digest(pa.table({"a": [["a", "b"], []]}))
    assert digest(pa.table({"a": ["", None]})) != digest(pa.table({"a": [None, ""]}))
    assert digest_texts(["ab", "c"]) != digest_texts(["a", "bc"])


def test_types_count_and_metadata_does_not() -> None:
    """The same bytes under another type are other rows; what a file says about itself is nothing of theirs."""
    numbers = pa.array([1, 2], pa.int64())
    assert digest(pa.table({"a": numbers})) != digest(pa.table({"a": numbers.cast(pa.timestamp("us"))}))
    assert digest(pa.table({"a": numbers})) == digest(pa.table({"a": numbers}).replace_schema_metadata({"x": "y"}))


def test_what_lies_under_nulls_does_not_count() -> None:
    """Two arrays that differ in the bytes of their nulls alone are equal."""
    validity = pa.py_buffer(bytes([0b101]))
    arrays = [
        pa.Array.from_buffers(pa.int64(), 3, [validity, pa.py_buffer(np.array(data, dtype=np.int64).tobytes())])
        for data in ([1, 7, 3], [1, 8, 3])
    ]
    assert pc.equal(arrays[0], arrays[1]).to_pylist() == [True, None, True]
    assert digest(pa.table({"a": arrays[0]})) == digest(pa.table({"a": arrays[1]}))
    no_bitmap = pa.array([1, 2, 3], pa.int64())
    with_bitmap = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\xff"), no_bitmap.buffers()[1]])
    assert digest(pa.table({"a": no_bitmap})) == digest(pa.table({"a": with_bitmap}))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.lists(st.integers(0, 9), max_size=6))
def test_ranges_have_the_digests_of_their_rows(row_counts: list[int], batch_rows: list[int]) -> None:
    """Of any length, none included, from batches of any length: each as if it were a table of its own."""
    count = sum(row_counts)
    table = pa.table({"a": [f"row {row}" for row in range(count)], "b": pa.array(range(count), pa.int64())})
    edges = np.minimum(np.cumsum([0, *batch_rows, count]), count).tolist()
    rows = table.combine_chunks().to_batches()[0] if count else pa.RecordBatch.from_pylist([], table.schema)
    batches = [rows.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
    starts = np.cumsum([0, *row_counts]).tolist()
    expected = [digest(table.slice(start, rows)) for start, rows in zip(starts, row_counts, strict=False)]
    assert list(digest_ranges(table.schema, batches, row_counts)) == expected


class Counter:
    """Stands in for a hash, and counts its bytes: two gigabytes would take seconds."""

    size = 0

    def __init__(self, digest_size: int) -> None:
        Counter.size = 0

    def update(self, data: bytes | memoryview) -> None:
        Counter.size += len(data)

    def hexdigest(self) -> str:
        return ""


def test_a_block_may_hold_more_text_than_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of many megabytes, in batches of their own, are never put into one column."""
    monkeypatch.setattr(hashlib, "blake2b", Counter)
    text = pa.py_buffer(bytes(1 << 20))
    offsets = pa.py_buffer(np.array([0, 1 << 20], np.int32))
    column = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, text])
    batch = pa.RecordBatch.from_arrays([column], names=["image"])
    digest_rows(batch.schema, [batch] * 2_048)
    assert Counter.size > 2**31


def test_digests_stay_what_they_were() -> None:
    """Another digest would make every chunk of every batch look changed."""
    table = pa.table({name: values for name, values in typed_columns().items() if name != "uuid"})
    assert digest(table) == "e6b19f361cd7eddd"


def test_extension_types_below_others_are_digested() -> None:
    """A list of uuids has the digest of its values, wherever it was cut; another uuid gives another."""

    def column(*numbers: int | None) -> pa.Array:
        """Lists of one uuid each, null for None."""
        identifiers = pa.array([bytes([number or 0]) * 16 for number in numbers], pa.binary(16))
        return pa.ListArray.from_arrays(
            pa.array(range(len(numbers) + 1), pa.int32()),
            pa.ExtensionArray.from_storage(pa.uuid(), identifiers),
            mask=pa.array([number is None for number in numbers]),
        )

    def digest(*pieces: pa.Array) -> str:
        batches = [pa.RecordBatch.from_arrays([piece], names=["a"]) for piece in pieces]
        return digest_rows(batches[0].schema, batches)

    # Of a piece that holds nulls alone, Arrow cannot drop them (pyarrow 26).
    assert digest(column(1, None, 3)) == digest(column(0, 1).slice(1), column(None), column(3))
    assert digest(column(1, None, 3)) != digest(column(1, None, 4))
