from collections.abc import Iterator

import pyarrow as pa
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_holdable import CsvHoldableSource


class Table:
    """A table in memory as a source, in batches of two rows."""

    name = "table"

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._table = table

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=2)


NOT_UTF8 = pa.array([b"a", None, b"\xff"])


@pytest.mark.parametrize(
    "column",
    [
        NOT_UTF8,
        NOT_UTF8.cast(pa.large_binary()),
        NOT_UTF8.cast(pa.binary_view()),
        NOT_UTF8.view(pa.string()),
        pa.array([b"ab", None, b"\xff\xfe"], pa.binary(2)),
        pa.ListArray.from_arrays(pa.array([0, 1, 1, 3], pa.int32()), NOT_UTF8.view(pa.string())),
        pa.StructArray.from_arrays([NOT_UTF8.view(pa.string())], ["x"]),
    ],
    ids=lambda column: str(column.type),
)
def test_bytes_that_csv_cannot_hold_are_refused_while_the_table_is_read(column: pa.Array) -> None:
    """Once the answers are paid for it would be too late. The message names column and row, and the way out."""
    source = CsvHoldableSource(Table(pa.table({"id": [1, 2, 3], "image": column})))
    with pytest.raises(RequestError, match=r"column 'image', row 3 .*not UTF-8.*output_format parquet"):
        list(source.batches())


def test_structs_that_json_cannot_hold_are_refused() -> None:
    """Two fields of one name, at any depth."""
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), twice)
    with pytest.raises(RequestError, match="column 'pairs' has two fields named 'x'"):
        CsvHoldableSource(Table(pa.table({"pairs": column})))


def test_texts_and_bytes_of_utf8_pass() -> None:
    """They are handed on as they are."""
    table = pa.table({"a": [b"\xc3\xa9", None, b""], "b": ["é", None, ""], "c": [1.5, None, 2], "d": [["é"], None, []]})
    source = CsvHoldableSource(Table(table))
    assert pa.Table.from_batches(source.batches(), schema=source.schema) == table
