"""Inputs of rare kinds through the platform's own path, judged by four readers that do not know it.

A file becomes the stored table, whose row groups go into a part as they are, with answers beside them. What pyarrow,
DuckDB, polars and fastparquet read from the part is what they read from the same rows as Arrow alone writes them.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastparquet
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet import tables
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.joined_rows import write_joined
from bedrock_batch_assets.parquet.part_check import count_statuses
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.tables import TableWriter, read_encoded_rows
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records.joining import OutputJoin
from bedrock_batch_assets.records.rendering import RecordRenderer, record_id
from bedrock_batch_assets_tests.parquet.exotic_files import EXOTIC_FILES, GROUP_ROWS, ROWS

# What these readers cannot read as Arrow alone writes it.
CANNOT_READ = {
    ("fastparquet", "structs in lists in structs"),
    ("fastparquet", "odd names"),
    ("polars", "list views"),
}


def with_duckdb(path: Path) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT * FROM '{path}'").fetchall()


def with_polars(path: Path) -> list[Any]:
    return pl.read_parquet(path).to_dicts()


def with_fastparquet(path: Path) -> list[Any]:
    frame = fastparquet.ParquetFile(str(path)).to_pandas()
    return [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]


READERS: dict[str, Callable[[Path], list[Any]]] = {
    "duckdb": with_duckdb,
    "polars": with_polars,
    "fastparquet": with_fastparquet,
}


def comparable(value: Any) -> Any:
    """A value that is equal to itself: numbers that are none, and arrays, are not."""
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    if isinstance(value, np.ndarray):
        return comparable(value.tolist())
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items()}
    return value


def output_lines(kind: str) -> Iterator[bytes]:
    """Answers, errors and rows without a line, by turns."""
    for row in range(ROWS):
        if row % 13 == 0:
            continue
        if kind == "text":
            content = [{"type": "text", "text": f"ä{row}" * (row % 7 + 1)}]
            usage = {"input_tokens": row, "output_tokens": 1}
            output: dict[str, Any] = {"content": content, "stop_reason": "end_turn", "usage": usage}
        else:
            output = {"embedding": [row / 8] * 8, "inputTextTokenCount": row}
        told = {"error": {"errorCode": 400, "errorMessage": "no"}} if row % 10 == 2 else {"modelOutput": output}
        yield json.dumps({"recordId": record_id(row), **told}).encode() + b"\n"


def renderer(kind: str, schema: pa.Schema) -> RecordRenderer:
    if kind == "text":
        return RecordRenderer(AnthropicProcessor(), PromptTemplate.parse("{input_text}"), schema)
    return RecordRenderer(TitanTextEmbeddingsV2Processor(), None, schema)


@pytest.fixture(params=EXOTIC_FILES)
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """An exotic file's name, and the stored table that was made of it."""
    monkeypatch.setattr(tables, "_MIN_GROUP_ROWS", GROUP_ROWS)
    EXOTIC_FILES[request.param](tmp_path / "in.parquet")
    source = StorableSource(ParquetSource([request.param], lambda _: (tmp_path / "in.parquet").open("rb")))
    with TableWriter(tmp_path / "stored.parquet", source.schema, rows_per_chunk=GROUP_ROWS) as table:
        for batch in source.batches():
            table.write(batch)
    return request.param, tmp_path / "stored.parquet"


@pytest.mark.parametrize("kind", ["text", "embedding"])
def test_all_readers_read_what_arrow_would_have_written(stored: tuple[str, Path], tmp_path: Path, kind: str) -> None:
    """Whole row groups stay encoded, no value changes, and no reader sees that Arrow has not written the file."""
    name, table = stored
    rows = list(read_encoded_rows(table))
    assert [some.row_count for some in rows if isinstance(some, EncodedRows)] == [GROUP_ROWS] * (ROWS // GROUP_ROWS)
    part, reference = tmp_path / "part.parquet", tmp_path / "reference.parquet"
    join = OutputJoin(renderer(kind, pq.read_schema(table)), 0, ROWS)
    with join, PartFile(part, OutputFormat.parquet) as file:
        join.add_outputs(output_lines(kind))
        write_joined(file, join, rows, all_sent=True)
    found, before = pq.read_table(part), pq.read_table(table)
    found.validate(full=True)
    inputs = found.select(range(before.num_columns))
    assert inputs.schema.equals(before.schema)
    assert inputs.equals(before) or comparable(inputs.to_pylist()) == comparable(before.to_pylist())
    with part.open("rb") as data:
        assert count_statuses(data, file.footer_digest) == {"ok": 50, "error": 5, "missing": 5}
    # Readers differ by whether a column has a dictionary (fastparquet's maps): both files have the same ones.
    group = pq.read_metadata(part).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    dictionaries = [column.path_in_schema for column in columns if column.has_dictionary_page]
    pq.write_table(found, reference, row_group_size=GROUP_ROWS, use_dictionary=dictionaries)
    for reader, read in READERS.items():
        try:
            expected = comparable(read(reference))
        except BaseException:  # noqa: BLE001
            # Polars panics, which is no Exception.
            assert (reader, name) in CANNOT_READ
        else:
            assert comparable(read(part)) == expected, reader
