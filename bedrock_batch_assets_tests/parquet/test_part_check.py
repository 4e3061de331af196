"""Parts that are damaged in one way each, and what the checks of parts say of them."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet import part_formats, vector_rows
from bedrock_batch_assets.parquet.damage import DamagedPartError
from bedrock_batch_assets.parquet.encoded_rows import RowGroupPart, RowsToEncode
from bedrock_batch_assets.parquet.part_check import check_part, count_statuses
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.row_group_writer import RowGroupWriter
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns
from bedrock_batch_assets_tests.parquet.damage import Damage, damaged

ROWS = 200
STATUSES = {"ok": 150, "error": 50}
# One of each kind: encoded before, by Arrow with a dictionary and without, nested, and by ourselves.
COLUMNS = ["topic", "record_status", "response", "words.list.element", "embedding.list.element"]


def part(path: Path, *, failed: bool = True) -> bytes:
    """A part of two row groups, of columns as results have them. `failed`: not all rows have an answer."""
    rows = pa.RecordBatch.from_pydict({"topic": [f"topic {row}" for row in range(ROWS)]})
    answers = pa.RecordBatch.from_arrays(
        [
            pa.array(["error" if failed and row % 4 == 3 else "ok" for row in range(ROWS)]),
            pa.array([f"answer {row}" * (row % 9) for row in range(ROWS)]),
            pa.array([[str(word) for word in range(row % 3)] for row in range(ROWS)]),
            pa.array([[row / 8] * 20 for row in range(ROWS)], pa.list_(pa.float32())),
        ],
        schema=pa.schema(
            [
                pa.field("record_status", pa.string(), nullable=False),
                pa.field("response", pa.string()),
                pa.field("words", pa.list_(pa.string())),
                pa.field("embedding", pa.list_(pa.float32())),
            ]
        ),
    )
    with PartFile(path, OutputFormat.parquet) as file:
        for start in (0, ROWS // 2):
            some = RowsToEncode(rows.slice(start, ROWS // 2), {"compression": "zstd"}).encoded()
            file.write_beside(some, answers.slice(start, ROWS // 2))
    return path.read_bytes()


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(vector_rows, "_PAGE_BYTES", 2_000)
    return part(tmp_path / "part")


def test_a_whole_part_passes_and_its_statuses_are_those_that_were_written(tmp_path: Path) -> None:
    """Both checks, with the digest of its footer and without."""
    data = part(tmp_path / "part")
    digest = check_part(io.BytesIO(data), ROWS, pq.read_schema(io.BytesIO(data)))
    for expected in (digest, None):
        assert count_statuses(io.BytesIO(data), expected) == STATUSES


@pytest.mark.parametrize("column", COLUMNS)
def test_what_was_not_written_as_it_should_be_is_refused(whole: bytes, column: str) -> None:
    """Whatever is wrong with the footer or with a page's header, in whatever column: the part is none."""
    schema = pq.read_schema(io.BytesIO(whole))
    passed: list[str] = []
    reasons: list[str] = []
    for damage in damaged(whole, column):
        assert damage.data != whole, damage.name
        if column.startswith("words") and damage.name.startswith("num_values of a page and its column"):
            # How many values belong to a list is in its compressed levels, which Arrow wrote and counted.
            continue
        try:
            check_part(io.BytesIO(damage.data), ROWS, schema)
            passed.append(damage.name)
        except DamagedPartError as error:
            reasons.append(str(error))
    assert passed == []
    assert [reason for reason in reasons if not reason.startswith("its ")] == []


def uncounted(whole: bytes, column: str, footer_digest: str | None) -> list[Damage]:
    """What is damaged and counts as if it were not."""
    found = []
    for damage in damaged(whole, column):
        try:
            if count_statuses(io.BytesIO(damage.data), footer_digest) == STATUSES:
                found.append(damage)
        except DamagedPartError:
            continue
    return found


@pytest.mark.parametrize("column", COLUMNS)
def test_no_damaged_footer_and_no_damaged_status_counts_as_whole(whole: bytes, column: str) -> None:
    """What the accounting checks count is either not there or another number; pages of other columns are not read."""
    passed = uncounted(whole, column, check_part(io.BytesIO(whole), ROWS, pq.read_schema(io.BytesIO(whole))))
    assert [damage.name for damage in passed if damage.is_in_footer or column == "record_status"] == []


@pytest.mark.parametrize("failed", [True, False])
def test_without_the_digest_of_the_footer_the_statuses_are_decoded_all_the_same(tmp_path: Path, failed: bool) -> None:
    """Parts of an earlier version have none: only what Arrow does not need to find the rows is not seen."""
    whole = part(tmp_path / "part", failed=failed)
    statuses = count_statuses(io.BytesIO(whole))
    assert statuses == (STATUSES if failed else {"ok": ROWS})
    passed = []
    for damage in damaged(whole, "record_status"):
        try:
            if count_statuses(io.BytesIO(damage.data)) == statuses:
                passed.append(damage.name)
        except DamagedPartError:
            continue
    # Arrow begins to read at the dictionary, and takes the type of the values from the schema of its own.
    assert [name for name in passed if not name.startswith("data page offset") and name != "logical type"] == []


def test_rows_that_arrow_does_not_decode_do_not_count(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted are the values that came out, whatever all numbers in the file say."""
    iter_batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda file, **options: (batch.slice(1) for batch in iter_batches(file, **options)),
    )
    with pytest.raises(DamagedPartError, match="its footer counts 200 rows, its column record_status has 199"):
        count_statuses(io.BytesIO(whole))


def test_a_part_whose_writer_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file came to be wrong: the part's file is read again before it counts as whole."""
    close = RowGroupWriter.close

    def close_with_one_group_less(writer: RowGroupWriter) -> None:
        writer._row_groups.pop()
        close(writer)

    monkeypatch.setattr(RowGroupWriter, "close", close_with_one_group_less)
    with pytest.raises(DamagedPartError, match="A part of 200 rows was not written as such: its footer counts 200"):
        part(tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_a_part_that_lacks_rows_that_were_given_to_its_writer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its footer and its pages agree: the part's file knows how many rows it was given."""
    append = RowGroupWriter.append
    calls: list[int] = []

    def append_every_other(writer: RowGroupWriter, *rows: RowGroupPart) -> None:
        calls.append(len(calls))
        if len(calls) % 2:
            append(writer, *rows)

    monkeypatch.setattr(RowGroupWriter, "append", append_every_other)
    with pytest.raises(DamagedPartError, match="its footer counts 100 rows of 200"):
        part(tmp_path / "part")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        # A second list begins, or a list goes on where another begins.
        (b"\x02\x00\x26\x01", b"\x02\x00\x24\x01\x02\x00"[:4], "20 values|levels"),
        (b"\x02\x00\x26\x01", b"\x02\x01\x26\x01", "has 99 rows in row group 0, which counts 100"),
        (b"\x02\x00\x26\x01", b"\x02\x00\x26\x00", "has 119 rows in row group 0, which counts 100"),
        # Levels that end beyond their page.
        (b"d\x00\x00\x00\x02\x00\x26\x01", b"d\xff\xff\x7f\x02\x00\x26\x01", "levels"),
        # A number that is null.
        (b"\x28\x03\x28\x03", b"\x28\x03\x28\x02", "numbers in"),
    ],
)
def test_levels_of_vectors_are_read(whole: bytes, before: bytes, after: bytes, message: str) -> None:
    """The pages of vectors are our own, so nobody else has counted the rows that begin in them."""
    place = whole.index(before)
    changed = whole[:place] + after + whole[place + len(before) :]
    with pytest.raises(DamagedPartError, match=message):
        check_part(io.BytesIO(changed), ROWS, pq.read_schema(io.BytesIO(whole)))


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_parts_of_all_types_are_whole(tmp_path: Path, rows: int) -> None:
    """Nested columns and columns of nulls are not taken for damaged ones; batches of no rows are nothing."""
    batch = pa.RecordBatch.from_pydict({**typed_columns(), "record_status": ["ok", "ok", "error", "ok", "skipped"]})
    path = tmp_path / "part"
    with PartFile(path, OutputFormat.parquet) as file:
        for start in (0, 2, 5):
            file.write(batch.slice(start, rows))
    found = pq.read_table(path)
    counts: dict[str, int] = {}
    for status in found["record_status"].to_pylist():
        counts[status] = counts.get(status, 0) + 1
    with path.open("rb") as data:
        assert count_statuses(data, file.footer_digest) == counts


def test_long_statistics_do_not_hide_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's header holds its least and its greatest value, which may be longer than what is read at first."""
    monkeypatch.setattr(part_formats, "writer_options", lambda _: {"write_statistics": True})
    batch = pa.RecordBatch.from_pydict({"record_status": ["ok"] * 3, "text": ["a" * 3_000, "b" * 3_000, "c"]})
    with PartFile(tmp_path / "part", OutputFormat.parquet) as file:
        file.write(batch)
    assert pq.read_table(tmp_path / "part").equals(pa.Table.from_batches([batch]))
