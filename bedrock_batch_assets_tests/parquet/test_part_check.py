"""Parts that are damaged in one way each, and what the checks of parts say of them."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.parquet import part_formats, vector_rows
from bedrock_batch_assets.parquet.encoded_rows import RowsToEncode
from bedrock_batch_assets.parquet.part_check import DamagedPartError, check_part, count_statuses
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.row_group_writer import RowGroupWriter
from bedrock_batch_assets.request import OutputFormat
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns
from bedrock_batch_assets_tests.parquet.damage import Damage, damaged

ROWS = 200
STATUSES = {"ok": 150, "error": 50}
# One of each kind: encoded before, by Arrow with a dictionary and without, nested, and by ourselves.
COLUMNS = ["topic", "record_status", "response", "words.list.element", "embedding.list.element"]


def part(path: Path, first: str = "topic") -> bytes:
    """A part of two row groups, of columns as results have them."""
    rows = pa.RecordBatch.from_pydict({"topic": [f"{first} {row}" for row in range(ROWS)]})
    answers = pa.RecordBatch.from_pydict(
        {
            "record_status": ["error" if row % 4 == 3 else "ok" for row in range(ROWS)],
            "response": [f"answer {row}" * (row % 9) for row in range(ROWS)],
            "words": [[str(word) for word in range(row % 3)] for row in range(ROWS)],
            "embedding": pa.array([[row / 8] * 20 for row in range(ROWS)], pa.list_(pa.float32())),
        }
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
    digest = check_part(io.BytesIO(data), ROWS)
    for expected in (digest, None):
        assert count_statuses(io.BytesIO(data), expected) == STATUSES


@pytest.mark.parametrize("column", COLUMNS)
def test_what_was_not_written_as_it_should_be_is_refused(whole: bytes, column: str) -> None:
    """Whatever is wrong with the footer or with a page's header, in whatever column: the part is none."""
    passed: list[str] = []
    reasons: list[str] = []
    for damage in damaged(whole, column):
        assert damage.data != whole, damage.name
        try:
            check_part(io.BytesIO(damage.data), ROWS)
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
    passed = uncounted(whole, column, check_part(io.BytesIO(whole), ROWS))
    assert [damage.name for damage in passed if damage.is_in_footer or column == "record_status"] == []


def test_without_the_digest_of_the_footer_the_statuses_are_decoded_all_the_same(whole: bytes) -> None:
    """Parts of an earlier version have none: only what Arrow does not need to find the rows is not seen."""
    passed = [damage.name for damage in uncounted(whole, "record_status", None)]
    # Arrow begins to read at the dictionary.
    assert [name for name in passed if not name.startswith("data page offset")] == []


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
