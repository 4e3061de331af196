"""What quotes mean in CSV is read as Python's strict reader reads it, or refused: never fewer rows in silence."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources import csv_source
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_source import CsvSource
from bedrock_batch_assets_tests.ingest.sources.csv_oracle import (
    DIALECTS,
    Rows,
    read_by_python,
    read_by_us,
    written,
)

SPARK = CsvDialect(escape="\\")
cells = st.text(st.sampled_from('ab,;\t"\\\n\r \u00fc\U0001f600'), max_size=6)
tables = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=12)
)
# Bytes read at a time: some cut every cell, and some are around the 64 of a machine word.
blocks = st.sampled_from([3, 16, 63, 64, 65, 1 << 20])


def with_header(table: Rows) -> Rows:
    return [[f"c{place}" for place in range(len(table[0]))], *table]


def without_returns(table: Rows) -> Rows:
    """The table without carriage returns: Python's writer does not quote them, and its reader ends a row with them."""
    return [[cell.replace("\r", "") for cell in row] for row in table]


def read_in_blocks(text: str, dialect: CsvDialect, block: int, *, advise: bool = False) -> Rows | RequestError:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_source, "_BLOCK_BYTES", block)
        return read_by_us(text, dialect, advise=advise)


@given(
    tables, st.sampled_from(["RFC 4180", "semicolon", "tab"]), st.sampled_from(["\n", "\r\n"]), st.booleans(), blocks
)
@settings(deadline=None, max_examples=120)
def test_what_python_writes_is_read(table: Rows, dialect: str, line_end: str, quote_all: bool, block: int) -> None:
    """Any table that Python writes comes out cell for cell, once it is said that a backslash is text."""
    if not quote_all:
        table = without_returns(table)
    text = written(with_header(table), dialect, line_end=line_end, quote_all=quote_all)
    ours = DIALECTS[dialect][1]
    result = read_in_blocks(text, ours.with_settings(escape='"'), block)
    if isinstance(result, RequestError):
        assert "has a blank before a" in str(result)
    else:
        assert result == read_by_python(text, dialect)
    # Not said, a backslash before a quote may be refused, and nothing else.
    unsaid = read_in_blocks(text, ours, block)
    assert unsaid == result or "backslash" in str(unsaid) or "blank before" in str(unsaid)


@given(tables, st.sampled_from(["backslash", "backslash everywhere"]), st.booleans(), blocks)
@settings(deadline=None, max_examples=120)
def test_what_python_writes_with_backslashes_is_read(table: Rows, dialect: str, quote_all: bool, block: int) -> None:
    """With an escape character, too; outside quotes only if the request says that it has a meaning there."""
    if not quote_all:
        table = without_returns(table)
    text = written(with_header(table), dialect, quote_all=quote_all)
    result = read_in_blocks(text, DIALECTS[dialect][1], block)
    if isinstance(result, RequestError):
        assert dialect == "backslash"
        assert "csv.escape_unquoted" in str(result)
    else:
        assert result == read_by_python(text, dialect)


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a table, with characters of its quoting lost, added or moved; and its dialect."""
    dialect = draw(st.sampled_from(sorted(DIALECTS)))
    text = written(with_header(draw(tables)), dialect, quote_all=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        added = draw(st.sampled_from(["", '"', '""', "\\", '\\"', "\n", "\r", " ", ",", ";", "\t", "a"]))
        text = text[:place] + added + text[place + draw(st.integers(0, 1)) :]
    return text, dialect


@given(damaged_files(), blocks)
@example(('c0,c1\n1,"say "hi" now"\n', "RFC 4180"), 1 << 20)
@example(('c0,c1\n1,"a"\n2,"b', "RFC 4180"), 4)
@example(('c0,c1\n1,"a""', "RFC 4180"), 2)
@example(('c0,c1\n"a"",b\n"",c\n', "RFC 4180"), 64)
@example(('c0,c1\n"a""b",c\n', "backslash"), 1 << 20)
@example(('c0\n"a"\\\n', "backslash everywhere"), 1 << 20)
@settings(deadline=None, max_examples=250)
def test_damaged_quoting_is_read_as_python_does_or_refused(file: tuple[str, str], block: int) -> None:
    """Whatever is read is what Python's strict reader reads, row for row; what it refuses is refused."""
    text, dialect = file
    result = read_in_blocks(text, DIALECTS[dialect][1], block)
    if not isinstance(result, RequestError) and not _ends_after_escaped_line_end(text):
        assert result == read_by_python(text, dialect)


def _ends_after_escaped_line_end(text: str) -> bool:
    """Python's strict reader takes a last line without line end for cut off if the one before ends in a backslash."""
    return not text.endswith(("\n", "\r")) and text.rpartition("\n")[0].endswith("\\")


@given(st.text(st.sampled_from('ab,"\n\\ '), max_size=60), blocks)
@settings(deadline=None, max_examples=150)
def test_any_text_is_read_as_python_does_or_refused(body: str, block: int) -> None:
    """The same for text that no writer wrote."""
    text = "c0,c1\n" + body
    result = read_in_blocks(text, CsvDialect(), block)
    if not isinstance(result, RequestError):
        assert result == read_by_python(text, "RFC 4180")


def spark_rows(count: int, inches: tuple[int, ...]) -> Iterator[str]:
    for row in range(count):
        yield f'{row},"television {row} 55\\"",shop\n' if row in inches else f"{row},plain review number {row},shop\n"


def test_rows_inside_a_cell_are_found() -> None:
    """Two inch marks as Spark writes them make one cell of all rows between, which pyarrow reads without a word."""
    text = "id,topic,source\n" + "".join(spark_rows(1_000, (99, 899)))
    refusal = read_by_us(text, CsvDialect())
    assert isinstance(refusal, RequestError)
    for words in (
        "row 100 (counted below the header)",
        "line",
        "101",
        'television 99 55\\\\"',
        'csv: {"escape": "\\\\"}',
    ):
        assert words in str(refusal)
    rows = read_by_us(text, SPARK)
    assert isinstance(rows, list)
    assert len(rows) == 1_001
    assert rows[100] == ["99", 'television 99 55"', "shop"]
    assert rows[1_000] == ["999", "plain review number 999", "shop"]


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=30))
@settings(deadline=None, max_examples=100)
def test_files_of_spark_lose_no_row(pairs: list[tuple[str, str]]) -> None:
    """Whatever Spark writes is read whole with its escape character, and without it whole or not at all."""
    rows = [["id", "text", "more"], *([str(number), *pair] for number, pair in enumerate(pairs))]
    text = "".join(",".join(_by_spark(cell) for cell in row) + "\n" for row in rows)
    assert read_by_us(text, SPARK.with_settings(escape_unquoted=False)) == rows
    without = read_by_us(text, CsvDialect())
    assert isinstance(without, RequestError) or len(without) == len(rows)


def _by_spark(cell: str) -> str:
    """A cell as univocity's CsvWriter writes it with Spark's settings: quoted only if it has to be."""
    if not any(mark in cell for mark in ',"\n\r'):
        return cell
    return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'


# A row that must be refused, and what it must be called.
REFUSED = [
    ('1,"say "hi" now"', "text after the '\"' that closes a cell"),
    ('1,"abc"def', "text after the '\"' that closes a cell"),
    ('1,"abc" ', "text after the '\"' that closes a cell"),
    ('1,"<a href="x">y</a>"', "text after the '\"' that closes a cell"),
    ('1,"{"a": 1, "b": 2}"', "text after the '\"' that closes a cell"),
    ('1,"a"b"', "text after the '\"' that closes a cell"),
    ('1,"a""b"c', "text after the '\"' that closes a cell"),
    ('1, "hello, world"', "has a blank before a '\"'"),
    ('1,\t "hello, world"', "has a blank before a '\"'"),
    ('1,{"a": 1, "b": 2}', "has 3 cells where the header has 2"),
    ('1,"never closed', "opens a quote and never closes it"),
    ('1,"', "opens a quote and never closes it"),
    ('1,"a""', "opens a quote and never closes it"),
]


@pytest.mark.parametrize(("row", "words"), REFUSED)
@pytest.mark.parametrize(("before", "compressed"), [(0, False), (3_000, True)])
def test_the_row_and_the_line_are_named(row: str, words: str, before: int, compressed: bool) -> None:
    """One error, which names row and line, however far down the file, and tells cells of several lines apart."""
    text = "id,v\n" + 'x,"two\nlines"\n' * before + row + "\n"
    data = gzip.compress(text.encode()) if compressed else text.encode()
    with pytest.raises(RequestError) as caught:
        list(CsvSource("s3://data/t.csv", io.BytesIO(data)).batches())
    message = str(caught.value)
    assert message.startswith(f"s3://data/t.csv: row {before + 1} (counted below the header) ")
    assert words in message
    assert f" on line {2 + 2 * before}" in message
    assert message.endswith(".")
    assert "\n" not in message


def test_quotes_inside_cells_without_quotes_are_text() -> None:
    """Inch marks, and quoted words in the middle of a cell, are what they are for Python and pandas."""
    text = 'id,v,w\n1,6" pipe,12" pipe\n2,a "b" c,d\n3, "x", "y"\n4,"6"" x",""""\n'
    assert read_by_us(text, CsvDialect()) == [
        ["id", "v", "w"],
        ["1", '6" pipe', '12" pipe'],
        ["2", 'a "b" c', "d"],
        ["3", ' "x"', ' "y"'],
        ["4", '6" x', '"'],
    ]


def test_a_backslash_at_the_end_of_a_cell_is_text_if_it_can_be_nothing_else() -> None:
    """Paths of Windows are read as ever; what both dialects read is refused until the request says which."""
    paths = 'id,v\n1,"C:\\dir\\"\n2,"x, y"\n'
    assert read_by_us(paths, CsvDialect()) == [["id", "v"], ["1", "C:\\dir\\"], ["2", "x, y"]]
    both = 'id,v,w\n1,"6\\"",", x"\n'
    refusal = read_by_us(both, CsvDialect())
    assert isinstance(refusal, RequestError)
    assert "row 1 (counted below the header) has a backslash before a quote" in str(refusal)
    assert 'csv: {"escape": "\\\\"}' in str(refusal)
    assert 'csv: {"escape": "\\""}' in str(refusal)
    assert read_by_us(both, SPARK) == [["id", "v", "w"], ["1", '6"', ", x"]]
    assert read_by_us(both, CsvDialect(escape='"')) == [["id", "v", "w"], ["1", '6\\",', ' x"']]


def test_the_rows_before_a_doubtful_backslash_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the beginning is read again, no row is lost or doubled."""
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 512)
    rows = [[str(number), "C:\\" if number % 997 == 500 else f"a, {number}"] for number in range(3_000)]
    table = [["id", "v"], *rows]
    text = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in table)
    assert read_by_us(text, CsvDialect()) == table


def test_a_parser_that_loses_rows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are counted a second time: a parser that reads fewer than there are is never believed."""
    original = csv_source.CsvSource._reader

    def losing(self: CsvSource, stream: Any) -> object:
        class Stream(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def read(self, size: int = -1) -> bytes:
                data: bytes = stream.read(size)
                return data.replace(b"\nb", b" b")

        return original(self, Stream())  # type: ignore[arg-type]

    monkeypatch.setattr(csv_source.CsvSource, "_reader", losing)
    refusal = read_by_us("v\na\nb\nc\n", CsvDialect())
    assert isinstance(refusal, RequestError)
    assert "counted in two ways, with different results" in str(refusal)
