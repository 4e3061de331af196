"""What settles a record, and what leaves it to be asked for again."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records.answered_records import records_without, settled_rows
from bedrock_batch_assets.records.joining import OutputJoin
from bedrock_batch_assets.records.rendering import RecordRenderer

ANTHROPIC = AnthropicProcessor()


def line(**content: Any) -> bytes:
    return json.dumps({"recordId": "r0000000001", "modelInput": {"x": 1}} | content).encode() + b"\n"


@pytest.mark.parametrize(
    "settling",
    [
        line(modelOutput={"content": []}),
        line(modelOutput={"content": []}, error=None),
        line(modelOutput={"content": []}, error="strange"),
        line(modelOutput={"content": []}, error={"errorCode": 500, "retryable": True}),
        line(modelOutput=7),
        line(error={"errorCode": 400, "errorMessage": "bad request"}),
        line(error={"errorCode": "400", "errorMessage": "bad request"}),
        line(error={"errorCode": 500, "errorMessage": "no", "retryable": False}),
        line(error={"errorMessage": "no reason"}),
        line(error="the model refuses"),
        line(error={"errorCode": 400.0, "errorMessage": ["bad"]}),
    ],
)
def test_answers_and_final_errors_settle_a_record(settling: bytes) -> None:
    """A record with an answer, or with an error that trying again does not change, is not sent again."""
    assert list(settled_rows([settling], ANTHROPIC)) == [1]


@pytest.mark.parametrize(
    "passing",
    [
        line(error={"errorCode": 500, "errorMessage": "server"}),
        line(error={"errorCode": 500.0, "errorMessage": "server"}),
        line(error={"errorCode": "429", "errorMessage": "slow down"}),
        line(error={"errorCode": "ThrottlingException", "errorMessage": "slow down"}),
        line(error={"errorCode": "throttlingException", "errorMessage": "slow down"}),
        line(error={"errorCode": "RequestTimeout", "errorMessage": "slow"}),
        line(error={"errorCode": "InternalFailure", "errorMessage": {"why": "?"}}),
        line(error={"errorCode": 400, "errorMessage": "hm", "retryable": True}),
        line(error={"errorCode": 400, "errorMessage": "too late", "expired": True}),
        line(modelOutput=None),
        line(),
        b'{"recordId":"r0000000001","modelInput":{"x":1},"modelOut\n',
        b"\xff\xfe\n",
        b'{"modelOutput":{}}\n',
    ],
)
def test_passing_faults_and_broken_lines_settle_nothing(passing: bytes) -> None:
    """A record whose answer was lost, or that failed for the moment, is left to be asked for again."""
    assert list(settled_rows([passing], ANTHROPIC)) == []


def test_the_records_left_are_those_not_settled_in_their_order() -> None:
    """The lines of unsettled records come back unchanged and in order."""
    lines = [f'{{"recordId":"r{index:010d}","modelInput":{{"a":"\u2028"}}}}\n'.encode() for index in range(5)]
    assert records_without([b"".join(lines)], {1, 3}) == [lines[0], lines[2], lines[4]]


DEEP = "[" * 5_000 + "]" * 5_000
# Values as they may stand in a line, odd ones included, as JSON text: some of them no JSON decoder agrees on.
VALUES = st.sampled_from(
    [
        *("null", "1", "1.0", '"1"', "true", "[]", "{}", "[null]", '"text"', "NaN", "-Infinity", "1e999", "9" * 5_000),
        *('"\\ud83d"', '"a\tb"', '"a\x00"', '{"\\ud800":1}', DEEP, '{"a":' * 3_000 + "1" + "}" * 3_000),
    ]
)
TEXTS = st.sampled_from(['"hello"', '"\\ud83d"', '"\\ude00x"', '"a\tb"', '""', "null", "7"])
ERRORS = st.sampled_from(
    [
        *("null", '"text"', "[]", "7", '{"errorCode":400}', '{"errorCode":500}', '{"errorCode":"throttlingException"}'),
        *('{"errorCode":NaN}', '{"errorCode":{},"errorMessage":"m"}', '{"errorMessage":"\\ud83d","retryable":"yes"}'),
        DEEP,
    ]
)


@st.composite
def odd_lines(draw: st.DrawFn, kind: str) -> bytes:
    """One output line about row 0, 1 or 2 that differs from a plain one in some of its members."""

    def odd(plain: str, values: st.SearchStrategy[str] = VALUES) -> str:
        return draw(values) if draw(st.integers(0, 3)) == 0 else plain

    text = draw(TEXTS)
    if kind == "anthropic":
        block = f'{{"type":{odd(chr(34) + "text" + chr(34))},"text":{text}}}'
        usage = f'{{"input_tokens":{odd("3")},"output_tokens":{odd("4")}}}'
        body = f'{{"content":{odd("[" + block + "]")},"stop_reason":{odd("null")},"usage":{odd(usage)},"x":{odd("0")}}}'
    elif kind == "converse":
        message = f'{{"message":{{"content":{odd("[{" + chr(34) + "text" + chr(34) + ":" + text + "}]")}}}}}'
        body = f'{{"output":{odd(message)},"stopReason":{odd("null")},"usage":{odd("{}")},"metrics":{odd("{}")}}}'
    else:
        body = f'{{"embedding":{odd("[1.5,2]")},"inputTextTokenCount":{odd("3")},"embeddingsByType":{odd("{}")}}}'
    members = [f'"modelInput":{odd("{}")}', f'"recordId":{odd(chr(34) + f"r{draw(st.integers(0, 2)):010d}" + chr(34))}']
    if draw(st.integers(0, 4)):
        members.append(f'"modelOutput":{odd(body)}')
    if draw(st.integers(0, 2)) == 0:
        members.append(f'"error":{draw(ERRORS)}')
    whole = "{" + ",".join(draw(st.permutations(members))) + "}"
    cut = draw(st.integers(1, len(whole))) if draw(st.integers(0, 9)) == 0 else len(whole)
    return whole[:cut].encode() + b"\n"


PROCESSORS: dict[str, BaseProcessor] = {
    "anthropic": ANTHROPIC,
    "converse": ConverseProcessor(),
    "titan": TitanTextEmbeddingsV2Processor(),
}


@pytest.mark.parametrize("kind", list(PROCESSORS))
@settings(deadline=None, max_examples=250)
@given(st.data())
def test_a_row_with_an_answer_is_settled_and_a_row_without_any_line_is_not(kind: str, data: st.DataObject) -> None:
    """What the join shows and what is asked for again never disagree, whatever stands in the lines."""
    lines = data.draw(st.lists(odd_lines(kind), min_size=1, max_size=4))
    processor = PROCESSORS[kind]
    column = "input_text" if processor.kind == "embedding" else "text"
    schema = pa.schema([(column, pa.string())])
    template = None if processor.kind == "embedding" else PromptTemplate.parse("{text}")
    settled = set(settled_rows(lines, processor))
    with OutputJoin(RecordRenderer(processor, template, schema), 0, 3) as join:
        join.add_outputs(lines)
        rows = join.join(pa.RecordBatch.from_pydict({column: ["a", "b", "c"]}, schema=schema)).to_pylist()
    for index, row in enumerate(rows):
        if row["record_status"] in {"ok", "truncated"}:
            assert index in settled, row
        if row["record_status"] == "missing":
            assert index not in settled, row
