import csv
import gzip
import io

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources import csv_blocks, csv_source
from bedrock_batch_assets.ingest.sources.csv_source import CsvSource


def read(data: bytes) -> pa.Table:
    source = CsvSource("s3://data/t.csv", io.BytesIO(data))
    return pa.Table.from_batches(source.batches(), schema=source.schema)


def rows(data: bytes) -> list[list[str]]:
    return [list(row.values()) for row in read(data).to_pylist()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"id,v\n007,1.50\n", [["007", "1.50"]]),
        (b"id,v\nNA,null\nTrue,NaN\n", [["NA", "null"], ["True", "NaN"]]),
        (b'id,v\n,""\n', [["", ""]]),
        (b'id,v\n"a\nb","c\r\nd\re"\n', [["a\nb", "c\r\nd\re"]]),
        (b'id,v\n"say ""hi""","a,b"\n', [['say "hi"', "a,b"]]),
        (b"id,v\r\n1,2\r\n3,4", [["1", "2"], ["3", "4"]]),
        (b"id,v\r1,2\r3,4\r", [["1", "2"], ["3", "4"]]),
        (b"\xef\xbb\xbfid,v\n1,2\n", [["1", "2"]]),
        (b"id,v\n 1 , 2\n", [[" 1 ", " 2"]]),
        (b"id,v\n1,a\x00b\n", [["1", "a\x00b"]]),
        ("id,v\nü,漢😀\u2028x\n".encode(), [["ü", "漢😀\u2028x"]]),
        (b'id,v\n1,a"b\n', [["1", 'a"b']]),
        (b"id,v\n\n1,2\n\n\n3,4\n\n", [["1", "2"], ["3", "4"]]),
        (b"\n\r\nid,v\n1,2\n", [["1", "2"]]),
        # In a single column a blank line is a row.
        (b"v\n1\n\n2\n", [["1"], [""], ["2"]]),
        (b'v\r\n""\r\n\r\n2\r\n', [[""], [""], ["2"]]),
    ],
)
def test_cells_are_the_text_of_the_file(data: bytes, expected: list[list[str]]) -> None:
    """Nothing is guessed, trimmed or turned into null."""
    table = read(data)
    assert set(table.schema.types) == {pa.string()}
    assert rows(data) == expected


def test_header_names_are_kept() -> None:
    """Names may hold commas, quotes, line breaks, spaces and any letter, and the BOM belongs to none."""
    data = '\ufeff"a,b","say ""x""","two\nlines", spaced ,ü\n1,2,3,4,5\n'.encode()
    assert read(data).column_names == ["a,b", 'say "x"', "two\nlines", " spaced ", "ü"]


cells = st.text(st.sampled_from('ab,"\n\r \u00fc\u6f22\U0001f600'), max_size=6)
tables = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=30)
)


@given(tables, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(60, 200))
@settings(deadline=None, max_examples=400)
def test_any_table_survives(table: list[list[str]], line_end: str, gzipped: bool, block: int) -> None:
    """What Python's csv module writes is read back cell for cell, wherever the blocks are cut."""
    text = io.StringIO()
    header = [f"c{index}" for index in range(len(table[0]))]
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([header, *table])
    data = text.getvalue().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_source, "_BLOCK_BYTES", block)
        assert rows(gzip.compress(data) if gzipped else data) == table


@pytest.mark.parametrize("place", range(8))
def test_a_line_break_in_a_cell_survives_a_block_boundary(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CR and LF inside quotes stay together if a block ends between them."""
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 32)
    cell = "x" * place + "\r\n\r\r\n\n" * 4
    data = f'v\n"{cell}"\n"{cell}"\n'.encode()
    assert rows(data) == [[cell], [cell]]


def test_writing_it_again_gives_the_same_bytes() -> None:
    """A file that quotes every cell goes through unchanged."""
    data = b'"id","v"\n"007",""\n"NA","a\nb ""c"""\n'
    written = io.BytesIO()
    pa_csv.write_csv(read(data), written, pa_csv.WriteOptions(quoting_style="all_valid"))
    assert written.getvalue() == data


def test_rows_arrive_in_batches() -> None:
    """A file of many blocks is not put together in memory."""
    data = b"id,v\n" + b"".join(b"%d,%s\n" % (row, b"x" * 1_000) for row in range(40_000))
    source = CsvSource("t.csv", io.BytesIO(data))
    sizes = [batch.num_rows for batch in source.batches()]
    assert len(sizes) > 1
    assert sum(sizes) == 40_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"id,v\n1,2\n3\n", r"row 2 \(counted below the header\) has 1 cells where the header has 2: '3'"),
        (b'id,v\n"a\nb",2\n3,4,5\n', r"row 2 .* has 3 cells where the header has 2: '3,4,5'"),
        (b"id,v\n1,2\n" * 1 + b"1,2\n" * 500 + b"x\n", "row 502 "),
        (b"id,v\n1,caf\xe9\n", r"not UTF-8: byte 0xe9 at offset 10 \(line 2\)"),
        (b"id,caf\xe9\n1,2\n", r"byte 0xe9 at offset 6 \(line 1\)"),
        (b"\xff\xfei\x00d\x00\n\x00", r"byte 0xff at offset 0 \(line 1\)"),
        (b"id,v\n1,\xe6\xbc", r"byte 0xe6 at offset 7 \(line 2\)"),
        (b"id,v\n" + b"1,2\n" * 400_000 + b"3,\x80\n", r"byte 0x80 at offset 1600007 \(line 400002\)"),
        (b'id,v\n1,2\n3,"a\nb,4\n', "row 2 .* opens a quote and never closes it"),
        (b'"id,v\n1,2\n', "the header cannot be parsed"),
        (b'i"d" x,"v" x\n1,2\n', "the header cannot be parsed"),
        (b"x" * (2 << 20), "the header is longer than 1 MiB"),
        (b"", "is empty"),
        (b"\r\n\n", "nothing but blank lines"),
        (b"id,v\n", "has a header and no rows"),
        (gzip.compress(b"id,v\n" + b"1,2\n" * 50_000, mtime=0)[:-20], "broken gzip"),
    ],
)
def test_broken_files_are_refused_with_the_place(data: bytes, words: str) -> None:
    """The message names the file and the row or byte, and the rows before it are never taken for the whole."""
    with pytest.raises(RequestError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith("s3://data/t.csv")


def test_a_row_longer_than_a_block_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long cell after many blocks costs nothing but a second look at the beginning: no row is lost or doubled."""
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 1_000)
    short = [[str(row), "x" * (row % 50)] for row in range(2_000)]
    table = [*short, ["long", "y\n" * 5_000], *short, ["long too", "z" * 20_000]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([["id", "v"], *table])
    for data in (text.getvalue().encode(), gzip.compress(text.getvalue().encode())):
        assert rows(data) == table


def test_a_quote_that_is_never_closed_ends_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It swallows the rest of a large file, and not all memory with it."""
    monkeypatch.setattr(csv_blocks, "MAX_ROW_BYTES", 1 << 20)
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 1 << 10)
    with pytest.raises(
        RequestError, match=r"row 2 .* longer than \d+ MiB: .* Most likely a quote is opened and never closed"
    ):
        read(b'id,v\n1,2\n3,"' + b"x,y\n" * 1_000_000)
