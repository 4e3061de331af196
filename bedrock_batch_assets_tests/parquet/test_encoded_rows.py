"""Files that are put together from row groups as they are, judged by readers that do not know of it."""

import io
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.parquet.column_chunk_metadata import NUM_VALUES, RowGroupMetadata, row_group_metadata
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows, RowsToEncode
from bedrock_batch_assets.parquet.row_group_writer import RowGroupWriter, as_file, is_arrows_own
from bedrock_batch_assets.parquet.thrift_compact import Struct, decode_struct
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns

# Ids of fields in parquet.thrift: FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, Statistics.
_ROW_GROUPS = 4
_COLUMNS = 1
_META_DATA = 3
_STATISTICS, _ENCODING_STATS, _SIZE_STATISTICS = 12, 13, 16
_NULL_COUNT, _MAX_VALUE, _MIN_VALUE = 3, 5, 6

CODECS = ["none", "snappy", "zstd", "gzip", "brotli"]


def typed_batch() -> pa.RecordBatch:
    columns = typed_columns()
    columns["same"] = pa.array(["ok"] * 5)
    columns["a.b"] = pa.array(["x"] * 5)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def written(*rows: list[EncodedRows | RowsToEncode]) -> bytes:
    sink = io.BytesIO()
    writer = RowGroupWriter(sink, pa.schema([field for some in rows[0] for field in some.schema]))
    for side_by_side in rows:
        writer.append(*side_by_side)
    writer.close()
    return sink.getvalue()


def footer(file: bytes) -> Struct:
    return decode_struct(file[-8 - int.from_bytes(file[-8:-4], "little") : -8])


def column_chunks(file_metadata: Struct) -> list[Struct]:
    groups = file_metadata[_ROW_GROUPS].value.values
    return [chunk for group in groups for chunk in group[_COLUMNS].value.values]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cuts", [[], [1], [27], [3, 9, 20]])
def test_columns_beside_each_other_are_a_table(codec: str, cuts: list[int]) -> None:
    """Of every type, nested ones, nulls and extension types included; wherever they were apart, encoded or not."""
    batch = typed_batch()
    edges = [0, *cuts, batch.num_columns]
    groups: list[list[EncodedRows | RowsToEncode]] = []
    for start in (0, 2):
        group = batch.slice(start, 3 - start // 2)
        pieces = [group.select(range(low, high)) for low, high in itertools.pairwise(edges)]
        rows = [RowsToEncode(piece, {"compression": codec}) for piece in pieces]
        groups.append([some if place % 2 else some.encoded() for place, some in enumerate(rows)])
    found = pq.read_table(io.BytesIO(written(*groups)))
    found.validate(full=True)
    plain = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch.slice(0, 3), batch.slice(2, 2)]), plain)
    expected = pq.read_table(plain)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.equals(expected)


@pytest.mark.parametrize("names", [*([name] for name in typed_columns()), list(typed_columns())])
def test_columns_are_described_as_arrow_describes_them(names: list[str]) -> None:
    """Type, path, sizes, places, encodings and statistics are those of a file that Arrow writes by itself."""
    batch = pa.RecordBatch.from_arrays([typed_columns()[name] for name in names], names=names)
    plain = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch]), plain, compression="zstd")
    ours, arrows = (
        footer(file) for file in (written([RowsToEncode(batch, {"compression": "zstd"})]), plain.getvalue())
    )
    left_out = {_ENCODING_STATS, _SIZE_STATISTICS}
    for found in (chunk[_META_DATA].value for chunk in column_chunks(arrows)):
        for field in left_out & found.keys():
            del found[field]
        if _STATISTICS in found:
            for field in {*found[_STATISTICS].value} - {_NULL_COUNT, _MAX_VALUE, _MIN_VALUE}:
                del found[_STATISTICS].value[field]
    assert column_chunks(ours) == column_chunks(arrows)
    assert {**ours, _ROW_GROUPS: None} == {**arrows, _ROW_GROUPS: None}


def test_other_readers_read_it(tmp_path: Path) -> None:
    """DuckDB's own implementation finds every value, and skips row groups by statistics that are true."""
    rows = [[f"text {row}", row, row / 8, [row, None], row % 2 == 0] for row in range(4_000)]
    names = ["text", "number", "share", "list", "flag"]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, names=names)
    groups: list[list[EncodedRows | RowsToEncode]] = [
        [
            RowsToEncode(some.select([0, 1]), {"compression": "zstd"}).encoded(),
            RowsToEncode(some.select([2, 3, 4]), {"compression": "snappy"}),
        ]
        for some in (batch.slice(start, 1_000) for start in range(0, 4_000, 1_000))
    ]
    path = tmp_path / "t.parquet"
    path.write_bytes(written(*groups))
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT * FROM '{path}'").fetchall() == [tuple(row) for row in rows]
        for number in (0, 999, 1_000, 3_999):
            query = f"SELECT text FROM '{path}' WHERE number = {number} AND share = {number / 8}"
            assert connection.execute(query).fetchall() == [(f"text {number}",)]


def test_rows_are_decoded_by_themselves() -> None:
    """Encoded rows are enough to get the rows back."""
    batch = typed_batch()
    rows = RowsToEncode(batch, {"compression": "zstd"}).encoded()
    assert pq.read_table(as_file(rows)).equals(pa.Table.from_batches([batch]))


def test_pages_that_come_at_another_time_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are written before the file's own footer would be: else later ones would be looked for in a wrong place."""
    rows = RowsToEncode(pa.RecordBatch.from_pydict({"a": [1, 2]}), {"compression": "snappy"})
    size = rows.write_to(io.BytesIO()).size

    def write_late(writer: pq.ParquetWriter, table: pa.Table, **_: int) -> None:
        late.append((writer, table))

    def close(writer: pq.ParquetWriter) -> None:
        for waiting, table in late:
            write_table(waiting, table)
        late.clear()
        end(writer)

    late: list[tuple[pq.ParquetWriter, pa.Table]] = []
    write_table, end = pq.ParquetWriter.write_table, pq.ParquetWriter.close
    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_late)
    monkeypatch.setattr(pq.ParquetWriter, "close", close)
    with pytest.raises(ValueError, match=f"{size} bytes was written with 0 bytes"):
        rows.write_to(io.BytesIO())


def test_no_rows_are_a_file() -> None:
    """With its schema."""
    sink = io.BytesIO()
    RowGroupWriter(sink, typed_batch().schema).close()
    found = pq.read_table(io.BytesIO(sink.getvalue()))
    assert (len(found), found.schema) == (0, typed_batch().schema)


def test_what_does_not_fit_is_refused() -> None:
    """Nothing is written that would be read as something else."""
    two, three = (pa.RecordBatch.from_pydict({"a": list(range(count))}) for count in (2, 3))
    other = pa.RecordBatch.from_pydict({"b": ["x", "y"]})
    options: dict[str, Any] = {"compression": "snappy"}
    sink = io.BytesIO()
    writer = RowGroupWriter(sink, pa.schema([*two.schema, *other.schema]))
    for batches, message in [
        ([two], "are not the file's"),
        ([other, two], "are not the file's"),
        ([three, other], "rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            writer.append(*(RowsToEncode(batch, options) for batch in batches))
    assert sink.getvalue() == b"PAR1"
    for encode in (RowsToEncode.encoded, lambda rows: rows.write_to(io.BytesIO())):
        with pytest.raises(ValueError, match="not known"):
            encode(RowsToEncode(two, {"compression": "lz4"}))


def encode(rows: RowsToEncode, how: str) -> None:
    if how == "encoded":
        rows.encoded()
    else:
        rows.write_to(io.BytesIO())


@pytest.mark.parametrize("how", ["encoded", "write_to"])
@pytest.mark.parametrize("group_rows", [1, 50, 99])
def test_a_row_group_that_arrow_splits_is_refused(monkeypatch: pytest.MonkeyPatch, how: str, group_rows: int) -> None:
    """The footer would count all rows, and readers would find those of the first row group alone."""
    write_table = pq.ParquetWriter.write_table

    def split(writer: pq.ParquetWriter, table: pa.Table, row_group_size: int) -> None:
        assert row_group_size == len(table)
        write_table(writer, table, row_group_size=group_rows)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", split)
    rows = RowsToEncode(pa.RecordBatch.from_pydict({"a": list(range(100))}), {"compression": "snappy"})
    with pytest.raises(ValueError, match="row groups of 100 rows together for one of 100"):
        encode(rows, how)


@pytest.mark.parametrize("how", ["encoded", "write_to"])
@pytest.mark.parametrize("kept", [0, 99])
def test_a_row_group_that_arrow_writes_with_other_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch, how: str, kept: int
) -> None:
    """What counts is what Arrow says that it wrote, and not what it was given."""
    write_table = pq.ParquetWriter.write_table
    monkeypatch.setattr(
        pq.ParquetWriter,
        "write_table",
        lambda writer, table, row_group_size: write_table(writer, table.slice(0, kept), row_group_size),
    )
    rows = RowsToEncode(pa.RecordBatch.from_pydict({"a": list(range(100))}), {"compression": "snappy"})
    with pytest.raises(ValueError, match=f"1 row groups of {kept} rows together for one of 100"):
        encode(rows, how)


@dataclass
class Changed:
    """Rows whose pages are described otherwise than they are."""

    rows: EncodedRows
    row_count: int = 5
    values: int = 0

    @property
    def schema(self) -> pa.Schema:
        return self.rows.schema

    def write_to(self, file: BinaryIO) -> RowGroupMetadata:
        place = self.rows.write_to(file)
        columns = [
            {**column, NUM_VALUES: column[NUM_VALUES]._replace(value=column[NUM_VALUES].value + self.values)}
            for column in place.columns
        ]
        return replace(place, columns=columns)


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        # The writer says five rows, and the pages have four.
        (pa.array([1, 2, 3, 4]), {}, "4 rows of \\['a'\\] were written instead of 5"),
        (pa.array([1, 2, 3, None, 5]), {"values": -1}, "the column a has 4 values in a row group of 5 rows"),
        (pa.array([1, 2, 3, None, 5]), {"values": 1}, "the column a has 6 values in a row group of 5 rows"),
        # The list has one value a row, and so at least has any column that repeats.
        (pa.array([[1], [], None, [4], [5]]), {"values": -1}, "a.list.element has 4 values in a row group of 5 rows"),
        (pa.array([{"x": [1], "y": 1}] * 5), {"values": -1}, "a.x.list.element has 4 values in a row group of 5 rows"),
        (pa.array([{"x": [1], "y": 1}] * 5), {"values": 1}, "a.y has 6 values in a row group of 5 rows"),
    ],
)
def test_columns_that_do_not_hold_the_rows_of_their_group_are_refused(
    column: pa.Array, change: dict[str, int], message: str
) -> None:
    """Whoever wrote them, and whatever they were given: no footer is made that says otherwise."""
    rows = RowsToEncode(pa.RecordBatch.from_arrays([column], names=["a"]), {"compression": "snappy"}).encoded()
    writer = RowGroupWriter(io.BytesIO(), rows.schema)
    with pytest.raises(ValueError, match=message):
        writer.append(Changed(rows, **change))


def test_repeated_columns_may_hold_more_values_than_rows() -> None:
    """At any depth: below a list, in a struct in a list, and in a map."""
    columns = [
        pa.array([[1, 2], [], None]),
        pa.array([[{"x": 1}, {"x": 2}], None, []]),
        pa.array([{"x": [[1, 2], [3]]}, None, {"x": None}]),
        pa.array([[("k", 1), ("l", 2)], None, []], pa.map_(pa.string(), pa.int8())),
    ]
    batch = pa.RecordBatch.from_arrays([*columns, pa.array([1, 2, 3])], names=list("abcde"))
    found = pq.read_table(io.BytesIO(written([RowsToEncode(batch, {"compression": "snappy"})])))
    assert found.equals(pa.Table.from_batches([batch]))


def test_what_others_have_written_otherwise_is_not_taken_for_arrows_own(tmp_path: Path) -> None:
    """A file whose Parquet schema Arrow would not write like that: its columns would change their meaning."""
    own, other = tmp_path / "own.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), own)
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1::DECIMAL(9, 2) AS a) TO '{other}' (FORMAT parquet)")
    assert is_arrows_own(pq.ParquetFile(own))
    assert not is_arrows_own(pq.ParquetFile(other))


def test_a_group_that_is_not_in_one_piece_has_no_place(tmp_path: Path) -> None:
    """Nor has one with a codec that is not known."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path, compression="lz4")
    assert row_group_metadata(pq.read_metadata(path), 0) is None

    class Column:
        file_path, compression, encodings = "", "SNAPPY", ("PLAIN",)
        dictionary_page_offset, total_compressed_size = 0, 10

        def __init__(self, start: int) -> None:
            self.data_page_offset = start

    class Group:
        num_columns = 2

        def column(self, number: int) -> Column:
            return Column(4 + 15 * number)

    class Metadata:
        def row_group(self, _: int) -> Group:
            return Group()

    assert row_group_metadata(Metadata(), 0) is None
