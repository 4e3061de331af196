import io
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.records import parsing
from bedrock_batch_assets.records.parsing import OutputParser, OutputRecord, line_blocks


def parse(*lines: bytes, processor: BaseProcessor | None = None) -> list[OutputRecord]:
    return list(OutputParser(processor or AnthropicProcessor()).parse([line + b"\n" for line in lines]))


def line(body: dict[str, Any] | None = None, **members: Any) -> bytes:
    content = {"recordId": "r0000000001", "modelInput": {"messages": []}, **members}
    return json.dumps(content if body is None else {**content, "modelOutput": body}).encode()


def text_body(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}


@settings(deadline=None)
@given(st.binary(), st.lists(st.integers(0, 40)), st.integers(1, 20))
def test_lines_end_at_newlines_alone(data: bytes, cuts: list[int], block_bytes: int) -> None:
    """However the file arrives, its lines are what stands between its newlines, in order."""
    data = data.replace(b"\x07", b"\n")
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    blocks = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    expected = [part + b"\n" for part in data.split(b"\n")]
    expected[-1] = expected[-1][:-1]
    if not expected[-1]:
        expected.pop()
    assert [one for lines in line_blocks(blocks) for one in lines] == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_BLOCK_BYTES", block_bytes)
        assert [one for lines in line_blocks(io.BytesIO(data)) for one in lines] == expected


def test_separators_that_json_leaves_alone_do_not_cut_a_line() -> None:
    """U+2028, U+2029 and U+0085 may stand in a model's text as they are."""
    text = "a\u2028b\u2029c\x85d"
    content = json.dumps({"recordId": "r0000000001", "modelOutput": text_body(text)}, ensure_ascii=False)
    [record] = parse(content.encode())
    assert record.answer is not None
    assert record.answer.response == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"errorCode": 400, "errorMessage": "bad request"}, "400: bad request"),
        ({"errorCode": "ThrottlingException", "errorMessage": "slow down"}, "ThrottlingException: slow down"),
        ({"errorCode": 500, "errorMessage": None}, "500"),
        ({"errorCode": 429, "errorMessage": "x", "retryable": True, "expired": False}, "429: x (retryable)"),
        ({"errorMessage": "late", "expired": True}, "late (expired)"),
        ({}, "the service gave no reason"),
        ("the model refuses", "the model refuses"),
        (["a", {"b": 1}], '["a", {"b": 1}]'),
        ({"errorCode": 400.0, "errorMessage": "bad"}, "400: bad"),
        ({"errorCode": 400, "errorMessage": {"why": "é"}}, '400: {"errorCode": 400, "errorMessage": {"why": "é"}}'),
        ({"errorCode": {"a": 1}, "errorMessage": "m"}, '{"errorCode": {"a": 1}, "errorMessage": "m"}'),
    ],
)
def test_an_error_is_one_line_of_text(error: Any, text: str) -> None:
    """Code and message, in whichever type and with whichever extras the service writes them; odd shapes keep it all."""
    for content in (line(error=error), line(error=error, modelOutput=None)):
        [record] = parse(content)
        assert (record.record_id, record.answer, record.error) == ("r0000000001", None, text)


@pytest.mark.parametrize(
    ("processor", "body"),
    [
        (AnthropicProcessor(), {"output": {"message": {"content": []}}}),
        (AnthropicProcessor(), []),
        (ConverseProcessor(), text_body("x")),
        (TitanTextEmbeddingsV2Processor(), {"embedding": ["a"]}),
        (TitanTextEmbeddingsV2Processor(), {"embedding": None}),
    ],
)
def test_a_body_that_is_not_the_familys_is_one_records_error(processor: BaseProcessor, body: Any) -> None:
    """The record is known, so it is an error of its own and no corrupt line."""
    good, bad = parse(line(error={"errorCode": 1}), line(body), processor=processor)
    assert good.error == "1"
    assert (bad.record_id, bad.answer, bad.corrupt) == ("r0000000001", None, False)
    assert bad.error is not None
    assert "unexpected" in bad.error


def test_a_line_with_neither_answer_nor_error_says_so() -> None:
    """It is an error of the record."""
    assert parse(line()) == [
        OutputRecord("r0000000001", error="the output line has neither modelOutput nor error", retryable=True),
    ]


@settings(deadline=None)
@given(st.integers(1, 200))
def test_a_line_that_was_cut_off_keeps_its_record(length: int) -> None:
    """It is corrupt, and belongs to the record whose id stands before the cut; never does it raise."""
    whole = line(text_body("x" * 100))
    [record] = parse(whole[:length])
    assert record.corrupt
    assert record.record_id == ("r0000000001" if length >= len('{"recordId": "r0000000001"') else None)


@settings(deadline=None)
@given(st.binary(min_size=1))
def test_garbage_never_raises(data: bytes) -> None:
    """Whatever the bytes are, the lines around them are read."""
    records = parse(line(text_body("a")), data, line(text_body("b")))
    for record in (records[0], records[-1]):
        assert record.answer is not None
    assert all(record.answer is None for record in records[1:-1])


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'{"modelOutput":{}}', b'{"recordId":7}'])
def test_json_without_a_record_id_is_corrupt(content: bytes) -> None:
    """It cannot be attributed to any record."""
    [record] = parse(content)
    assert record.record_id is None
    assert record.corrupt or record.error is not None


def test_blank_lines_are_nothing() -> None:
    """They are neither records nor corrupt."""
    assert parse(b"", b"  \r", b"") == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b'"a\\ud83d"', "a\ufffd"), (b'"a\xff"', "a\ufffd"), (b'"\\ud83d\\ude00"', "😀"), (b'"a\tb"', "a\tb")],
)
def test_a_paid_answer_survives_broken_characters(raw: bytes, text: str | None) -> None:
    """Half an emoji, if a token limit cut it, and bytes that are not UTF-8 become the replacement character."""
    content = line(text_body("@")).replace(b'"@"', raw)
    [record] = parse(content)
    assert (record.answer.response if record.answer else None) == text
    assert record.record_id == "r0000000001"


class LooseProcessor(AnthropicProcessor):
    """Reads a dict, and believes everything."""

    output_type = None

    def process_output(self, model_output: Any) -> ModelAnswer:
        return ModelAnswer(
            response=model_output["text"], stop_reason=model_output.get("why"), input_tokens=model_output.get("in")
        )


@pytest.mark.parametrize(
    "body", [{"text": "a", "why": []}, {"text": "a", "in": "x"}, {"text": "a", "in": 2**63}, {"text": "a", "in": True}]
)
def test_a_side_field_of_a_loose_processor_becomes_null(body: dict[str, Any]) -> None:
    """The answer was paid for: what does not fit beside it is null."""
    good, odd = parse(line({"text": "a", "in": 9}), line(body), processor=LooseProcessor())
    assert good.answer == ModelAnswer(response="a", input_tokens=9)
    assert odd.answer == ModelAnswer(response="a")


SIDE_FIELDS: list[tuple[BaseProcessor, dict[str, Any], ModelAnswer]] = [
    (AnthropicProcessor(), {"usage": {"input_tokens": 1.0}}, ModelAnswer("x", input_tokens=1)),
    (AnthropicProcessor(), {"usage": {"output_tokens": "2"}}, ModelAnswer("x", output_tokens=2)),
    (AnthropicProcessor(), {"usage": {"input_tokens": 2**40, "output_tokens": 3}}, ModelAnswer("x", output_tokens=3)),
    (AnthropicProcessor(), {"usage": {"input_tokens": 1.5, "output_tokens": [4]}}, ModelAnswer("x")),
    (AnthropicProcessor(), {"usage": []}, ModelAnswer("x")),
    (AnthropicProcessor(), {"usage": "many"}, ModelAnswer("x")),
    (AnthropicProcessor(), {"stop_reason": 1}, ModelAnswer("x")),
    (AnthropicProcessor(), {"content": [None, {"type": "text", "text": "x"}]}, ModelAnswer("x")),
    (AnthropicProcessor(), {"content": [{"type": 7}, {"type": "text", "text": "x"}, 5]}, ModelAnswer("x")),
    (AnthropicProcessor(), {"content": "x"}, ModelAnswer("x")),
    (ConverseProcessor(), {"usage": {"inputTokens": "7", "outputTokens": None}}, ModelAnswer("x", input_tokens=7)),
    (ConverseProcessor(), {"stopReason": {"a": 1}, "metrics": 7}, ModelAnswer("x")),
    (ConverseProcessor(), {"output": {"message": {"content": "x"}}}, ModelAnswer("x")),
    (ConverseProcessor(), {"output": {"message": {"content": [None, {"text": "x"}]}}}, ModelAnswer("x")),
    (TitanTextEmbeddingsV2Processor(), {"inputTextTokenCount": 3.0}, ModelAnswer(embedding=[1.5, 2.0], input_tokens=3)),
    (TitanTextEmbeddingsV2Processor(), {"inputTextTokenCount": {}}, ModelAnswer(embedding=[1.5, 2.0])),
]


@pytest.mark.parametrize(("processor", "odd", "answer"), SIDE_FIELDS)
def test_an_answer_survives_side_fields_of_another_type(
    processor: BaseProcessor, odd: dict[str, Any], answer: ModelAnswer
) -> None:
    """A token count, a stop reason or a block that cannot be read is null, and the answer beside it is kept."""
    bodies: dict[str, dict[str, Any]] = {
        "AnthropicProcessor": {"content": [{"type": "text", "text": "x"}]},
        "ConverseProcessor": {"output": {"message": {"content": [{"text": "x"}]}}},
        "TitanTextEmbeddingsV2Processor": {"embedding": [1.5, 2]},
    }
    [record] = parse(line({**bodies[type(processor).__name__], **odd}), processor=processor)
    assert record.error is None
    assert record.answer is not None
    embedding = record.answer.embedding
    assert msgspec.structs.replace(record.answer, embedding=None if embedding is None else list(embedding)) == answer


@pytest.mark.parametrize("body", [{}, {"text": 7}])
def test_a_loose_processor_cannot_break_the_columns(body: dict[str, Any]) -> None:
    """An answer of another type than the column, or none at all, is an error of this record alone."""
    good, bad = parse(line({"text": "a", "in": 9}), line(body), processor=LooseProcessor())
    assert good.answer == ModelAnswer(response="a", input_tokens=9)
    assert bad.answer is None
    assert bad.error is not None
    assert "unexpected model output" in bad.error


@pytest.mark.parametrize("rest", [b',"modelOutput":{"content":[{"type":"text","text":"x"}]}}', b',"error":{}}', b""])
@pytest.mark.parametrize("member", [b"modelInput", b"error", b"other"])
def test_a_line_that_is_nested_too_deeply_is_one_records_error(member: bytes, rest: bytes) -> None:
    """No decoder goes a hundred thousand levels down: its record is known, and the others are read."""
    deep = b'{"recordId":"r0000000001","' + member + b'":' + b"[" * 100_000 + b"]" * 100_000 + rest
    good, bad, last = parse(line(text_body("a")), deep, line(text_body("b")))
    assert (good.answer is not None, last.answer is not None) == (True, True)
    assert bad.record_id == "r0000000001"
    assert bad.error is not None or bad.answer == ModelAnswer(response="x")


ECHOES = st.sampled_from(
    [
        {"text": "modelOutput"},
        {"text": '"modelOutput"'},
        {"text": 'a "modelOutput": {"content":[]}'},
        {"text": '\\"modelOutput'},
        {"modelOutput": {"content": [{"type": "text", "text": "echo"}]}},
        {'a"modelOutput': {"content": []}, "recordId": "r0000000009"},
        {"a": {"modelOutput": None, "recordId": "r0000000009", "error": {"errorCode": 1}}},
        ["modelOutput", {"modelOutput": []}],
        "modelOutput",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    ECHOES,
    st.text(st.characters(exclude_categories=["Cs"])),
    st.permutations(["recordId", "modelInput", "end", "error"]),
    st.sampled_from(["answer", "null", "none", "twice"]),
    st.booleans(),
    st.booleans(),
)
def test_the_echo_is_never_taken_for_the_answer(
    echo: Any, text: str, order: list[str], output: str, error: bool, compact: bool
) -> None:
    """Whatever it holds, in whatever order the members are, a line says what a plain decoder reads in it."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None)

    answers = {
        "answer": [dump(text_body(text))],
        "null": ["null"],
        "none": [],
        "twice": [dump(text_body("first")), dump(text_body(text))],
    }
    values = {
        "recordId": [dump("r0000000001")],
        "modelInput": [dump(echo)],
        "end": answers[output],
        "error": [dump({"errorCode": 400, "errorMessage": text})] if error else [],
    }
    names = {"end": "modelOutput"}
    members = [f"{dump(names.get(name, name))}:{value}" for name in order for value in values[name]]
    content = ("{" + ",".join(members) + "}").encode()
    [record] = parse(content)
    plain = json.loads(content)
    assert record.record_id == plain["recordId"]
    body = plain.get("modelOutput")
    assert (record.answer.response if record.answer else None) == (body and text)
    if body is None:
        expected = "the output line has neither modelOutput nor error"
        assert record.error == (f"400: {text}" if error and text else "400" if error else expected)
