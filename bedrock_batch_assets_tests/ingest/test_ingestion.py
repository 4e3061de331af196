import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest import chunk_plan
from bedrock_batch_assets.ingest.ingestion import IngestedTable, ingest
from bedrock_batch_assets.parquet.files import read_rows
from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records.rendering import RecordRenderer
from bedrock_batch_assets.request import BatchRequest


class Echo(BaseProcessor):
    """The least that a text model can be."""

    input_is_template = True

    def process_input(self, text: str) -> dict[str, Any]:
        return {"prompt": text}

    def process_output(self, model_output: Any) -> ModelAnswer:
        return ModelAnswer(response=str(model_output))


class Table:
    """A table in memory as a source, which tells how many rows were taken from it."""

    name = "s3://data/t.csv"

    def __init__(self, table: pa.Table, batch_rows: int) -> None:
        self.schema = table.schema
        self.taken = 0
        self._table = table
        self._batch_rows = batch_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._table.to_batches(max_chunksize=self._batch_rows):
            self.taken += batch.num_rows
            yield batch


def topics(count: int) -> pa.Table:
    return pa.table({"id": [f"{row:05d}" for row in range(count)], "topic": [f"topic {row}" for row in range(count)]})


def run(
    directory: Path, table: pa.Table, *, batch_rows: int = 100, previous: IngestedTable | None = None, **request: Any
) -> IngestedTable:
    return run_source(directory, Table(table, batch_rows), previous=previous, **request)


def run_source(
    directory: Path, source: Table, *, previous: IngestedTable | None = None, **request: Any
) -> IngestedTable:
    renderer = RecordRenderer(Echo(), PromptTemplate.parse("About {topic}."), source.schema)
    plan = [chunk.range for chunk in previous.chunks] if previous else None
    return ingest(
        BatchRequest(model_id="m", s3_uri="s3://data/t.csv", **request),
        source=source,
        renderer=renderer,
        directory=directory,
        previous_plan=plan,
    )


def ranges(table: IngestedTable) -> list[tuple[int, int]]:
    return [(chunk.range.first_row, chunk.range.row_count) for chunk in table.chunks]


def test_all_rows_are_stored_and_planned(tmp_path: Path) -> None:
    """The stored table is the input, the chunks cover it, and the numbers add up."""
    table = topics(1_050)
    result = run(tmp_path, table)
    assert pq.read_table(result.parquet_path) == table
    assert (result.row_count, result.schema, ranges(result)) == (1_050, table.schema, [(0, 525), (525, 525)])
    assert result.records_to_send == sum(chunk.records_to_send for chunk in result.chunks) == 1_050
    assert result.rendered_bytes == sum(chunk.rendered_bytes for chunk in result.chunks)
    renderer = RecordRenderer(Echo(), PromptTemplate.parse("About {topic}."), table.schema)
    for chunk in result.chunks:
        batches = read_rows(result.parquet_path, chunk.range.first_row, chunk.range.row_count)
        rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        assert len(renderer.render(rows, chunk.range.first_row).jsonl) == chunk.rendered_bytes
    assert result.estimated_input_tokens == pytest.approx(result.rendered_bytes / 4, abs=1)


def test_the_sample_is_a_whole_record(tmp_path: Path) -> None:
    """A person sees what the first record will be, and the first rows, cut short."""
    table = pa.table({"topic": [None, "rain", *["x" * 1_000] * 8], "n": range(10)})
    result = run(tmp_path, table)
    assert json.loads(result.sample_record) == {"recordId": "r0000000001", "modelInput": {"prompt": "About rain."}}
    assert result.sample_record.startswith('{\n  "recordId"')
    assert [row["n"] for row in result.preview] == [0, 1, 2, 3, 4]
    assert result.preview[0]["topic"] is None
    assert result.preview[4]["topic"] == "x" * 299 + "…"


def test_batching_of_the_source_does_not_count(tmp_path: Path) -> None:
    """The same rows in other batches give the same chunks, digests and row groups."""
    results = []
    for batch_rows in (1, 333, 5_000):
        folder = tmp_path / str(batch_rows)
        folder.mkdir()
        results.append(run(folder, topics(5_000), batch_rows=batch_rows))
    assert results[0].chunks == results[1].chunks == results[2].chunks
    assert len({result.digest for result in results}) == 1
    groups = [pq.read_metadata(result.parquet_path) for result in results]
    assert {group.num_row_groups for group in groups} == {5}


def test_a_changed_row_changes_its_chunk_alone(tmp_path: Path) -> None:
    """Digests tell which chunks have to run again; that of the table tells that one has."""
    before = run(tmp_path, topics(3_000))
    changed = topics(3_000).to_pydict()
    changed["id"][1_500] = "other"
    after = run(tmp_path, pa.table(changed))
    same = [first.digest == second.digest for first, second in zip(before.chunks, after.chunks, strict=True)]
    assert same == [True, False, True]
    assert before.digest != after.digest


def test_appended_rows_leave_digests_alone(tmp_path: Path) -> None:
    """A table that grew keeps its old chunks, wherever its row groups are now."""
    before = run(tmp_path, topics(1_900))
    after = run(tmp_path, topics(2_400), previous=before)
    assert ranges(before) == [(0, 950), (950, 950)]
    assert after.chunks[:2] == before.chunks
    assert ranges(after)[2:] == [(1_900, 500)]


def test_skipped_rows_are_counted_not_sent(tmp_path: Path) -> None:
    """Rows without text stay in the table, and do not count as records of a job."""
    values = [None if row % 2 else f"topic {row}" for row in range(1_000)]
    result = run(tmp_path, pa.table({"topic": values}), max_records_per_job=250)
    assert (result.row_count, result.records_to_send, result.skipped_count) == (1_000, 500, 500)
    assert [chunk.records_to_send for chunk in result.chunks] == [250, 250]
    assert list(result.skipped_reasons.values()) == [500]


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"max_records_total": 450}, [(0, 450)]),
        ({"max_num_jobs": 2, "max_records_per_job": 300}, [(0, 300), (300, 300)]),
        ({"max_num_jobs": 2, "max_records_per_job": 300, "max_records_total": 350}, [(0, 175), (175, 175)]),
        ({"max_num_jobs": 9, "max_records_total": 5_000}, [(0, 1_000), (1_000, 1_000)]),
    ],
)
def test_only_the_rows_asked_for_are_read(
    tmp_path: Path, request_fields: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    """Rows beyond the request's bounds are not in the batch, and no batch beyond them is taken from the source."""
    source = Table(topics(2_000), 100)
    result = run_source(tmp_path, source, **request_fields)
    assert ranges(result) == expected
    assert result.row_count == pq.read_metadata(result.parquet_path).num_rows == sum(count for _, count in expected)
    assert source.taken < result.row_count + 100


def test_bytes_bound_the_jobs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If bytes fill the jobs before their records do, the batch has the rows that fit into so many jobs."""
    monkeypatch.setattr(chunk_plan.ChunkLimits.__init__, "__defaults__", (100, 20_000))
    table = pa.table({"topic": [f"{row:0100d}" for row in range(2_000)]})
    source = Table(table, 10)
    result = run_source(tmp_path, source, max_num_jobs=3)
    assert len(result.chunks) == 3
    assert all(chunk.rendered_bytes <= 20_000 for chunk in result.chunks)
    assert result.rendered_bytes > 19_000 * 3
    assert source.taken < result.row_count + 100
    assert pq.read_table(result.parquet_path) == table.slice(0, result.row_count)
    assert result.records_to_send == result.row_count
    assert set(tmp_path.iterdir()) == {result.parquet_path, result.digests_path}


def test_old_chunks_do_not_break_the_bound_on_jobs(tmp_path: Path) -> None:
    """A plan that would need one job more than allowed is made anew."""
    before = run(tmp_path, topics(1_050), max_num_jobs=2)
    after = run(tmp_path, topics(1_600), max_num_jobs=2, previous=before)
    assert ranges(after) == [(0, 800), (800, 800)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (topics(0), "has the columns id, topic and no rows"),
        (pa.table({"topic": pa.array([None, None], pa.string())}), "none of the 2 rows can be sent"),
    ],
)
def test_tables_with_nothing_to_send_are_refused(tmp_path: Path, table: pa.Table, words: str) -> None:
    """Nothing to send is an error, before any job is made."""
    with pytest.raises(RequestError, match=words):
        run(tmp_path, table)


def test_bytes_in_a_column_that_is_not_read_are_kept(tmp_path: Path) -> None:
    """Texts that are not UTF-8 are stored as they are, and the preview says so; the prompt's own are refused."""
    odd = pa.array([b"a", b"\xff"]).view(pa.string())
    table = pa.table({"topic": ["rain", "snow"], "odd": odd})
    result = run(tmp_path, table)
    assert [row["odd"] for row in result.preview] == ["a", "(not UTF-8)"]
    assert pq.read_table(result.parquet_path).column("odd").cast(pa.binary()).to_pylist() == [b"a", b"\xff"]
    with pytest.raises(RequestError, match=r"'topic', row 2 .*has a text that is not UTF-8"):
        run(tmp_path, pa.table({"topic": odd}))
