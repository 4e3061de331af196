import io
import json
import random
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records import block_reader, joining, rendering, spool
from bedrock_batch_assets.records.joining import OUTPUT_COLUMNS, JoinSummary, OutputCounts, OutputJoin
from bedrock_batch_assets.records.rendering import RecordRenderer, record_id
from bedrock_batch_assets_tests.records import reference

FIRST_ROW = 100
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def answer_line(row: int, text: str = "yes", stop_reason: str | None = "end_turn", tokens: int | None = 3) -> bytes:
    body = {
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "usage": {"input_tokens": tokens, "output_tokens": 1},
    }
    return _line({"recordId": record_id(row), "modelInput": {"echo": text}, "modelOutput": body})


def embedding_line(row: int, vector: list[float]) -> bytes:
    return _line({"recordId": record_id(row), "modelOutput": {"embedding": vector, "inputTextTokenCount": 2}})


def error_line(row: int, message: str = "no") -> bytes:
    return _line({"recordId": record_id(row), "error": {"errorCode": 400, "errorMessage": message}})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def text_batch(topics: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"topic": pa.array(topics, pa.string()), "id": range(len(topics))})


def text_join(batch: pa.RecordBatch, processor: BaseProcessor | None = None) -> OutputJoin:
    renderer = RecordRenderer(processor or AnthropicProcessor(), PromptTemplate.parse("About {topic}"), batch.schema)
    return OutputJoin(renderer, FIRST_ROW, len(batch))


def joined(batch: pa.RecordBatch, *waves: bytes) -> tuple[list[dict[str, Any]], JoinSummary]:
    join = text_join(batch)
    for wave, data in enumerate(waves):
        join.add_outputs(io.BytesIO(data), wave)
    rows = join.join(batch)
    rows.validate(full=True)
    return rows.to_pylist(), join.summary


@st.composite
def text_lines(draw: st.DrawFn, row_count: int) -> bytes:
    """A line about some row of the chunk, or about none."""
    row = FIRST_ROW + draw(st.integers(-1, row_count))
    if draw(st.integers(0, 3)) == 0:
        return error_line(row, draw(TEXTS.filter(bool)))
    reason = draw(st.sampled_from(["end_turn", "max_tokens", "refusal", "model_context_window_exceeded", None]))
    return answer_line(row, draw(TEXTS), reason, draw(st.none() | st.integers(0, 2**40 - 1)))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_join_equals_the_plain_way(data: st.DataObject) -> None:
    """Whatever lines come, in whatever files and waves, every row comes out once, in order, with its best answer."""
    batch = text_batch(data.draw(st.lists(st.none() | TEXTS, max_size=8)))
    waves = data.draw(st.lists(st.lists(text_lines(len(batch)), max_size=12), min_size=1, max_size=3))
    with pytest.MonkeyPatch.context() as patch, text_join(batch) as join:
        # Boundaries of memory and blocks fall anywhere.
        patch.setattr(spool, "_MEMORY_BYTES", data.draw(st.sampled_from([0, 5, 20, 1_000])))
        patch.setattr(block_reader, "_RECORDS_TOGETHER", data.draw(st.integers(1, 20)))
        patch.setattr(block_reader, "_LINES_CUT_TOGETHER", data.draw(st.integers(1, 20)))
        patch.setattr(rendering, "_SLICE_ROWS", data.draw(st.integers(1, 10)))
        for wave, lines in enumerate(waves):
            middle = data.draw(st.integers(0, len(lines)))
            join.add_outputs([b"".join(lines[:middle])], wave)
            join.add_outputs(io.BytesIO(b"".join(lines[middle:])), wave)
        cut = data.draw(st.integers(0, len(batch)))
        parts = [join.join(batch.slice(0, cut)), join.join(batch.slice(cut))]
    for part in parts:
        part.validate(full=True)

    template = PromptTemplate.parse("About {topic}")
    skipped = dict(reference.render(batch, FIRST_ROW, AnthropicProcessor(), template)[2])
    rows = [row for part in parts for row in part.to_pylist()]
    assert rows == reference.join(batch.to_pylist(), FIRST_ROW, skipped, waves, AnthropicProcessor())

    summary = join.summary
    statuses = [row["record_status"] for row in rows]
    assert summary.rows == len(rows)
    for status in ("ok", "error", "truncated", "skipped", "missing"):
        assert getattr(summary, status) == statuses.count(status)
    assert summary.input_tokens == sum(row["input_tokens"] or 0 for row in rows)
    assert summary.output_tokens == sum(row["output_tokens"] or 0 for row in rows)
    ids = [json.loads(line)["recordId"] for lines in waves for line in lines]
    sent = {record_id(row) for row in range(FIRST_ROW, FIRST_ROW + len(batch)) if row not in skipped}
    assert summary.unknown_record_ids == sum(identifier not in sent for identifier in ids)
    assert summary.corrupt_lines == 0


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.data())
def test_embeddings_come_back_as_they_were(data: st.DataObject) -> None:
    """Every number is the 32-bit one of its line, also if vectors differ in length, are empty, or are missing."""
    batch = pa.RecordBatch.from_pydict({"input_text": data.draw(st.lists(st.sampled_from(["a", ""]), max_size=8))})
    vectors = data.draw(st.dictionaries(st.integers(0, 8), st.lists(FLOATS, max_size=5)))
    lines = [embedding_line(FIRST_ROW + row, vector) for row, vector in vectors.items()]
    processor = TitanTextEmbeddingsV2Processor()
    renderer = RecordRenderer(processor, None, batch.schema)
    join = OutputJoin(renderer, FIRST_ROW, len(batch))
    join.add_outputs([b"".join(data.draw(st.permutations(lines)))])
    rows = join.join(batch)
    rows.validate(full=True)
    assert rows.schema.field("embedding").type == pa.list_(pa.float32())
    skipped = dict(renderer.skipped_rows(batch, FIRST_ROW))
    assert rows.to_pylist() == reference.join(batch.to_pylist(), FIRST_ROW, skipped, [lines], processor)


@settings(deadline=None)
@given(st.lists(st.floats(-3e38, 3e38) | st.integers(-(2**70), 2**70), min_size=1, max_size=20))
def test_numbers_are_rounded_to_32_bits_once(vector: list[float]) -> None:
    """From the double that the line says to the nearest 32-bit number, as numpy rounds it."""
    batch = pa.RecordBatch.from_pydict({"input_text": ["a"]})
    with OutputJoin(RecordRenderer(TitanTextEmbeddingsV2Processor(), None, batch.schema), FIRST_ROW, 1) as join:
        join.add_outputs([embedding_line(FIRST_ROW, vector)])
        found = join.join(batch).column("embedding").to_pylist()[0]
    assert np.array(found, np.float32).tobytes() == np.array(list(map(float, vector))).astype(np.float32).tobytes()


def test_the_columns_come_after_the_inputs_own() -> None:
    """Their names and types are those that the result promises, whatever metadata the input carries."""
    batch = text_batch(["a"]).replace_schema_metadata({"huggingface": "{}"})
    schema = text_join(batch).join(batch).schema
    assert schema == pa.schema(
        [
            ("topic", pa.string()),
            ("id", pa.int64()),
            pa.field("record_status", pa.string(), nullable=False),
            ("record_error", pa.string()),
            ("stop_reason", pa.string()),
            ("input_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("answered_by", pa.string()),
            ("response", pa.string()),
        ]
    )
    assert schema.metadata is None
    assert set(OUTPUT_COLUMNS) == {*schema.names[2:], "embedding"}


@pytest.mark.parametrize("name", ["record_status", "response"])
def test_a_column_of_the_input_is_never_overwritten(name: str) -> None:
    """The clash is the request's fault, and named."""
    batch = pa.RecordBatch.from_pydict({"topic": ["a"], name: ["mine"]})
    with pytest.raises(RequestError, match=name):
        text_join(batch).join(batch)


def test_a_later_wave_mends_what_failed_and_breaks_nothing() -> None:
    """An answer replaces an error, a later error an earlier one, and nothing replaces a whole answer."""
    batch = text_batch(["a", "b", "c", "d"])
    first = answer_line(100, "kept") + error_line(101) + error_line(102, "old") + answer_line(103, "cut", "max_tokens")
    second = (
        error_line(100)
        + answer_line(101, "mended")
        + error_line(102, "new")
        + error_line(103)
        + answer_line(100, "other")
    )
    rows, summary = joined(batch, first, second)
    assert [(row["record_status"], row["response"], row["record_error"]) for row in rows] == [
        ("ok", "kept", None),
        ("ok", "mended", None),
        ("error", None, "400: new"),
        ("truncated", "cut", "the answer stopped at the token limit (stop reason: max_tokens)"),
    ]
    # Two lines of the second wave speak of row 100.
    assert summary.duplicate_lines == 1


def test_a_file_is_counted_whole_whatever_counts_for_a_row() -> None:
    """Every line that is not blank, and the tokens of every answer: doubled and unknown ones were paid for, too."""
    join = text_join(text_batch(["a", "b"]))
    lines = answer_line(100, "a") + answer_line(100, "again") + b"\n" + answer_line(999, "unknown") + b"{broken\n"
    first = join.add_outputs([lines + error_line(101)])
    assert first == OutputCounts(lines=5, input_tokens=9, output_tokens=3)
    second = join.add_outputs([answer_line(101, "mended")], 1)
    assert (first + second).lines == 6


def test_an_answer_without_text_is_an_error_that_was_paid_for() -> None:
    """The reason names the stop reason, and the tokens count; a refusal with text is an answer."""
    batch = text_batch(["a", "b"])
    rows, summary = joined(batch, answer_line(100, "", "stop_sequence") + answer_line(101, "I cannot.", "refusal"))
    assert (rows[0]["record_status"], rows[0]["response"]) == ("error", None)
    assert rows[0]["record_error"] == "the model returned no content (stop reason: stop_sequence)"
    assert (rows[1]["record_status"], rows[1]["stop_reason"]) == ("ok", "refusal")
    assert summary.input_tokens == 6


def test_corrupt_lines_are_counted_once_and_attributed() -> None:
    """The row whose id is legible is an error, and one that is not stays missing."""
    batch = text_batch(["a", "b", "c"])
    data = answer_line(100)[:60] + b"\n" + b"\x00garbage\n" + answer_line(102)
    rows, summary = joined(batch, data)
    assert [row["record_status"] for row in rows] == ["error", "missing", "ok"]
    assert rows[0]["record_error"] == "the output line is not valid JSON"
    assert (summary.corrupt_lines, summary.unknown_record_ids) == (2, 0)


def test_an_answer_to_a_row_that_was_not_sent_is_no_answer() -> None:
    """It is counted as an unknown id, since the record cannot have been about this row."""
    rows, summary = joined(text_batch([None, "b"]), answer_line(100) + answer_line(101) + answer_line(7))
    assert [row["record_status"] for row in rows] == ["skipped", "ok"]
    assert (rows[0]["response"], rows[0]["record_error"]) == (None, "column 'topic' is empty")
    assert (summary.unknown_record_ids, summary.input_tokens) == (2, 3)


def test_rows_beyond_the_chunk_are_refused() -> None:
    """They would be given the answers of nobody."""
    batch = text_batch(["a", "b"])
    join = text_join(batch)
    join.join(batch)
    with pytest.raises(ValueError, match="row 102 is not in the chunk"):
        join.join(batch.slice(0, 1))


def test_more_text_than_a_column_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 32-bit offsets would overflow."""
    monkeypatch.setattr(joining, "_MAX_BYTES", 5)
    batch = text_batch(["a", "b"])
    join = text_join(batch)
    join.add_outputs([answer_line(100, "abc") + answer_line(101, "def")])
    with pytest.raises(ValueError, match="join fewer at a time"):
        join.join(batch)


class OddVectorProcessor(TitanTextEmbeddingsV2Processor):
    """Hands over what stands in the body, whatever it is."""

    output_type: ClassVar[type[Any] | None] = None

    def process_output(self, model_output: Any) -> ModelAnswer:
        return ModelAnswer(embedding=model_output["embedding"])


@pytest.mark.parametrize("vector", [["a"], [None], [1e39], [2.0, float("nan")], "text", 7])
def test_a_vector_that_is_none_is_one_rows_error(vector: Any) -> None:
    """Text, null, and what 32 bits do not hold; the other rows keep their vectors."""
    batch = pa.RecordBatch.from_pydict({"input_text": ["a", "b"]})
    join = OutputJoin(RecordRenderer(OddVectorProcessor(), None, batch.schema), FIRST_ROW, 2)
    join.add_outputs([embedding_line(100, vector) + embedding_line(101, [1.0])])
    rows = join.join(batch).to_pylist()
    assert [row["record_status"] for row in rows] == ["error", "ok"]
    assert rows[0]["record_error"].startswith("unexpected model output")


def test_a_number_that_32_bits_do_not_hold_is_one_rows_error() -> None:
    """Its vector is not cut off at infinity, and the vectors beside it are whole."""
    batch = pa.RecordBatch.from_pydict({"input_text": ["a", "b", "c"]})
    join = OutputJoin(RecordRenderer(TitanTextEmbeddingsV2Processor(), None, batch.schema), FIRST_ROW, 3)
    vectors = [[0.5, 0.25], [1.0, 1e39], [2.0]]
    join.add_outputs([b"".join(embedding_line(FIRST_ROW + row, vector) for row, vector in enumerate(vectors))])
    rows = join.join(batch).to_pylist()
    assert [row["record_status"] for row in rows] == ["ok", "error", "ok"]
    assert [row["embedding"] for row in rows] == [[0.5, 0.25], None, [2.0]]
    assert "32 bits" in rows[1]["record_error"]


def test_many_shuffled_records_find_their_rows() -> None:
    """Ten thousand answers in random order, read in blocks, each stand at their own row."""
    count = 10_000
    batch = text_batch([f"topic {index}" for index in range(count)])
    lines = [answer_line(FIRST_ROW + index, f"answer {index}") for index in range(count)]
    random.Random(5).shuffle(lines)
    rows, summary = joined(batch, b"".join(lines))
    assert [row["response"] for row in rows] == [f"answer {index}" for index in range(count)]
    assert summary == JoinSummary(rows=count, ok=count, input_tokens=3 * count, output_tokens=count)
