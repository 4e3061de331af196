"""Files of the result table."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet import part_file
from bedrock_batch_assets.parquet.encoded_rows import RowsToEncode
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.part_formats import PartFormat, part_format
from bedrock_batch_assets.parquet.part_head import read_head
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns

ROWS = [{"a": f"row {index}\nwith a break", "n": index} for index in range(8)]


@pytest.mark.parametrize("count", [1, 5, 8, 20])
@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_head_is_the_first_rows_as_far_as_there_are_any(
    tmp_path: Path, output_format: OutputFormat, count: int
) -> None:
    """Asked for more rows than there are, all come; otherwise so many as were asked for, from the first on."""
    path = tmp_path / "part"
    with PartFile(path, output_format) as part:
        part.write(pa.RecordBatch.from_pylist(ROWS))
    with path.open("rb") as file:
        head = read_head(file, output_format, count)
    assert [row["a"] for row in head] == [row["a"] for row in ROWS[:count]]


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_head_is_read_over_texts_of_any_length_and_groups_of_any_size(
    tmp_path: Path, output_format: OutputFormat
) -> None:
    """A cell longer than Python's reader of CSV takes by itself, rows of megabytes, and a row group for each row."""
    path = tmp_path / "part"
    texts = [f"{row}" * 200_000 if row % 2 else f"{row}" * 9_000_000 for row in range(6)]
    with PartFile(path, output_format) as part:
        for text in texts:
            part.write(pa.RecordBatch.from_pydict({"a": [text]}))
    with path.open("rb") as file:
        head = read_head(file, output_format, 5)
    assert [row["a"][:100] for row in head] == [text[:100] for text in texts[:5]]


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_no_rows_are_no_file(tmp_path: Path, output_format: OutputFormat) -> None:
    """Without rows there is no schema, and what is without a footer is no Parquet file."""
    with PartFile(tmp_path / "part", output_format):
        pass
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("large", ["encoded", "batch"])
def test_batches_wait_for_those_before_them_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: str
) -> None:
    """However few they are: what is on its way is bounded, be it encoded already or not."""
    monkeypatch.setattr(part_file, "_WAITING_BYTES", 50_000)
    text = pa.RecordBatch.from_pydict({"a": [random.Random(1).randbytes(40_000)]})
    small = pa.RecordBatch.from_pydict({"b": [1]})
    sizes = (text, small) if large == "encoded" else (small, text)
    rows = RowsToEncode(sizes[0], {"compression": "none"}).encoded()
    with PartFile(tmp_path / "part", OutputFormat.parquet) as part:
        for _ in range(5):
            part.write_beside(rows, sizes[1])
            assert len(part._waiting) <= 1
    assert pq.read_metadata(tmp_path / "part").num_rows == 5


def test_csv_holds_lists_as_json_and_nulls_as_nothing(tmp_path: Path) -> None:
    """What CSV has no type for is JSON, and a null is an empty cell."""
    path = tmp_path / "part.csv"
    batch = pa.RecordBatch.from_pydict({"vector": [[0.5, 1.0], None], "text": ["x", None]})
    with PartFile(path, OutputFormat.csv) as part:
        part.write(batch)
    with path.open("rb") as file:
        head = read_head(file, OutputFormat.csv, 2)
    assert head == [{"vector": "[0.5, 1.0]", "text": "x"}, {"vector": "", "text": ""}]


def test_csv_has_one_header(tmp_path: Path) -> None:
    """However many batches there are, and in their order."""
    path = tmp_path / "part.csv"
    with PartFile(path, OutputFormat.csv) as part:
        for number in range(20):
            part.write(pa.RecordBatch.from_pydict({"n": [number]}))
    assert path.read_text().split() == ['"n"', *map(str, range(20))]


@pytest.mark.parametrize("batch_rows", [1, 2, 5])
def test_parquet_gives_every_value_back(tmp_path: Path, batch_rows: int) -> None:
    """Columns of all types, nested ones and nulls included, whichever of them are written with a dictionary."""
    columns = typed_columns()
    columns["same"] = pa.array(["ok"] * 5)
    columns["list.list.element"] = pa.array(["x"] * 5)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    path = tmp_path / "part"
    with PartFile(path, OutputFormat.parquet) as part:
        for start in range(0, 5, batch_rows):
            part.write(batch.slice(start, batch_rows))
    assert pq.read_table(path).equals(pa.Table.from_batches([batch]))


def test_only_columns_that_repeat_have_a_dictionary(tmp_path: Path) -> None:
    """By the first rows: a text of its own on every row has none."""
    path = tmp_path / "part"
    columns = {"text": [f"text {row}" for row in range(10)], "status": ["ok"] * 10, "vector": [[0.5]] * 10}
    with PartFile(path, OutputFormat.parquet) as part:
        part.write(pa.RecordBatch.from_pydict(columns))
    group = pq.read_metadata(path).row_group(0)
    with_dictionary = [group.column(place).has_dictionary_page for place in range(3)]
    assert with_dictionary == [False, True, False]


def test_long_texts_and_vectors_have_no_statistics(tmp_path: Path) -> None:
    """All else has: readers skip row groups by them."""
    path = tmp_path / "part"
    columns = {"id": list(range(10)), "key": ["k" * 36] * 10, "text": ["t" * 200] * 10, "vector": [[0.5]] * 10}
    with PartFile(path, OutputFormat.parquet) as part:
        part.write(pa.RecordBatch.from_pydict(columns))
    group = pq.read_metadata(path).row_group(0)
    assert [group.column(place).is_stats_set for place in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("batches_before", [0, 1, 2, 9])
@pytest.mark.parametrize("batches_after", [0, 1, 9])
@pytest.mark.parametrize("step", ["encoded", "append"])
@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_what_a_thread_cannot_encode_or_write_comes_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output_format: OutputFormat,
    step: str,
    batches_after: int,
    batches_before: int,
) -> None:
    """At a later batch or at the end; and there is no file that would look whole, nor a thread."""
    path = tmp_path / "part"
    good, bad = (pa.RecordBatch.from_pydict({"a": [number]}) for number in range(2))

    def part_format_that_fails(*arguments: Any) -> PartFormat:
        made = part_format(*arguments)
        # What the rows of the bad batch are on their way: as they are made, and encoded.
        bad_rows: list[Any] = []

        def watched(name: str) -> Callable[..., Any]:
            do = getattr(made, name)

            def done(given: Any, *others: Any) -> Any:
                is_bad = any(given is other for other in [bad, *bad_rows])
                if is_bad and name == step:
                    raise OSError("no space left")
                found = do(given, *others)
                if is_bad:
                    bad_rows.append(found)
                return found

            return done

        for name in ("rows", "encoded", "append"):
            monkeypatch.setattr(made, name, watched(name))
        return made

    monkeypatch.setattr(part_file, "part_format", part_format_that_fails)

    def write() -> None:
        with PartFile(path, output_format) as part:
            for batch in [good] * batches_before + [bad] + [good] * batches_after:
                part.write(batch)

    with pytest.raises(OSError, match="no space left"):
        write()
    assert not path.exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("part")]


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_a_file_that_its_writer_gave_up_is_not_there(tmp_path: Path, output_format: OutputFormat) -> None:
    """With its footer it would look as if it had all rows. The error is the writer's own."""
    path = tmp_path / "part"

    def write() -> None:
        with PartFile(path, output_format) as part:
            part.write(pa.RecordBatch.from_pydict({"a": [1]}))
            raise KeyError("join")

    with pytest.raises(KeyError, match="join"):
        write()
    assert not path.exists()


@pytest.mark.parametrize("output_format", [OutputFormat.parquet, OutputFormat.csv])
def test_values_that_python_does_not_have_are_no_reason_to_lose_a_part(
    tmp_path: Path, output_format: OutputFormat
) -> None:
    """Its answers were paid for: a date after the year 9999, in a list even, is written, and the head is shown."""
    far = pa.array([[2**40]], pa.list_(pa.timestamp("s")))
    batch = pa.RecordBatch.from_arrays([far, far.flatten()], names=["list", "far"])
    with PartFile(tmp_path / "part", output_format) as part:
        part.write(batch)
    with (tmp_path / "part").open("rb") as file:
        [row] = read_head(file, output_format, 5)
    assert set(row) == {"list", "far"}
