import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.records.answer_blocks import AnswerBlock
from bedrock_batch_assets.records.parsing import OutputParser, OutputRecord
from bedrock_batch_assets.records.rendering import record_id
from bedrock_batch_assets.records.vectors import MARK, VectorReader

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["-0", "-0.0", "0.1e-45", "1e-400", "1e39", "9007199254740993", "18446744073709551615"]),
)
ODD = st.sampled_from(
    ["null", "true", '"a"', "[1]", "{}", "NaN", "Infinity", "1e400", "01", "1 2", "1,", "", "[", "]", '"]"', "1.", "+1"]
)
SPACE = st.sampled_from(["", "", " ", "\t\r", "  "])


def plainly(line: bytes) -> OutputRecord:
    """The record, as it is read if no vector is cut out."""
    parser = OutputParser(TitanTextEmbeddingsV2Processor())
    parser._vectors = None
    [record] = parser.parse([line])
    return record


def told(record: OutputRecord) -> tuple[Any, ...]:
    """What a record says, with its numbers to the last bit."""
    answer = record.answer
    if answer is None:
        return (record.record_id, record.error, record.corrupt)
    vector = None if answer.embedding is None else np.asarray(answer.embedding, np.float64).tobytes()
    return (record.record_id, vector, answer.input_tokens)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line with a vector, or with nearly one, with members in any order, some of them twice."""

    def space() -> str:
        return draw(SPACE)

    numbers = draw(st.lists(NUMBERS | ODD if draw(st.booleans()) else NUMBERS, max_size=5))
    vector = f"[{space()}{','.join(f'{space()}{number}{space()}' for number in numbers)}{space()}]"
    key = draw(st.sampled_from(['"embedding"', '"embedding"', '"embedd\\u0069ng"', '"embeddings"']))
    output = [f"{key}{space()}:{space()}{vector}", '"inputTextTokenCount":3', *draw(st.sampled_from([[], ['"x":[1]']]))]
    output = draw(st.permutations(output))
    if draw(st.integers(0, 4)) == 0:
        output.append(draw(st.sampled_from(['"embedding":[7]', '"more":{"embedding":[8]}', '"embedding":null'])))
    echo = draw(
        st.sampled_from(
            ['{"inputText":"a"}', '"embedding"', '{"a":"\\"embedding\\":[1]"}', '{"embedding":[9]}', '{"embedding":[]}']
        )
    )
    members = [
        '"recordId":"r0000000001"',
        f'"modelInput":{echo}',
        f'"modelOutput":{{{",".join(output)}}}',
    ]
    return f"{{{space()}{','.join(draw(st.permutations(members)))}{space()}}}".encode()


@settings(deadline=None, max_examples=200)
@given(lines())
def test_vectors_are_what_the_plain_way_reads(line: bytes) -> None:
    """Bit for bit, or the same error, whatever the numbers are, and whatever stands around them."""
    [record] = OutputParser(TitanTextEmbeddingsV2Processor()).parse([line])
    assert told(record) == told(plainly(line))


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_the_vector_is_cut_out(vector: list[float]) -> None:
    """The numbers are those of the line, and the mark stands in their place."""
    line = json.dumps({"recordId": "a", "modelOutput": {"embedding": vector, "n": [1]}}).encode()
    found = VectorReader("embedding").cut(line)
    assert found is not None
    rest, numbers = found
    assert json.loads(rest) == {"recordId": "a", "modelOutput": {"embedding": MARK, "n": [1]}}
    assert numbers.tobytes() == np.array(vector, np.float64).tobytes()


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b'{"embedding":1}', b'{"embedding":[1', b'{"embedding":[1],"embedding":[2]}', b'{"a":"embedding"}'],
)
def test_what_is_not_sure_is_left_alone(line: bytes) -> None:
    """Such lines are read another way; the reader works on after them."""
    reader = VectorReader("embedding")
    assert reader.cut(line) is None
    found = reader.cut(b'{"embedding":[1.5]}')
    assert found is not None
    assert found[1].tolist() == [1.5]


def test_vectors_outlive_the_next_line() -> None:
    """Each has memory of its own."""
    reader = VectorReader("embedding")
    found = [reader.cut(b'{"embedding":[%d]}' % number) for number in range(50)]
    assert [None if one is None else one[1].tolist() for one in found] == [[float(number)] for number in range(50)]


def test_blocks_of_vectors_are_merged_by_their_bytes() -> None:
    """Where an answer begins is counted in bytes, whatever the contents are made of."""
    vectors: list[Any] = [np.array([1.5, 2.5]), np.array([3.5])]
    blocks = [
        AnswerBlock.of_records([OutputRecord(record_id(row), ModelAnswer(embedding=vector))], is_text=False)
        for row, vector in enumerate(vectors)
    ]
    block = AnswerBlock.merged(blocks, [np.array([1]), np.array([0])])
    contents = b"".join(block.contents)
    found = [
        np.frombuffer(contents[start : start + length], np.float32).tolist()
        for start, length in zip(block.starts.tolist(), block.lengths.tolist(), strict=True)
    ]
    assert found == [[3.5], [1.5, 2.5]]
