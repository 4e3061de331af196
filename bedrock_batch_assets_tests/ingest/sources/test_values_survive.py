"""What was written is what comes out: from the source, through the stored input, into the result."""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.row_digest import digest_rows
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets.ingest.sources.source import Source
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.files import PartFile, TableWriter, read_rows
from bedrock_batch_assets_tests.records.generated_columns import columns, plain_values, read_text

GENERATED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
ROWS = 3


class Table:
    """A table in memory as a source, in batches of two rows."""

    name = "table"

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._table = table

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=2)


def result_file(source: Source, folder: Path, output_format: OutputFormat) -> Path:
    """The part that is made of the stored input."""
    with TableWriter(folder / "input", source.schema, rows_per_chunk=2) as writer:
        for batch in source.batches():
            writer.write(batch)
    stored = pq.ParquetFile(folder / "input").schema_arrow
    # The input's digest takes every type that is stored, however the rows are cut.
    digests = {digest_rows(stored, read_rows(folder / "input", batch_rows=count)) for count in (1, 2, ROWS)}
    assert len(digests) == 1
    with PartFile(folder / "part", output_format) as part:
        for batch in read_rows(folder / "input", batch_rows=2):
            part.write(batch)
    return folder / "part"


def result(source: Source) -> list[Any]:
    """The values of the result's one column."""
    with tempfile.TemporaryDirectory() as folder:
        table = pq.read_table(result_file(source, Path(folder), OutputFormat.parquet))
    return plain_values(table.column(0).combine_chunks())


def is_beyond_milliseconds(value: Any) -> bool:
    """Whether a timestamp in seconds, as nanoseconds here, has no number of milliseconds in 64 bits."""
    if isinstance(value, dict):
        return any(map(is_beyond_milliseconds, value.values()))
    if isinstance(value, list):
        return any(map(is_beyond_milliseconds, value))
    return isinstance(value, int) and abs(value) > 9 * 10**24


@GENERATED
@given(st.data())
def test_any_column_comes_out_as_it_went_in(data: st.DataObject) -> None:
    """Whatever its type, encoding and nesting; or it is refused by name, if Parquet has no room for a value."""
    column = data.draw(columns(ROWS))
    expected = plain_values(column)
    source = StorableSource(Table(pa.table({"a": column})))
    if any(map(is_beyond_milliseconds, expected)):
        with pytest.raises(RequestError, match="column 'a'"):
            result(source)
    else:
        assert result(source) == expected


@GENERATED
@given(st.data())
def test_any_parquet_file_comes_out_as_it_was_written(data: st.DataObject) -> None:
    """The same from a Parquet file, with or without Arrow's own schema in it."""
    column = data.draw(columns(ROWS))
    file = io.BytesIO()
    try:
        pq.write_table(
            pa.table({"a": column}),
            file,
            store_schema=data.draw(st.booleans()),
            row_group_size=2,
            use_dictionary=data.draw(st.booleans()),
            data_page_version=data.draw(st.sampled_from(["1.0", "2.0"])),
        )
        written = plain_values(pq.read_table(io.BytesIO(file.getvalue())).column(0).combine_chunks())
    except (pa.ArrowException, OSError):
        # Arrow cannot write every column, nor read each one that it has written.
        assume(False)
    # Of lists of dictionaries of an extension type it writes no rows (pyarrow 26).
    assume(len(written) == ROWS)
    source = StorableSource(ParquetSource(["f"], lambda _: io.BytesIO(file.getvalue())))
    assert result(source) == written


@GENERATED
@given(st.data())
def test_the_cells_of_a_csv_result_say_what_was_written(data: st.DataObject) -> None:
    """Times that Arrow or Python cannot write are there all the same, at the top and inside of JSON."""
    kinds = [pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("s", "UTC")]
    kind = data.draw(st.sampled_from(kinds))
    numbers = st.integers(-(2**31), 2**31 - 1) if kind == pa.date32() else st.integers(-(2**63), 2**63 - 1)
    if pa.types.is_time(kind):
        numbers = st.integers(-1, 2 * 86_400_000_000)
    if kind == pa.timestamp("s", "UTC"):
        numbers = st.integers(-(10**15), 10**15)
    values = pa.array(data.draw(st.lists(numbers, min_size=ROWS, max_size=ROWS)), kind)
    nested = pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), values)
    with tempfile.TemporaryDirectory() as folder:
        source = StorableSource(Table(pa.table({"a": values, "b": nested})))
        text = result_file(source, Path(folder), OutputFormat.csv).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [read_text(row["a"].replace("Z", "+00:00"), kind) for row in rows] == plain_values(values)
    assert [read_text(row["b"], nested.type) for row in rows] == plain_values(nested)
