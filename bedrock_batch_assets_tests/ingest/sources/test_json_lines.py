"""JSON Lines: every value comes out as it was written, or the line is refused by its number."""

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.json_lines_source import JsonLinesSource
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

Row = dict[str, Any]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(TEXTS, PLAIN, max_size=3))
# Columns of one kind are as frequent as mixtures.
KINDS = st.sampled_from([st.booleans(), TEXTS, st.integers(-(2**62), 2**62), st.floats(-1e9, 1e9), NUMBERS, VALUES])


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows whose columns are of one kind or of several, with keys that are missing here and there."""
    keys = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    kinds = {key: draw(KINDS) for key in keys}
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        present = [key for key in keys if draw(st.integers(0, 4))]
        rows.append({key: draw(st.none() | kinds[key]) for key in present})
    return rows if any(rows) else [dict.fromkeys(keys)]


def source(*files: bytes, **settings: Any) -> JsonLinesSource:
    names = {f"{place}.jsonl": content for place, content in enumerate(files)}
    return JsonLinesSource(list(names), lambda name: io.BytesIO(names[name]), **settings)


def read(*files: bytes, **settings: Any) -> pa.Table:
    found = source(*files, **settings)
    return pa.Table.from_batches(found.batches(), schema=found.schema)


def lines(rows: list[Row], **options: Any) -> bytes:
    return "".join(json.dumps(row, **options) + "\n" for row in rows).encode()


def expected_column(rows: list[Row], key: str, **options: Any) -> list[Any]:
    """What the documentation of the source says of a column."""
    values = [row.get(key) for row in rows]
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return values
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    integers = [value for value in known if isinstance(value, int)]
    if are_numbers and len(integers) == len(known) and all(-(2**63) <= value < 2**63 for value in integers):
        return values
    if are_numbers and len(integers) < len(known) and all(abs(value) <= 2**53 for value in integers):
        return [None if value is None else float(value) for value in values]
    return [value if value is None or isinstance(value, str) else json.dumps(value, **options) for value in values]


@given(tables(), st.booleans())
def test_every_value_comes_out_as_it_was_written(rows: list[Row], ascii_only: bool) -> None:
    """Texts, booleans, integers and numbers have a type that holds them all; everything else is its own JSON text."""
    table = read(lines(rows, ensure_ascii=ascii_only))
    keys = list(dict.fromkeys(key for row in rows for key in row))
    assert table.num_rows == len(rows)
    assert table.schema.names == keys
    for key in keys:
        expected = expected_column(rows, key, ensure_ascii=ascii_only)
        # By their texts: -0.0 is not 0.0, and True is not 1.
        assert list(map(repr, table.column(key).to_pylist())) == list(map(repr, expected))


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"a": "1"}\n{"a": "2"}\n',
        b'{"a": "1"}\r\n\r\n  \r\n{"a": "2"}\r\n',
        b'{"a": "1"}\n{"a": "2"}',
        gzip.compress(b'{"a": "1"}\n{"a": "2"}\n', mtime=0),
    ],
    ids=["byte order mark", "CRLF and blank lines", "no line end", "gzip"],
)
def test_forms_of_files(content: bytes) -> None:
    """A file is read the same with a byte order mark, other line ends, blank lines, and packed."""
    assert read(content).to_pylist() == [{"a": "1"}, {"a": "2"}]


def test_files_are_one_table_whose_columns_are_all_keys() -> None:
    """A key of the second file alone is a column, null in the first; a type holds the values of both."""
    table = read(b'{"a": 1}\n', b'{"b": "x", "a": 2.5}\n')
    assert table.to_pylist() == [{"a": 1.0, "b": None}, {"a": 2.5, "b": "x"}]


def test_rows_beyond_the_limit_are_not_looked_at() -> None:
    """A key behind the last wanted row is no column."""
    assert read(b'{"a": 1}\n{"a": 2}\n{"b": 3}\n', max_rows=2).to_pylist() == [{"a": 1}, {"a": 2}]


def test_a_row_of_megabytes_is_a_row() -> None:
    """A block ends between rows, however long they are."""
    rows = [{"a": f"{number}" * 3_000_000} for number in range(3)] + [{"a": "short"}]
    assert read(lines(rows)).to_pylist() == rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[1, 2]", "is an array and no object"),
        (b'"text"', "is a single value and no object"),
        (b'{"a": 1', "is not valid JSON"),
        (b"{", "must begin and end on its line"),
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b'{"a": 1, "b": {"c": NaN}}', "column 'b' holds NaN"),
        (b'{"a": -Infinity}', "column 'a' holds -Infinity"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
        (b'{"a": "\xff"}', "UTF-8"),
    ],
)
def test_a_line_that_no_row_can_hold_is_refused_by_its_number(line: bytes, said: str) -> None:
    """The error names the file, the line and what is wrong, before anything is paid for."""
    with pytest.raises(RequestError, match=r"0\.jsonl.*line 3|0\.jsonl.*byte") as raised:
        read(b'{"a": "1"}\n{"a": "2"}\n' + line + b'\n{"a": "4"}\n')
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_without_rows_is_refused() -> None:
    """Blank lines alone are no rows, and rows without a key are no table."""
    with pytest.raises(RequestError, match="holds no rows"):
        source(b"\n\n")
    with pytest.raises(RequestError, match=r"All objects of 0\.jsonl are empty"):
        source(b"{}\n{}\n")


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


@pytest.mark.parametrize("place", ["in/t.jsonl", "in/t.jsonl.gz", "in/table/"])
def test_a_batch_of_json_lines(bench: Bench, place: str) -> None:
    """A file, a packed file and a folder of them are inputs like any other."""
    rows = [{"topic": f"topic {number}", "more": {"n": number}} for number in range(120)]
    content = lines(rows)
    key = f"{place}part-0.jsonl" if place.endswith("/") else place
    packed = gzip.compress(content, mtime=0) if key.endswith(".gz") else content
    uri = bench.put(key, packed).removesuffix("part-0.jsonl")
    bench.run("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    table = bench.read_table("demo")
    assert [row["topic"] for row in table] == [row["topic"] for row in rows]
    assert [json.loads(str(row["more"])) for row in table] == [row["more"] for row in rows]
    assert {row["record_status"] for row in table} == {"ok"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["9007199254740993", "0.5"], pa.string()),
        (["9007199254740992", "0.5"], pa.float64()),
        (["9223372036854775807", "1"], pa.int64()),
        (["9223372036854775808", "1"], pa.string()),
        (["-0", "1"], pa.string()),
        (["1e400", "1.5"], pa.string()),
        (["true", "1"], pa.string()),
        (["null", "null"], pa.string()),
    ],
)
def test_numbers_at_the_borders_of_types(values: list[str], kind: pa.DataType) -> None:
    """A type is used if it holds every number exactly, and the numbers' own text otherwise."""
    table = read("".join(f'{{"a": {value}}}\n' for value in values).encode())
    assert table.schema.field("a").type == kind
    if kind == pa.string():
        assert table.column("a").to_pylist() == [None if value == "null" else value for value in values]
