"""A chunk's rows with their answers in one file: from rows as they are stored, or decoded."""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet import joined_rows, part_file, tables
from bedrock_batch_assets.parquet.joined_rows import write_joined
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.tables import TableWriter, read_encoded_rows, read_rows
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records.joining import JoinSummary, OutputJoin
from bedrock_batch_assets.records.rendering import RecordRenderer, record_id
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns

ROWS = 40


def stored_table(path: Path, group_rows: int, empty_rows: Collection[int] = ()) -> pa.Table:
    """Columns of all types and a text, in row groups of so many rows."""
    columns = {f"typed {name}": pa.concat_arrays([values] * (ROWS // 5)) for name, values in typed_columns().items()}
    columns["input_text"] = pa.array([f"text {row}\n\u2028" if row not in empty_rows else "" for row in range(ROWS)])
    rows = pa.table(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_MIN_GROUP_ROWS", 1)
        with TableWriter(path, rows.schema, rows_per_chunk=group_rows) as writer:
            for batch in rows.to_batches(max_chunksize=7):
                writer.write(batch)
    return rows


def renderer(kind: str, schema: pa.Schema) -> RecordRenderer:
    if kind == "text":
        return RecordRenderer(AnthropicProcessor(), PromptTemplate.parse("{input_text}"), schema)
    return RecordRenderer(TitanTextEmbeddingsV2Processor(), None, schema)


def output_line(kind: str, row: int, answer: int) -> bytes:
    """A whole answer, one that was cut off, an error, or nothing, by turns."""
    if kind == "text":
        reason = "max_tokens" if answer % 5 == 1 else "end_turn"
        output: dict[str, Any] = {"content": [{"type": "text", "text": f"ä{answer}" * (answer % 7)}]}
        output |= {"stop_reason": reason, "usage": {"input_tokens": answer, "output_tokens": 1}}
    else:
        output = {"embedding": [answer / 8] * (answer % 7), "inputTextTokenCount": answer}
    told: dict[str, Any] = {"modelOutput": output}
    if answer % 5 == 2:
        told = {"error": {"errorCode": 400, "errorMessage": "no"}}
    return json.dumps({"recordId": record_id(row), **told}).encode() + b"\n"


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kind=st.sampled_from(["text", "embedding"]))
def test_rows_that_stay_encoded_come_out_as_decoded_ones(data: st.DataObject, kind: str) -> None:
    """Value for value and in the same schema, wherever a chunk begins and ends, whatever came back for its rows."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        empty = data.draw(st.just([]) | st.lists(st.integers(0, ROWS - 1)))
        rows = stored_table(folder / "t.parquet", data.draw(st.integers(1, ROWS + 1)), empty)
        first = data.draw(st.integers(0, ROWS - 1))
        count = data.draw(st.integers(1, ROWS - first))
        answered = data.draw(st.lists(st.integers(first, first + count - 1), unique=True))
        lines = [output_line(kind, row, data.draw(st.integers(0, 99))) for row in answered]
        # What is written straight, what ahead, and what is decoded for the size of its answers: it makes no difference.
        patch.setattr(part_file, "_MOST_BYTES_AHEAD", data.draw(st.sampled_from([0, 2_000, 10**6])))
        patch.setattr(joined_rows, "_MOST_ANSWER_BYTES", data.draw(st.sampled_from([-1, 20, 10**6])))

        def written(path: Path, read: Any, *, all_sent: bool) -> JoinSummary:
            join = OutputJoin(renderer(kind, rows.schema), first, count)
            with join, PartFile(path, OutputFormat.parquet) as part:
                join.add_outputs(lines)
                write_joined(part, join, read(folder / "t.parquet", first, count), all_sent=all_sent)
            return join.summary

        all_sent = data.draw(st.booleans()) and not set(empty) & set(range(first, first + count))
        summaries = [
            written(folder / "encoded", read_encoded_rows, all_sent=all_sent),
            written(folder / "decoded", read_rows, all_sent=False),
        ]
        encoded, decoded = (pq.read_table(folder / name) for name in ("encoded", "decoded"))
    encoded.validate(full=True)
    assert summaries[0] == summaries[1]
    assert encoded.schema.equals(decoded.schema, check_metadata=True)
    assert encoded.equals(decoded)
    assert encoded.select(rows.schema.names).equals(rows.slice(first, count))


def test_whole_row_groups_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their pages are in the part as they are in the stored table, with statistics of short columns."""
    rows = stored_table(tmp_path / "t.parquet", 10)
    join = OutputJoin(renderer("text", rows.schema), 0, ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(joined_rows, "as_file", None)
        patch.setattr(OutputJoin, "join", None)
        with join, PartFile(tmp_path / "part", OutputFormat.parquet) as part:
            write_joined(part, join, read_encoded_rows(tmp_path / "t.parquet"), all_sent=True)
    stored, part_groups = (pq.ParquetFile(tmp_path / name).metadata for name in ("t.parquet", "part"))
    assert part_groups.num_row_groups == stored.num_row_groups == 4
    assert stored.row_group(0).column(1).is_stats_set
    for group in range(4):
        for column in range(stored.num_columns):
            before, after = (found.row_group(group).column(column).to_dict() for found in (stored, part_groups))
            for place in ("data_page_offset", "dictionary_page_offset"):
                before.pop(place), after.pop(place)
            assert after == before
    assert join.summary.missing == ROWS


def test_a_column_that_the_join_adds_is_refused_before_it_is_doubled(tmp_path: Path) -> None:
    """A row group with a column of that name is no row group to put answers beside."""
    rows = pa.table({"input_text": ["a", "b"], "response": ["c", "d"]})
    with TableWriter(tmp_path / "t.parquet", rows.schema, rows_per_chunk=1) as writer:
        writer.write(rows.to_batches()[0])
    join = OutputJoin(renderer("text", rows.schema), 0, 2)

    def write() -> None:
        with join, PartFile(tmp_path / "part", OutputFormat.parquet) as part:
            write_joined(part, join, read_encoded_rows(tmp_path / "t.parquet"), all_sent=True)

    with pytest.raises(RequestError, match="'response'"):
        write()
    assert not (tmp_path / "part").exists()


def test_csv_takes_no_encoded_rows(tmp_path: Path) -> None:
    """It would have to hold Parquet pages."""
    rows = stored_table(tmp_path / "t.parquet", 10)
    join = OutputJoin(renderer("text", rows.schema), 0, ROWS)

    def write() -> None:
        with join, PartFile(tmp_path / "part", OutputFormat.csv) as part:
            write_joined(part, join, read_encoded_rows(tmp_path / "t.parquet"), all_sent=True)

    with pytest.raises(TypeError, match="only Parquet"):
        write()
