import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.records.answer_blocks import AnswerBlock
from bedrock_batch_assets.records.block_reader import BlockReader
from bedrock_batch_assets.records.parsing import OutputParser
from bedrock_batch_assets.records.rendering import record_id
from bedrock_batch_assets.records.text_columns import CutLines, TextColumns

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.one_of(
    st.integers(0, 99),
    st.sampled_from([None, -1, 2**40 - 1, 2**40, -(2**40), 2**63 - 1, -(2**63), 2**70, 1.0, 1.5, "7", True]),
)
PROCESSORS: list[BaseProcessor] = [AnthropicProcessor(), ConverseProcessor()]


def anthropic_body(blocks: Any, reason: Any, input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return {"model": "m", "content": blocks, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def converse_body(blocks: Any, reason: Any, input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    usage = {"inputTokens": input_tokens, "outputTokens": output_tokens, "totalTokens": 2}
    return {"output": {"message": {"content": blocks}}, "stopReason": reason, "usage": usage, "metrics": {"a": [1]}}


BODIES: dict[str, Callable[..., dict[str, Any]]] = {
    "AnthropicProcessor": anthropic_body,
    "ConverseProcessor": converse_body,
}


@st.composite
def content_blocks(draw: st.DrawFn) -> Any:
    """One text, as answers mostly have it; or what else there may be in its place."""
    plain = [{"type": "text", "text": draw(TEXTS)}]
    odd = [
        None,
        [],
        [None],
        "text",
        plain * 2,
        [{"type": "thinking", "thinking": "hm"}, *plain],
        [{"type": "thinking", "text": "hm"}],
        [{"text": "no type"}],
        [{"type": "text"}],
        [{"type": "text", "text": None}],
        [{"type": "text", "text": 1}],
        [{"type": 1, "text": "x"}],
    ]
    return draw(st.sampled_from(odd)) if draw(st.integers(0, 4)) == 0 else plain


@st.composite
def output_lines(draw: st.DrawFn, processor: BaseProcessor) -> list[bytes]:
    """Some lines, plain ones and others."""
    is_first = draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (",", ":"), (", ", ": ")]))
    lines = []
    for row in draw(st.lists(st.integers(0, 5), min_size=1, max_size=12)):
        reason = draw(st.sampled_from(["end_turn", "end_turn", "max_tokens", "length", "", "é", None, 1]))
        numbers = (3, 4) if draw(st.booleans()) else (draw(NUMBERS), draw(NUMBERS))
        identifier = draw(st.sampled_from([record_id(row)] * 8 + ["r000000000x", "7", "é" * 5 + "x", "", None, 4]))
        body = BODIES[type(processor).__name__](draw(content_blocks()), reason, *numbers)
        for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=1)):
            if draw(st.integers(0, 5)) == 0:
                body[name] = draw(st.sampled_from([None, {}, [], 1]))
        if draw(st.integers(0, 9)) == 0:
            body = draw(st.sampled_from([None, {}, [], "text"]))
        record: dict[str, Any] = {"modelInput": {"echo": draw(TEXTS)}, "modelOutput": body}
        if draw(st.integers(0, 9)) == 0:
            record = {"modelInput": {}, "error": {"errorCode": 400, "errorMessage": draw(TEXTS)}}
        has_first = is_first != (draw(st.integers(0, 9)) == 0)
        record = {"recordId": identifier, **record} if has_first else {**record, "recordId": identifier}
        line = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=separators).encode() + b"\n"
        lines.append(draw(st.sampled_from([line] * 9 + [b"\n", b" \r\n", line[:-1] + b"\r\n"])))
    return lines


@st.composite
def damaged(draw: st.DrawFn, lines: list[bytes]) -> list[bytes]:
    """The lines after an accident: bytes lost, doubled or put in, anywhere."""
    data = bytearray(b"".join(lines))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 4))
        odd = [b"", b"\xff", b"\xed\xa0\x80", b"\n", b'"', b"}", b"{", b"NaN", b"\\ud800", b"\x00", b"}{", b"\\", b"]"]
        data[start : start + length] = draw(st.sampled_from([*odd, bytes(data[start : start + 30])]))
    return bytes(data).splitlines(keepends=True)


def told(block: AnswerBlock) -> list[tuple[Any, ...]]:
    """What a block says of each of its lines."""
    contents = b"".join(block.contents)
    return [
        (
            int(block.rows[place]),
            contents[block.starts[place] : block.starts[place] + block.lengths[place]],
            bool(block.truncated[place]),
            block.reasons[block.stop_reasons[place]],
            int(block.input_tokens[place]),
            int(block.output_tokens[place]),
            bool(block.corrupt[place]),
            block.errors.get(place),
        )
        for place in range(len(block))
    ]


def read_both_ways(processor: BaseProcessor, lines: list[bytes]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    parser, places = OutputParser(processor), processor.text_places()
    assert places is not None
    cut = CutLines()
    cut.add(lines)
    together = TextColumns(places, parser).read(cut)
    one_by_one = [parser.parse_lines([line]) for line in lines]
    return told(together), [
        line for records in one_by_one for line in told(AnswerBlock.of_records(records, is_text=True))
    ]


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_lines_say_the_same_read_together_and_one_by_one(data: st.DataObject) -> None:
    """Any answers, of any shape, with the id on any side of the echo, in any order, mixed with errors."""
    processor = data.draw(st.sampled_from(PROCESSORS))
    together, one_by_one = read_both_ways(processor, data.draw(output_lines(processor)))
    assert together == one_by_one


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_lines_say_the_same_read_together_and_one_by_one(data: st.DataObject) -> None:
    """What is lost is lost both ways, and nothing else with it."""
    processor = data.draw(st.sampled_from(PROCESSORS))
    together, one_by_one = read_both_ways(processor, data.draw(damaged(data.draw(output_lines(processor)))))
    assert together == one_by_one


def line_of(row: int, text: str, *, is_first: bool) -> bytes:
    identifier = {"recordId": record_id(row)}
    body = {"modelInput": {"echo": text}, "modelOutput": anthropic_body([{"type": "text", "text": text}], None, 1, 2)}
    return json.dumps({**identifier, **body} if is_first else {**body, **identifier}, separators=(",", ":")).encode()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_plain_answers_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch, is_first: bool, end: bytes) -> None:
    """An error among them is, and nothing else: on either side of the echo, with or without a last newline."""
    slow: list[bytes] = []
    parse_lines = OutputParser.parse_lines

    def watched(self: OutputParser, lines: list[bytes]) -> Any:
        slow.extend(lines)
        return parse_lines(self, lines)

    monkeypatch.setattr(OutputParser, "parse_lines", watched)
    error = b'{"recordId":"r0000000007","modelInput":{},"error":{"errorCode":400,"errorMessage":"no"}}'
    # Some are many times as long as those before them.
    lines = [line_of(row, f'"{row}"\né' * (300 if row % 9 == 8 else 1), is_first=is_first) for row in range(50)]
    blocks = list(BlockReader(AnthropicProcessor()).read([b"\n".join([*lines[:20], error, *lines[20:]]) + end]))
    assert [len(block) for block in blocks] == [51]
    assert [line for line in slow if line != error + b"\n"] == []


def test_two_records_in_a_line_do_not_stand_in_for_one_in_two() -> None:
    """As many records as lines, but not each in its own: both ways, it is the lines that count."""
    first, second = (line_of(row, f"answer {row}", is_first=False) for row in (0, 1))
    torn = b'{"modelInput":{},"modelOutput":{"content":[{"type":"text","text":"torn"}],"rest":\n'
    closed = b'{"modelOutput":{},"recordId":"r0000000002"}},"recordId":"r0000000003"}\n'
    together, one_by_one = read_both_ways(AnthropicProcessor(), [first + second + b"\n", torn, closed])
    assert together == one_by_one
    assert [corrupt for *_, corrupt, _ in together] == [True, True, True]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"type":"text","text":"a"},{"type":"text","text":"b"}]',
        b'[{"type":"thinking","text":"a"}]',
        b'[{"text":"a"}]',
        b'[{"type":"text","text":""}]',
        b'[{"type":"text","text":"\xff"}]',
        b'[{"type":"text","text":"\\ud800"}]',
        b'[{"type":"text","text":"a","text":"b"}]',
        b'[{"type":"text","text":"a"}],"content":[]',
        b"[]",
        b"[null]",
        b"null",
        b"NaN",
    ],
)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_odd_contents_say_the_same_both_ways(processor: BaseProcessor, content: bytes) -> None:
    """Each between two plain answers, which it does not touch."""
    body = json.dumps(BODIES[type(processor).__name__]([], "end_turn", 1, 2), separators=(",", ":")).encode()
    plain = b'[{"type":"text","text":"plain"}]'
    lines = [
        b'{"modelInput":{},"modelOutput":%b,"recordId":"%b"}\n'
        % (body.replace(b'"content":[]', b'"content":' + middle), record_id(row).encode())
        for row, middle in enumerate([plain, content, plain])
    ]
    together, one_by_one = read_both_ways(processor, lines)
    assert together == one_by_one
    assert [together[place][:2] for place in (0, 2)] == [(0, b"plain"), (2, b"plain")]


def test_reasoning_that_is_to_be_stripped_is_stripped() -> None:
    """A processor that changes texts reads them itself."""
    assert ConverseProcessor(strip_reasoning=True).text_places() is None
