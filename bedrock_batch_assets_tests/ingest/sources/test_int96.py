"""Times of type INT96, which reach further than Arrow's timestamps and are finer than most of them."""

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets.records.column_texts import text_column
from bedrock_batch_assets_tests.parquet.crafted_files import int96_file, parquet
from bedrock_batch_assets_tests.records.generated_columns import plain_values, read_text

SECOND = 10**9
FAR = 253_402_214_400 * SECOND  # 9999-12-31
EARLY = -62_135_596_800 * SECOND  # 0001-01-01
NOON = 1_714_564_800 * SECOND + 123_456_789  # With nanoseconds.


def read(**files: bytes) -> pa.Table:
    source = ParquetSource(list(files), lambda name: io.BytesIO(files[name]))
    return pa.Table.from_batches(source.batches(), schema=source.schema)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([0, None, NOON], "ns"),
        ([-1, 2**63 - 1 - 10**6, -(2**63) + 10**6], "ns"),
        ([FAR, None, EARLY, 0], "us"),
        ([9_000_000_000_000 * SECOND, -210_000_000_000 * SECOND], "us"),
        ([None, None], "ns"),
    ],
)
def test_the_unit_holds_what_was_written(values: list[int | None], unit: str) -> None:
    """Years before 1677 and after 2262 are read in microseconds, and all others as they always were."""
    table = read(a=int96_file(values))
    assert table.schema.field("at").type == pa.timestamp(unit)
    assert plain_values(table.column("at").combine_chunks()) == values


_CENTURIES = st.integers(-62_135_596_800, 253_402_300_799)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | _CENTURIES, min_size=1, max_size=5), st.integers(0, SECOND - 1), st.booleans())
def test_any_time_comes_out_or_is_refused(seconds: list[int | None], part: int, is_fine: bool) -> None:
    """Column and prompt have the dates that were written; a column is refused if no type holds all of its values."""
    rest = part if is_fine else part // 1_000 * 1_000
    values = [None if second is None else second * SECOND + rest for second in seconds]
    some = [value for value in values if value is not None]
    is_far = any(not -(2**63) + 1_000 <= value < 2**63 - 1_000 for value in some)
    if is_far and rest % 1_000:
        with pytest.raises(RequestError, match=r"Column 'at' .*row \d of a.*row \d of a.*microseconds"):
            read(a=int96_file(values))
        return
    column = read(a=int96_file(values)).column("at").combine_chunks()
    assert plain_values(column) == values
    assert [read_text(text, column.type) for text in text_column(column, "at").to_pylist()] == values


def test_a_column_that_no_type_holds_is_refused_by_its_rows() -> None:
    """One value needs nanoseconds and another is out of their range: both are named, in whichever files they are."""
    files = {"a": int96_file([0, NOON]), "b": int96_file([0, 0, FAR])}
    with pytest.raises(RequestError, match=r"Column 'at' .*in row 3 of b, and one with nanoseconds in row 2 of a"):
        read(**files)
    beyond = int96_file([0, 10**12 * 86_400 * SECOND // 10])
    with pytest.raises(RequestError, match=r"a: column 'at' has a time in row 2 .*no type of timestamp holds"):
        read(a=beyond)


def test_each_column_has_its_own_unit() -> None:
    """Far years in one column do not cost the other its nanoseconds, and other columns stay beside them."""
    fine = pa.array([1, None, 3], pa.timestamp("ns"))
    table = read(a=int96_file([FAR, None, EARLY], fine=fine, topic=pa.array(["a", "b", "c"])))
    assert [str(field.type) for field in table.schema] == ["timestamp[us]", "timestamp[ns]", "string"]
    assert plain_values(table.column("at").combine_chunks()) == [FAR, None, EARLY]
    assert plain_values(table.column("fine").combine_chunks()) == [1, None, 3]
    assert table.column("topic").to_pylist() == ["a", "b", "c"]


def test_times_in_lists_and_structs_are_looked_at() -> None:
    """A time after 2262 inside of a list is no other year either."""
    marked = pa.array([[{"at": 5}], [], None], pa.list_(pa.struct([("at", pa.timestamp("ns"))])))
    options: dict[str, Any] = {"use_deprecated_int96_timestamps": True, "use_dictionary": False, "store_schema": False}
    data = parquet(pa.table({"at": marked}), compression="none", write_statistics=False, **options)
    near, far = (int96_file([value])[int96_file([5]).index(int96_marker(5)) :][:12] for value in (5, FAR))
    assert data.count(near) == 1
    table = read(a=data.replace(near, far))
    assert plain_values(table.column("at").combine_chunks()) == [[{"at": FAR}], [], None]
    assert read(a=data).schema.field("at").type.value_type.field("at").type == pa.timestamp("ns")


def int96_marker(nanoseconds: int) -> bytes:
    return nanoseconds.to_bytes(8, "little") + (2_440_588).to_bytes(4, "little")


def test_rows_beyond_the_bound_decide_nothing() -> None:
    """Only rows that are used are looked at, so a far row beyond them does not change the type of the others."""
    files = {"a": int96_file([0, NOON]), "b": int96_file([0, NOON, FAR])}
    for names in (["a", "b"], ["b"]):
        source = ParquetSource(names, lambda name: io.BytesIO(files[name]), max_rows=2)
        assert source.schema.field("at").type == pa.timestamp("ns")


def test_parts_of_both_kinds_are_one_table() -> None:
    """A part with timestamps in microseconds, far ones too, goes with one of type INT96."""
    new = parquet(pa.table({"at": pa.array([FAR // 1_000], pa.timestamp("us"))}))
    for names in ("ab", "ba"):
        files = {"a": int96_file([0]), "b": new}
        table = read(**{name: files[name] for name in names})
        assert table.schema.field("at").type == pa.timestamp("us")
        expected = {"a": 0, "b": FAR}
        assert plain_values(table.column("at").combine_chunks()) == [expected[name] for name in names]


def test_a_damaged_column_is_named_by_its_file() -> None:
    """Times are looked at before the rows are read, and what is wrong with the file is told all the same."""
    data = parquet(pa.table({"at": pa.array(range(5_000), pa.timestamp("ns"))}), use_deprecated_int96_timestamps=True)
    with pytest.raises(RequestError, match=r"^a is damaged"):
        read(a=data[:4] + bytes(1_000) + data[1_004:])
