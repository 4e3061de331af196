import io
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.row_group_writer import as_file
from bedrock_batch_assets.parquet.tables import TableWriter, read_encoded_rows, read_rows
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns

ROWS = 3_500


def table() -> pa.Table:
    return pa.table({"id": pa.array(range(ROWS)), "text": [f"row {row}" for row in range(ROWS)]})


def write(path: Path, rows: pa.Table, batch_rows: int, rows_per_chunk: int = 1_000) -> None:
    with TableWriter(path, rows.schema, rows_per_chunk=rows_per_chunk) as writer:
        for batch in rows.to_batches(max_chunksize=batch_rows):
            writer.write(batch)


def group_rows(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


@pytest.mark.parametrize("batch_rows", [1, 7, 1_000, 3_500])
def test_row_groups_do_not_depend_on_batches(tmp_path: Path, batch_rows: int) -> None:
    """However the rows arrive, row groups are of one size, and the rows are all there."""
    write(tmp_path / "t.parquet", table(), batch_rows)
    assert group_rows(tmp_path / "t.parquet") == [1_000, 1_000, 1_000, 500]
    assert pq.read_table(tmp_path / "t.parquet").equals(table())


@pytest.mark.parametrize(("rows_per_chunk", "expected"), [(1, 1_000), (2_000, 2_000), (100_000, 3_500)])
def test_row_groups_follow_the_chunks(tmp_path: Path, rows_per_chunk: int, expected: int) -> None:
    """Row groups are as long as what is read at a time, neither tiny nor huge."""
    write(tmp_path / "t.parquet", table(), 500, rows_per_chunk)
    assert group_rows(tmp_path / "t.parquet")[0] == expected


def test_long_texts_have_neither_statistics_nor_a_dictionary(tmp_path: Path) -> None:
    """Long columns have neither, since both cost much there; short columns have both if their values repeat."""
    rows = pa.table({"text": [f"{row}" * 100 for row in range(10)], "id": list(range(10)), "day": ["monday"] * 10})
    write(tmp_path / "t.parquet", rows, 5)
    group = pq.read_metadata(tmp_path / "t.parquet").row_group(0)
    assert [group.column(place).is_stats_set for place in range(3)] == [False, True, True]
    assert [group.column(place).has_dictionary_page for place in range(3)] == [False, False, True]


def test_large_rows_make_short_row_groups(tmp_path: Path) -> None:
    """A reader's memory is bounded in bytes too: 100 rows of 2 MB are more than one row group."""
    rows = pa.table({"text": [f"{row:07d}" * 300_000 for row in range(100)]})
    write(tmp_path / "t.parquet", rows, 1)
    assert max(group_rows(tmp_path / "t.parquet")) <= 33
    assert pq.read_table(tmp_path / "t.parquet").equals(rows)


@pytest.mark.parametrize(("first", "count"), [(0, 3_500), (0, 1), (999, 2), (1_000, 1_000), (3_499, 1), (10, 0)])
def test_a_range_of_rows_is_read_back(tmp_path: Path, first: int, count: int) -> None:
    """Exactly the rows asked for, in order, from a path as from a file."""
    write(tmp_path / "t.parquet", table(), 500)
    expected = table().slice(first, count)
    for file in (tmp_path / "t.parquet", io.BytesIO((tmp_path / "t.parquet").read_bytes())):
        assert pa.Table.from_batches(read_rows(file, first, count, batch_rows=300), schema=expected.schema) == expected


@pytest.mark.parametrize("columns", [["text"], ["a.b", "text"], ["nested"], []])
def test_some_columns_are_read(tmp_path: Path, columns: list[str]) -> None:
    """Those asked for, whole, with dots in their names or nested; all rows, even without a column."""
    rows = table().append_column("a.b", pa.array(range(ROWS))).append_column("unread", pa.array(range(ROWS)))
    rows = rows.append_column("nested", pa.array([{"x": [row], "y": {"z": row}} for row in range(ROWS)]))
    write(tmp_path / "t.parquet", rows, 500)
    batches = list(read_rows(tmp_path / "t.parquet", 10, 2_000, columns=columns))
    assert sum(batch.num_rows for batch in batches) == 2_000
    assert {name for batch in batches for name in batch.schema.names} == {*columns}
    if columns:
        assert pa.Table.from_batches(batches).select(columns) == rows.select(columns).slice(10, 2_000)


def test_rows_beyond_the_end_are_an_error(tmp_path: Path) -> None:
    """A range that the file does not have is not cut short in silence."""
    write(tmp_path / "t.parquet", table(), 500)
    with pytest.raises(IndexError, match="rows 3000 to 3501 of a table of 3500"):
        list(read_rows(tmp_path / "t.parquet", 3_000, 501))


@pytest.mark.parametrize(("columns", "part"), [(None, 1 / 4), (["text"], 1 / 12)])
def test_only_what_is_asked_for_is_fetched(
    local_aws: LocalAws, tmp_path: Path, columns: list[str] | None, part: float
) -> None:
    """A chunk's rows come from S3 without the rest of the table, and columns without the others."""
    texts = [random.Random(row).randbytes(40).hex() for row in range(20_000)]
    rows = pa.table({"text": texts, "more": [random.Random(text).randbytes(80).hex() for text in texts]})
    write(tmp_path / "t.parquet", rows, 500)
    store = ObjectStore(local_aws.client("s3"), local_aws.create_bucket("data"))
    store.upload_file(tmp_path / "t.parquet", "t.parquet")
    fetched: list[int] = []

    def count(parsed: dict[str, Any], **_: object) -> None:
        fetched.append(parsed["ContentLength"])

    # The client is every test's: what this one listens to ends with it.
    store.client.meta.events.register("after-call.s3.GetObject", count)
    try:
        with store.open_reader("t.parquet", read_ahead=1_024) as file:
            found = pa.Table.from_batches(read_rows(file, 5_500, 1_000, columns=columns))
    finally:
        store.client.meta.events.unregister("after-call.s3.GetObject", count)
    assert found == rows.select(columns or rows.schema.names).slice(5_500, 1_000)
    assert sum(fetched) < (tmp_path / "t.parquet").stat().st_size * part


@pytest.mark.parametrize("column", ["text", "nested"])
def test_large_columns_that_are_not_read_make_no_short_batches(tmp_path: Path, column: str) -> None:
    """What counts is the size of what is read; read with the others, the same rows come few at a time."""
    rows = pa.table({"image": [f"{row:07d}" * 30_000 for row in range(200)], "text": ["short"] * 200})
    rows = rows.append_column("nested", pa.array([{"words": ["short"]}] * 200))
    write(tmp_path / "t.parquet", rows, 200)
    assert [batch.num_rows for batch in read_rows(tmp_path / "t.parquet", columns=[column])] == [200]
    for columns in (None, ["image", column]):
        assert max(batch.num_rows for batch in read_rows(tmp_path / "t.parquet", columns=columns)) < 60


@pytest.mark.parametrize(
    ("first", "count", "encoded"),
    [
        (0, ROWS, [1_000, 1_000, 1_000, 500]),
        (1_000, 1_000, [1_000]),
        (999, 1_002, [1_000]),
        (1, 999, []),
        (500, 3_000, [1_000, 1_000, 500]),
        (0, 0, []),
    ],
)
def test_whole_row_groups_of_a_range_stay_encoded(tmp_path: Path, first: int, count: int, encoded: list[int]) -> None:
    """The rows are those of the range, in order; only those of a row group that is not in it as a whole are decoded."""
    write(tmp_path / "t.parquet", table(), 500)
    for file in (tmp_path / "t.parquet", io.BytesIO((tmp_path / "t.parquet").read_bytes())):
        found = list(read_encoded_rows(file, first, count))
        assert [rows.row_count for rows in found if isinstance(rows, EncodedRows)] == encoded
        batches = [
            pa.Table.from_batches(read_rows(as_file(rows)) if isinstance(rows, EncodedRows) else [rows])
            for rows in found
        ]
        assert pa.concat_tables([table().schema.empty_table(), *batches]) == table().slice(first, count)


def test_encoded_rows_beyond_the_end_are_an_error(tmp_path: Path) -> None:
    """As decoded ones are."""
    write(tmp_path / "t.parquet", table(), 500)
    with pytest.raises(IndexError, match="rows 3000 to 3501 of a table of 3500"):
        list(read_encoded_rows(tmp_path / "t.parquet", 3_000, 501))


def test_a_table_of_another_writer_is_decoded(tmp_path: Path) -> None:
    """Its pages might mean something else below a footer of Arrow's."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1::DECIMAL(9, 2) AS a) TO '{tmp_path / 't.parquet'}' (FORMAT parquet)")
    [rows] = read_encoded_rows(tmp_path / "t.parquet")
    assert isinstance(rows, pa.RecordBatch)


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Pages that are too short would move all that comes after them."""

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            is_first_group = self.tell() == len(b"PAR1")
            found = super().read(size)
            return found[:-1] if is_first_group else found

    write(tmp_path / "t.parquet", table(), 500)
    with pytest.raises(EOFError, match="row group 0 ends after"):
        list(read_encoded_rows(Cut((tmp_path / "t.parquet").read_bytes())))


@pytest.mark.parametrize("name", typed_columns())
def test_types_survive(tmp_path: Path, name: str) -> None:
    """Every type is read back as it was written."""
    rows = pa.table({name: typed_columns()[name]})
    write(tmp_path / "t.parquet", rows, 2)
    found = pa.Table.from_batches(read_rows(tmp_path / "t.parquet"), schema=rows.schema)
    assert found.schema.equals(rows.schema)
    assert found.to_pylist() == rows.to_pylist()
    for encoded in read_encoded_rows(tmp_path / "t.parquet"):
        assert isinstance(encoded, EncodedRows)
        assert encoded.schema.equals(rows.schema)


def test_large_rows_come_few_at_a_time(tmp_path: Path) -> None:
    """A batch has megabytes, however many rows it might have; a row that is larger comes alone."""
    path = tmp_path / "t.parquet"
    sizes = [1 << 20] * 30 + [20 << 20]
    texts = pa.array([chr(97 + place % 26) * size for place, size in enumerate(sizes)], pa.string())
    write(path, pa.table({"text": texts}), batch_rows=1)
    batches = list(read_rows(path))
    assert [len(text) for batch in batches for text in batch["text"].to_pylist()] == sizes
    assert max(batch.nbytes for batch in batches[:-1]) <= 16 << 20
