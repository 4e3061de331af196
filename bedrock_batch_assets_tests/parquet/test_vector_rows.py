"""Pages of vectors, judged by readers that do not know who wrote them."""

import io
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet import vector_rows
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.row_group_writer import RowGroupWriter
from bedrock_batch_assets.parquet.vector_rows import VectorRows

TYPE = pa.list_(pa.float32())
VECTORS = st.none() | st.lists(st.floats(width=32), max_size=6)


def written(rows: VectorRows) -> bytes:
    sink = io.BytesIO()
    writer = RowGroupWriter(sink, rows.schema)
    writer.append(rows)
    writer.append(rows)
    writer.close()
    return sink.getvalue()


def same_bits(found: pa.Array, expected: pa.Array) -> bool:
    """Whether the vectors are the same, NaN and negative zero included."""
    rows = [
        [None if vector is None else np.array(vector, np.float32).tobytes() for vector in column.to_pylist()]
        for column in (found, expected)
    ]
    return rows[0] == rows[1]


@settings(deadline=None, max_examples=200)
@given(st.lists(VECTORS, min_size=1, max_size=12), st.data())
def test_vectors_are_read_as_they_were(vectors: list[list[float] | None], data: st.DataObject) -> None:
    """By Arrow: null, empty and of any length, from the middle of a column too, wherever pages end."""
    start = data.draw(st.integers(0, len(vectors) - 1))
    column = pa.array(vectors, TYPE).slice(start, data.draw(st.integers(1, len(vectors) - start)))
    rows = VectorRows.of(pa.field("v", TYPE), column)
    assert rows is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_rows, "_PAGE_BYTES", data.draw(st.sampled_from([1, 20, 50, 1 << 20])))
        file = written(rows)
    groups = pq.ParquetFile(io.BytesIO(file))
    for group in range(2):
        found = groups.read_row_group(group).column("v").combine_chunks()
        found.validate(full=True)
        assert found.type == TYPE
        assert same_bits(found, column)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_vectors_whose_pages_do_not_hold_all_rows_are_refused(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """A page that is not written is seen when the column is: no footer counts its rows."""
    rows = VectorRows.of(pa.field("v", TYPE), pa.array([[1.0, 2.0]] * 5, TYPE))
    assert rows is not None
    monkeypatch.setattr(vector_rows, "_PAGE_BYTES", 16)
    pages = list(rows._pages())
    assert [page.row_count for page in pages] == [2, 2, 1]
    monkeypatch.setattr(VectorRows, "_pages", lambda _: (page for place, page in enumerate(pages) if place != lost))
    with pytest.raises(ValueError, match="rows of \\['v'\\] were written instead of 5"):
        RowGroupWriter(io.BytesIO(), rows.schema).append(rows)


def test_numbers_may_begin_anywhere() -> None:
    """Offsets count from where the numbers' own array begins, which may be the middle of another's."""
    numbers = pa.array(range(10), pa.float32()).slice(4)
    column = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), numbers)
    rows = VectorRows.of(pa.field("v", TYPE), column)
    assert rows is not None
    found = pq.ParquetFile(io.BytesIO(written(rows))).read_row_group(0)
    assert found.column("v").to_pylist() == [[4.0, 5.0], [6.0]]


def test_other_readers_read_vectors(tmp_path: Path) -> None:
    """DuckDB's own implementation finds every number, in pages of a megabyte beside other columns."""
    vectors = [None if row % 7 == 3 else [row + place / 1024 for place in range(1024)] for row in range(700)]
    batch = pa.RecordBatch.from_pydict({"id": list(range(700)), "embedding": pa.array(vectors, TYPE)})
    path = tmp_path / "t.parquet"
    with PartFile(path, OutputFormat.parquet) as part:
        part.write(batch.slice(0, 300))
        part.write(batch.slice(300))
    assert pq.read_metadata(path).row_group(0).column(1).compression == "UNCOMPRESSED"
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT id, embedding FROM '{path}'").fetchall()
    assert found == list(enumerate(vectors))


def test_a_column_is_described_as_what_it_is(tmp_path: Path) -> None:
    """Its number of levels and its size, as Arrow counts them."""
    column = pa.array([[1.0, 2.0], None, [], [3.0]], TYPE)
    batch = pa.RecordBatch.from_arrays([column, column], names=["first", "last"])
    with PartFile(tmp_path / "part", OutputFormat.parquet) as part:
        part.write(batch)
    arrows, ours = (pq.read_metadata(tmp_path / "part").row_group(0).column(place) for place in range(2))
    assert ours.num_values == arrows.num_values == 5
    assert ours.path_in_schema == "last.list.element"
    assert (tmp_path / "part").stat().st_size > ours.data_page_offset + ours.total_compressed_size


@pytest.mark.parametrize(
    "column",
    [
        pa.array([], TYPE),
        pa.array([[1.0, None]], TYPE),
        pa.array([[1.0]], pa.list_(pa.float64())),
        pa.array([[1.0]], pa.large_list(pa.float32())),
        pa.array([[1.0]], pa.list_(pa.float32(), 1)),
        pa.array(["x"]),
        # A null that has a number all the same.
        pa.Array.from_buffers(
            TYPE,
            1,
            [pa.py_buffer(b"\x00"), pa.py_buffer(np.array([0, 1], np.int32))],
            children=[pa.array([1.0], pa.float32())],
        ),
    ],
)
def test_other_columns_are_left_to_arrow(column: pa.Array) -> None:
    """Whatever has nulls among its numbers, or is no list of them."""
    assert VectorRows.of(pa.field("v", column.type), column) is None


def test_a_column_that_is_never_null_is_left_to_arrow(tmp_path: Path) -> None:
    """Its levels are others."""
    field = pa.field("v", TYPE, nullable=False)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["x"]), pa.array([[1.5]], TYPE)], schema=pa.schema([("a", pa.string()), field])
    )
    with PartFile(tmp_path / "part", OutputFormat.parquet) as part:
        part.write(batch)
    assert pq.read_table(tmp_path / "part").equals(pa.Table.from_batches([batch]))
