import json
import re
import subprocess
import sys
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records import rendering, string_columns
from bedrock_batch_assets.records.rendering import RecordRenderer, record_id, row_of
from bedrock_batch_assets_tests.records import reference

# What JSON, line splitting or formatting could stumble over, next to any text at all.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        ['"', "\\", "\\n", "\n", "\r\n", "\u2028", "\x85", "\x00\x1f\x7f", "{a}", "😀", "", " ", '"}]}'] * 2
    ),
)
COLUMNS = {
    "text": (TEXTS, pa.string()),
    "größe 😀": (TEXTS, pa.large_string()),
    "count": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "share": (st.floats(), pa.float64()),
    "flag": (st.booleans(), pa.bool_()),
    "day": (st.dates(), pa.date32()),
    "tags": (st.lists(st.none() | TEXTS), pa.list_(pa.string())),
}


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """A few rows with a column of each type, with nulls."""
    count = draw(st.integers(0, 6))
    columns = [
        pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)
        for values, kind in COLUMNS.values()
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(COLUMNS))


@st.composite
def templates(draw: st.DrawFn) -> PromptTemplate:
    """Any literals around any columns, also around one several times."""
    names = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4))
    return PromptTemplate(tuple(draw(TEXTS) for _ in range(len(names) + 1)), tuple(names))


class SlowAnthropicProcessor(AnthropicProcessor):
    """The same bodies, one at a time."""

    input_is_template: ClassVar[bool] = False


PROCESSORS: list[BaseProcessor] = [
    AnthropicProcessor(temperature=0.5, system_prompt='Say "yes"\n', stop_sequences=["\u2028"]),
    ConverseProcessor(additional_model_request_fields={"top_k": 5, "labels": ["é"]}),
    SlowAnthropicProcessor(),
]


@settings(deadline=None)
@given(batches(), templates(), st.sampled_from(PROCESSORS), st.integers(0, 10**9), st.integers(1, 5))
def test_rendering_equals_the_plain_way(
    batch: pa.RecordBatch, template: PromptTemplate, processor: BaseProcessor, first_row: int, slice_rows: int
) -> None:
    """Byte for byte, size for size and reason for reason, whatever the values, and however the rows are cut."""
    renderer = RecordRenderer(processor, template, batch.schema)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_SLICE_ROWS", slice_rows)
        rendered = renderer.render(batch, first_row)
        skipped_rows = renderer.skipped_rows(batch, first_row)
    jsonl, sizes, skipped = reference.render(batch, first_row, processor, template)
    assert rendered.jsonl == jsonl
    assert rendered.line_sizes.tolist() == sizes
    assert rendered.skipped == skipped == skipped_rows
    assert rendered.record_count == len(batch) - len(skipped)


@settings(deadline=None)
@given(batches())
def test_every_line_is_a_json_object_of_its_own(batch: pa.RecordBatch) -> None:
    """Newlines end lines and occur nowhere else, and no control character is left as it is."""
    rendered = RecordRenderer(AnthropicProcessor(), PromptTemplate.parse("{text}"), batch.schema).render(batch, 0)
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", rendered.jsonl)
    lines = rendered.jsonl.decode().split("\n")
    assert lines.pop() == ""
    prompts = [json.loads(line)["modelInput"]["messages"][0]["content"][0]["text"] for line in lines]
    assert prompts == [text for text in batch.column("text").to_pylist() if text and text.strip()]


@settings(deadline=None)
@given(batches(), templates(), st.integers(300, 1_000))
def test_texts_that_do_not_fit_together_are_rendered_apart(
    batch: pa.RecordBatch, template: PromptTemplate, max_bytes: int
) -> None:
    """The same bytes come out if columns hold fewer of them; only a row that alone is too large is refused."""
    processor = AnthropicProcessor()
    renderer = RecordRenderer(processor, template, batch.schema)
    jsonl, sizes, skipped = reference.render(batch, 0, processor, template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(string_columns, "MAX_BYTES", max_bytes)
        try:
            rendered = renderer.render(batch, 0)
        except RequestError as error:
            assert re.search(r"record of row \d \(counted from 1\) has more than a gigabyte", str(error))  # noqa: PT017
            assert 6 * max(sizes) > max_bytes
            return
    assert (rendered.jsonl, rendered.line_sizes.tolist(), rendered.skipped) == (jsonl, sizes, skipped)


def test_halves_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine rows of which two fit together: the bytes, sizes and skipped rows of all at once."""
    topics = [None if row == 4 else f"{row}" * 100 for row in range(9)]
    batch = pa.RecordBatch.from_pydict({"topic": topics})
    template = PromptTemplate.parse("{topic}")
    renderer = RecordRenderer(AnthropicProcessor(), template, batch.schema)
    monkeypatch.setattr(string_columns, "MAX_BYTES", 500)
    rendered = renderer.render(batch, 7)
    assert len(rendered.pieces) > 3
    expected = reference.render(batch, 7, AnthropicProcessor(), template)
    assert (rendered.jsonl, rendered.line_sizes.tolist(), rendered.skipped) == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("slow", [False, True])
def test_a_text_that_is_not_utf8_is_refused_before_it_is_sent(kind: pa.DataType, slow: bool) -> None:
    """The column is named; in a column that the prompt does not read, bytes are no concern of it."""
    texts = pa.array([b"a", b" \xff"], pa.binary() if kind == pa.string() else pa.large_binary()).view(kind)
    batch = pa.RecordBatch.from_arrays([texts, pa.array([1, 2])], names=["topic", "id"])
    processor = SlowAnthropicProcessor() if slow else AnthropicProcessor()
    with pytest.raises(RequestError, match=r"'topic', row 2 .*has a text that is not UTF-8"):
        RecordRenderer(processor, PromptTemplate.parse("{topic}"), batch.schema).render(batch, 0)
    assert RecordRenderer(processor, PromptTemplate.parse("{id}"), batch.schema).render(batch, 0).record_count == 2


def test_embedding_models_read_their_column() -> None:
    """They take no template, and the text goes into the body as it is."""
    batch = pa.RecordBatch.from_pydict({"id": [1, 2], "input_text": [' "a" ', None]})
    rendered = RecordRenderer(TitanTextEmbeddingsV2Processor(), None, batch.schema).render(batch, 8)
    assert json.loads(rendered.jsonl) == {
        "recordId": "r0000000008",
        "modelInput": TitanTextEmbeddingsV2Processor().process_input(' "a" '),
    }
    assert rendered.skipped == [(9, "column 'input_text' is empty")]


SCHEMA = pa.schema([("topic", pa.string())])


@pytest.mark.parametrize(
    ("processor", "template", "message"),
    [
        (TitanTextEmbeddingsV2Processor(), None, "The embedding model needs the column 'input_text'"),
        (TitanTextEmbeddingsV2Processor(), "{topic}", "take no prompt"),
        (AnthropicProcessor(), None, "need a prompt"),
        (AnthropicProcessor(), "{topics}", "The prompt needs the column 'topics'"),
    ],
)
def test_what_does_not_fit_together_is_refused(processor: BaseProcessor, template: str | None, message: str) -> None:
    """Before a single row is rendered, with what to change."""
    parsed = PromptTemplate.parse(template) if template else None
    with pytest.raises(RequestError, match=message):
        RecordRenderer(processor, parsed, SCHEMA)


class BrokenPromiseProcessor(BaseProcessor):
    """Says that the text goes into the body as it is, and does something else with it."""

    input_is_template: ClassVar[bool] = True
    fault: str

    def process_input(self, text: str) -> dict[str, Any]:
        bodies: dict[str, dict[str, Any]] = {
            "strips": {"prompt": text.strip()},
            "adds": {"prompt": f"Human: {text}"},
            "repeats": {"prompt": text, "copy": text},
            "leaves out": {"prompt": ""},
            "measures": {"prompt": text, "length": len(text)},
            "cuts": {"prompt": text[:50_000]},
            "formats": {"prompt": text.replace("{0}", "x")},
        }
        return bodies[self.fault]

    def process_output(self, model_output: Any) -> ModelAnswer:
        return ModelAnswer()


@pytest.mark.parametrize("fault", ["strips", "adds", "repeats", "leaves out", "measures", "cuts", "formats"])
def test_a_processor_that_breaks_its_promise_is_found_out(fault: str) -> None:
    """A constant shell around the text would send something other than the processor's body."""
    with pytest.raises(ConfigurationError, match="BrokenPromiseProcessor sets input_is_template"):
        RecordRenderer(BrokenPromiseProcessor(fault=fault), PromptTemplate.parse("{topic}"), SCHEMA)


@settings(deadline=None)
@given(st.integers(0, 10**10 - 1))
def test_record_ids_lead_back_to_their_row(row: int) -> None:
    """They have 11 alphanumeric characters, what the oldest documentation asks for."""
    assert re.fullmatch(r"[a-z0-9]{11}", record_id(row))
    assert row_of(record_id(row)) == row


@pytest.mark.parametrize(
    "identifier", [None, "", "r", "r1", "r00000000001", "x0000000001", "r000000000١", "r 000000001", "r+000000001"]
)
def test_other_ids_lead_to_no_row(identifier: str | None) -> None:
    """Not even those that Python would read as a number."""
    assert row_of(identifier) is None


def test_rendering_joining_and_writing_do_not_load_pandas() -> None:
    """The process that renders is the one that waits for hours, and must stay small (time zones do load it)."""
    code = """if True:
        import sys, tempfile
        from pathlib import Path
        import pyarrow as pa
        from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
        from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
        from bedrock_batch_assets.prompt_templates import PromptTemplate
        from bedrock_batch_assets.records.joining import OutputJoin
        from bedrock_batch_assets.records.rendering import RecordRenderer
        from bedrock_batch_assets.records.string_columns import strings_of
        from bedrock_batch_assets.output_format import OutputFormat
        from bedrock_batch_assets.parquet.files import PartFile, TableWriter, read_encoded_rows, write_joined
        zeros = pa.py_buffer(bytes(16))
        batch = pa.RecordBatch.from_arrays(
            [
                *(pa.Array.from_buffers(kind, 2, [None, zeros]) for kind in (pa.timestamp("ns"), pa.float64())),
                strings_of([b"", b"x"], empty_is_null=True),
            ],
            names=["at", "share", "input_text"],
        )
        renderer = RecordRenderer(
            AnthropicProcessor(), PromptTemplate.parse("{at} {share} {input_text}"), batch.schema
        )
        assert renderer.render(batch, 0).record_count == 1
        join = OutputJoin(renderer, 0, 2)
        join.add_outputs([b'{"recordId":"r0000000001","modelOutput":{"content":[{"type":"text","text":"x"}]}}'])
        rows = [join.join(batch)]
        join = OutputJoin(RecordRenderer(TitanTextEmbeddingsV2Processor(), None, batch.schema), 0, 2)
        join.add_outputs([b'{"recordId":"r0000000001","modelOutput":{"embedding":[0.5,1]}}'])
        rows.append(join.join(batch))
        assert rows[1].column("embedding").null_count == 1
        with tempfile.TemporaryDirectory() as folder:
            for part_format in OutputFormat:
                for number, part_rows in enumerate(rows):
                    with PartFile(Path(folder) / f"{number}.{part_format}", part_format) as part:
                        part.write(part_rows)
            with TableWriter(Path(folder) / "table", batch.schema, rows_per_chunk=1) as table:
                table.write(batch)
            join = OutputJoin(renderer, 0, 2)
            with PartFile(Path(folder) / "part", OutputFormat.parquet) as part:
                write_joined(part, join, read_encoded_rows(Path(folder) / "table"), all_sent=False)
            assert join.summary.skipped == 1
        print([name for name in ("pandas", "datasets") if name in sys.modules])
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
