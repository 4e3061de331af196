import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.prompt_templates import value_to_text
from bedrock_batch_assets.records import string_columns
from bedrock_batch_assets.records.column_texts import check_column, check_texts, text_column
from bedrock_batch_assets.records.string_columns import ColumnTooLargeError

NOON = datetime.datetime(2024, 5, 1, 12, 0, 0, 250)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "é😀"]),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.array([1, None], pa.int8()),
        pa.array([2**63], pa.uint64()),
        pa.array([0.1, None, float("nan")]),
        pa.array([0.5], pa.float32()),
        pa.array([True, None]),
        pa.array([Decimal("1.50"), None]),
        pa.array([NOON.date()]),
        pa.array([NOON, None]),
        pa.array([NOON], pa.timestamp("us", "Europe/Berlin")),
        pa.array([NOON.time()], pa.time64("us")),
        pa.array([datetime.timedelta(hours=1)]),
        pa.array([["a", None], None, []]),
        pa.array([{"a": {"b": [1.5]}}, None]),
        pa.array([[("key", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        pa.array([1, None, 1]).dictionary_encode(),
        pa.array([None, None]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_has_the_texts_of_its_values(column: pa.Array) -> None:
    """Reading a column at once and value by value give the same texts, also from the middle of a column."""
    assert text_column(column, "a").to_pylist() == [value_to_text(value) for value in column.to_pylist()]
    assert text_column(column.slice(1), "a").to_pylist() == [value_to_text(value) for value in column.to_pylist()[1:]]


NANOSECONDS = 1_714_564_800_000_250_999
WRITTEN = "2024-05-01 12:00:00.000250999"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.timestamp("ns"), NANOSECONDS, WRITTEN),
        (pa.timestamp("ns"), NANOSECONDS - 999, "2024-05-01 12:00:00.000250"),
        (pa.timestamp("ns"), -1, "1969-12-31 23:59:59.999999999"),
        (pa.timestamp("ns", "UTC"), NANOSECONDS, f"{WRITTEN}+00:00"),
        (pa.timestamp("ns", "Europe/Berlin"), NANOSECONDS, "2024-05-01 14:00:00.000250999+02:00"),
        (pa.duration("ns"), 1_500_000_999, "0:00:01.500000999"),
        (pa.time64("ns"), 1_500_000_999, "00:00:01.500000999"),
        (pa.list_(pa.timestamp("ns")), [NANOSECONDS], f'["{WRITTEN}"]'),
        (pa.large_list(pa.timestamp("ns")), [NANOSECONDS], f'["{WRITTEN}"]'),
        (pa.list_(pa.timestamp("ns"), 1), [NANOSECONDS], f'["{WRITTEN}"]'),
        (pa.struct([("at", pa.timestamp("ns"))]), {"at": NANOSECONDS}, f'{{"at":"{WRITTEN}"}}'),
        (pa.map_(pa.string(), pa.timestamp("ns")), [("at", NANOSECONDS)], f'[["at","{WRITTEN}"]]'),
        (pa.date32(), 2_932_897, "10000-01-01"),
        (pa.date32(), -719_163, "0000-12-31"),
        (pa.list_(pa.date32()), [-719_529], '["-0001-12-31"]'),
        (pa.timestamp("us"), 253_402_300_800_000_001, "10000-01-01 00:00:00.000001"),
        (pa.timestamp("s", "UTC"), 253_402_300_800, "10000-01-01 00:00:00+00:00"),
        (pa.timestamp("s"), -62_135_596_801, "0000-12-31 23:59:59"),
        # On the clock of the zone it is the year 10,000 already, which Python cannot tell.
        (pa.timestamp("s", "Europe/Berlin"), 253_402_300_799, "9999-12-31 23:59:59+00:00"),
        (pa.timestamp("s", "Mars/Olympus"), 0, "1970-01-01 00:00:00+00:00"),
        (pa.time64("us"), 86_400_000_000, "24:00:00"),
        (pa.time32("ms"), 90_000_001, "25:00:00.001000"),
        (pa.duration("s"), 10**17, "1157407407407 days, 9:46:40"),
        (pa.float16(), np.float16(0.5), "0.5"),
        (pa.list_(pa.float16()), [np.float16(0.5)], "[0.5]"),
    ],
    ids=str,
)
def test_what_python_has_no_value_for_has_its_text(kind: pa.DataType, value: Any, text: str) -> None:
    """Nanoseconds, years of five digits, 24:00:00 and long durations come into the prompt as they were written."""
    assert text_column(pa.array([value, None], kind), "a").to_pylist() == [text, None]
    assert text_column(pa.array([None, value], kind).slice(1), "a").to_pylist() == [text]


def test_a_struct_that_python_cannot_have_is_the_requests_fault() -> None:
    """The message names column and row instead of ending in an error of Arrow's."""
    twice = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], ["x", "x"])
    with pytest.raises(RequestError, match=r"'pair', row 8 .*duplicate field names"):
        text_column(twice, "pair", first_row=7)


@pytest.mark.parametrize("text", [b"a\xff", b" \xff", b"\xed\xa0\x80", b"\xc2"])
def test_a_text_that_is_not_utf8_is_the_requests_fault(text: bytes) -> None:
    """The message names the column; the texts around it are fine."""
    texts = pa.array([b"a", text, "é".encode()]).view(pa.string())
    with pytest.raises(RequestError, match=r"'topic', row 2 .*has a text that is not UTF-8"):
        check_texts(texts, "topic")
    check_texts(texts.slice(2), "topic")
    nested = pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), texts)
    with pytest.raises(RequestError, match=r"'topic', row 1 .*has a value.*utf-8"):
        text_column(nested, "topic")


def test_texts_that_do_not_fit_together_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary, and a column with wide offsets, may say more than one column of texts can hold."""
    monkeypatch.setattr(string_columns, "MAX_BYTES", 6)
    for kind in (pa.large_string(), pa.string_view(), pa.list_(pa.string())):
        value = ["abcd"] if pa.types.is_list(kind) else "abcd"
        with pytest.raises(ColumnTooLargeError):
            text_column(pa.array([value, value], kind), "a")
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 2_200, pa.int32()), pa.array(["x" * 1_000_000]))
    with pytest.raises(ColumnTooLargeError):
        text_column(repeated, "a")


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.binary(4),
        pa.dictionary(pa.int8(), pa.binary()),
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        pa.list_(pa.struct([("bytes", pa.binary())])),
    ],
    ids=str,
)
def test_bytes_have_no_text(kind: pa.DataType) -> None:
    """A column of images, as data sets store them, cannot be put into a prompt."""
    with pytest.raises(RequestError, match=r"'image'.*bytes"):
        check_column(pa.schema([("image", kind)]), "image", "The prompt")


def test_the_column_must_exist_once() -> None:
    """A missing column is named with those that there are; one of two of the same name is not guessed."""
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("b", pa.int64())])
    check_column(schema, "a", "The prompt")
    with pytest.raises(RequestError, match=r"The prompt needs the column 'topic'.*'a', 'b'"):
        check_column(schema, "topic", "The prompt")
    with pytest.raises(RequestError, match="2 columns called 'b'"):
        check_column(schema, "b", "The prompt")


def test_extension_types_have_the_text_of_their_value() -> None:
    """A uuid is stored as bytes and still has a text."""
    identifier = uuid.UUID(int=7)
    column = pa.array([identifier.bytes], pa.uuid())
    check_column(pa.schema([("id", column.type)]), "id", "The prompt")
    assert text_column(column, "a").to_pylist() == [str(identifier)]
