import json
import sys
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.prompt_templates import is_empty
from bedrock_batch_assets.records import string_columns
from bedrock_batch_assets.records.string_columns import (
    ColumnTooLargeError,
    bitmap,
    empty_values,
    json_escaped,
    narrowed,
    strings_of,
)

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from('"\\\n\t\r\b\f\x00\x1f\x7f aé漢😀')),
    st.text(st.sampled_from("a\\\n")),
    st.text(st.sampled_from('a"\n\r\t\b\f')),
)


@st.composite
def slices(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[list[Any], slice]:
    """Some values, and which of them to take."""
    some = draw(st.lists(values, max_size=20))
    start = draw(st.integers(0, len(some)))
    return some, slice(start, draw(st.integers(start, len(some))))


def cut(array: pa.Array, part: slice) -> pa.Array:
    return array.slice(part.start, part.stop - part.start)


@settings(deadline=None)
@given(slices(TEXTS), st.sampled_from([1, 3, 1 << 16]))
def test_escaping_a_column_equals_escaping_its_values(sample: tuple[list[str], slice], step_bytes: int) -> None:
    """Byte for byte what stands between the quotes of each text as JSON, also from the middle of a column."""
    texts, part = sample
    with mock.patch.object(string_columns, "_STEP_BYTES", step_bytes):
        escaped = json_escaped(cut(pa.array(texts, pa.string()), part))
    escaped.validate(full=True)
    assert escaped.to_pylist() == [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts[part]]


def test_every_character_is_escaped_as_json_has_it() -> None:
    """Each alone, so that none is found by the help of another."""
    for character in map(chr, range(256)):
        assert json_escaped(pa.array([f"a{character}b"])).to_pylist() == [
            json.dumps(f"a{character}b", ensure_ascii=False)[1:-1]
        ]


@settings(deadline=None)
@given(slices(st.none() | TEXTS | st.text(st.sampled_from(" \t\x1f\x85\xa0\u1680\u2003\u2028\u3000あ"))))
def test_a_value_is_empty_where_python_says_so(sample: tuple[list[str | None], slice]) -> None:
    """Null, nothing, or white space of any script, also from the middle of a column."""
    texts, part = sample
    expected = [text is None or is_empty(text) for text in texts[part]]
    assert empty_values(cut(pa.array(texts, pa.string()), part)).tolist() == expected


def test_every_white_space_is_known() -> None:
    """Each character alone is empty or not as `str.isspace` has it."""
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    column = strings_of([character.encode() for character in characters])
    assert empty_values(column).tolist() == [character.isspace() for character in characters]


@settings(deadline=None)
@given(slices(st.none() | TEXTS))
def test_wide_offsets_become_narrow(sample: tuple[list[str | None], slice]) -> None:
    """The values and nulls of any part of a column stay what they are."""
    texts, part = sample
    column = narrowed(cut(pa.array(texts, pa.large_string()), part))
    column.validate(full=True)
    assert column.type == pa.string()
    assert column.to_pylist() == texts[part]


@settings(deadline=None)
@given(st.lists(TEXTS), st.booleans())
def test_a_column_is_made_of_bytes(texts: list[str], empty_is_null: bool) -> None:
    """Each text is at its place, and empty ones are null if that is asked for."""
    column = strings_of([text.encode() for text in texts], empty_is_null=empty_is_null)
    column.validate(full=True)
    assert column.to_pylist() == [None if empty_is_null and not text else text for text in texts]


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1))
def test_a_bitmap_has_arrows_order_of_bits(valid: list[bool]) -> None:
    """Read back by Arrow, it is what it was made of."""
    column = pa.Array.from_buffers(pa.bool_(), len(valid), [None, bitmap(np.array(valid))])
    assert column.to_pylist() == valid


def test_offsets_never_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than 32-bit offsets can say are an error; as many as they can are not."""
    monkeypatch.setattr(string_columns, "MAX_BYTES", 6)
    assert strings_of([b"abc", b"def"]).to_pylist() == ["abc", "def"]
    assert narrowed(pa.array(["abc", "def"], pa.large_string())).to_pylist() == ["abc", "def"]
    assert json_escaped(pa.array(['"""'])).to_pylist() == ['\\"' * 3]
    with pytest.raises(ColumnTooLargeError):
        strings_of([b"abc", b"defg"])
    with pytest.raises(ColumnTooLargeError):
        narrowed(pa.array(["abc", "defg"], pa.large_string()))
    with pytest.raises(ColumnTooLargeError):
        json_escaped(pa.array(['""""']))


def test_a_few_rows_from_far_behind_are_narrowed() -> None:
    """Where their texts lie does not count: only how long they are."""
    far = np.array([2**33, 2**33 + 1, 2**33 + 3], np.int64)
    # Nothing lies before the texts: the column is cut out of one whose memory is never touched.
    data = pa.foreign_buffer(TEXT.address - 2**33, 2**33 + 3, TEXT)
    column = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(far), data])
    assert narrowed(column).to_pylist() == ["a", "bc"]


TEXT = pa.py_buffer(b"abc")
