import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources import parquet_source
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns


def parquet(table: pa.Table, row_group_size: int = 1_000) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=row_group_size)
    return file.getvalue()


def source(**files: bytes) -> ParquetSource:
    return ParquetSource(list(files), lambda name: io.BytesIO(files[name]))


def read(**files: bytes) -> pa.Table:
    opened = source(**files)
    return pa.Table.from_batches(opened.batches(), schema=opened.schema)


NUMBERS = pa.table({"id": pa.array(range(2_500)), "text": [f"row {row}" for row in range(2_500)]})


def test_files_follow_one_another() -> None:
    """The rows of several files are one table, in the order of the files."""
    assert read(a=parquet(NUMBERS.slice(0, 1_700)), b=parquet(NUMBERS.slice(1_700))) == NUMBERS


@pytest.mark.parametrize("row_group_size", [100, 2_500])
def test_batches_are_bounded_in_bytes(row_group_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large rows make short batches, and all rows arrive, whatever the row groups are."""
    monkeypatch.setattr(parquet_source, "_BATCH_BYTES", 10_000)
    table = pa.table({"text": [f"{row:0100d}" for row in range(2_500)], "id": range(2_500)})
    opened = source(a=parquet(table, row_group_size))
    batches = list(opened.batches())
    assert max(batch.nbytes for batch in batches) < 40_000
    assert pa.Table.from_batches(batches) == table


@pytest.mark.parametrize("name", typed_columns())
def test_types_are_kept(name: str) -> None:
    """Every type comes out as it is in the file."""
    table = pa.table({name: typed_columns()[name]})
    assert read(a=parquet(table)).equals(table)


def test_metadata_of_the_file_is_dropped() -> None:
    """What pandas or a dataset library noted about the file does not go into the result."""
    table = NUMBERS.replace_schema_metadata({"pandas": "{}", "huggingface": "{}"})
    assert source(a=parquet(table)).schema.metadata is None


def test_column_order_may_differ_between_files() -> None:
    """Columns are matched by name."""
    table = NUMBERS.slice(0, 10)
    assert read(a=parquet(table), b=parquet(table.select(["text", "id"]))) == pa.concat_tables([table, table])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (NUMBERS.select(["id"]), "b has no column 'text', which a has"),
        (NUMBERS.append_column("extra", NUMBERS["id"]), "b has a column 'extra', which a has not"),
        (NUMBERS.set_column(0, "id", NUMBERS["id"].cast("string")), "'id' is string in b and int64 in a"),
    ],
)
def test_files_with_other_columns_are_refused(other: pa.Table, words: str) -> None:
    """The message names file and column."""
    with pytest.raises(RequestError, match=words):
        read(a=parquet(NUMBERS), b=parquet(other))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"a is empty \(0 bytes\)"),
        (b"id,v\n1,2\n", "a is not a Parquet file"),
        (parquet(NUMBERS)[:-20], "a is a Parquet file without its end"),
        (parquet(NUMBERS)[:4] + bytes(3_000) + parquet(NUMBERS)[3_004:], "a (is damaged|cannot be read)"),
    ],
)
def test_what_is_not_parquet_is_refused(data: bytes, words: str) -> None:
    """Empty, other, cut and damaged files are named."""
    with pytest.raises(RequestError, match=words):
        read(a=data)


def test_an_error_while_fetching_stays_what_it_is() -> None:
    """A connection that breaks is not taken for a damaged file."""

    class Broken(io.BytesIO):
        broken = False

        def read(self, size: int | None = -1) -> bytes:
            if self.broken:
                raise ConnectionResetError("peer")
            return super().read(size)

    file = Broken(parquet(NUMBERS))
    opened = ParquetSource(["a"], lambda _: file)
    file.broken = True
    with pytest.raises(ConnectionResetError):
        list(opened.batches())
