"""The results of both examples, as people open them: the folder on S3, with the libraries that people have.

No reader is told a suffix, a pattern or names to leave out: it gets the folder and takes all that is in it. Each finds
the stand-in as it finds AWS, by the environment, unless it has a setting of its own for that.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import awswrangler
import dagster as dg
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.csv
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

from bedrock_batch_assets.local.demo import EXAMPLES, RECORDS_PER_JOB
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, Bench

# Its newest release does not run on the oldest botocore that the platform takes.
s3fs: Any = pytest.importorskip("s3fs", reason="s3fs needs a newer botocore", exc_type=ImportError)

Rows = list[dict[str, Any]]
Reader = Callable[[LocalAws, str], Rows]

INPUT = resources.files("bedrock_batch_assets").joinpath("examples", "topics.csv")
_INPUT_COLUMNS = ["topic", "input_text", "record_status"]
COLUMNS = {"demo-jokes": [*_INPUT_COLUMNS, "response"], "demo-embeddings": [*_INPUT_COLUMNS, "embedding"]}


@pytest.fixture(scope="module")
def results(local_aws_server: LocalAws) -> Iterator[LocalAws]:
    """The stand-in with both examples' results in each format, in several parts."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for name, value in local_aws_server.environment.items():
            patch.setenv(name, value)
        local_aws_server.reset()
        bench = Bench.create(local_aws_server, instance)
        uri = bench.put("inputs/topics.csv", INPUT.read_bytes())
        for example in EXAMPLES:
            for output_format in ("parquet", "csv"):
                batch = f"{example.batch}-{output_format}"
                request = {"model_id": example.model_id, "prompt_id": example.prompt_id}
                bench.run(
                    batch, s3_uri=uri, output_format=output_format, max_records_per_job=RECORDS_PER_JOB, **request
                )
        yield local_aws_server


def arrow_s3(aws: LocalAws) -> pyarrow.fs.S3FileSystem:
    return pyarrow.fs.S3FileSystem(endpoint_override=aws.endpoint_url, access_key="local", secret_key="local")


def with_pandas(_: LocalAws, folder: str) -> Rows:
    return records(pd.read_parquet(f"s3://{folder}"))


def with_pandas_by_fastparquet(_: LocalAws, folder: str) -> Rows:
    return records(pd.read_parquet(f"s3://{folder}", engine="fastparquet"))


def with_pyarrow(aws: LocalAws, folder: str) -> Rows:
    rows: Rows = pyarrow.dataset.dataset(folder, filesystem=arrow_s3(aws)).to_table().to_pylist()
    return rows


def with_pyarrow_csv(aws: LocalAws, folder: str) -> Rows:
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    texts = pyarrow.dataset.CsvFileFormat(parse_options=options)
    rows: Rows = pyarrow.dataset.dataset(folder, filesystem=arrow_s3(aws), format=texts).to_table().to_pylist()
    return rows


def with_polars(_: LocalAws, folder: str) -> Rows:
    return pl.read_parquet(f"s3://{folder}").to_dicts()


def with_polars_lazily(_: LocalAws, folder: str) -> Rows:
    return pl.scan_parquet(f"s3://{folder}").collect().to_dicts()


def with_polars_csv(_: LocalAws, folder: str) -> Rows:
    return pl.scan_csv(f"s3://{folder}").collect().to_dicts()


def with_duckdb(_: LocalAws, folder: str) -> Rows:
    return from_duckdb(f"read_parquet('s3://{folder}*')")


def with_duckdb_csv(_: LocalAws, folder: str) -> Rows:
    return from_duckdb(f"read_csv('s3://{folder}*')")


def from_duckdb(source: str) -> Rows:
    # Its own S3 is an extension that is loaded from the network; it reads by s3fs as well. It lists no folders.
    with duckdb.connect() as connection:
        connection.register_filesystem(s3fs.S3FileSystem(skip_instance_cache=True))
        return records(connection.execute(f"SELECT * FROM {source}").df())


def with_awswrangler(_: LocalAws, folder: str) -> Rows:
    return records(awswrangler.s3.read_parquet(f"s3://{folder}"))


def with_awswrangler_csv(_: LocalAws, folder: str) -> Rows:
    return records(awswrangler.s3.read_csv(f"s3://{folder}"))


def with_s3fs(_: LocalAws, folder: str) -> Rows:
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    return [row for key in files.find(folder) for row in records(pd.read_parquet(files.open(key)))]


def with_s3fs_csv(_: LocalAws, folder: str) -> Rows:
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    return [row for key in files.find(folder) for row in records(pd.read_csv(files.open(key)))]


def records(frame: pd.DataFrame) -> Rows:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


PARQUET: list[Reader] = [
    with_pandas, with_pandas_by_fastparquet, with_pyarrow, with_polars, with_polars_lazily, with_duckdb,
    with_awswrangler, with_s3fs,
]  # fmt: skip
CSV: list[Reader] = [with_pyarrow_csv, with_polars_csv, with_duckdb_csv, with_awswrangler_csv, with_s3fs_csv]


def plain(row: dict[str, Any], columns: list[str]) -> list[Any]:
    """Some of a row's values as Python has them: a vector as a list, whether it was an array or JSON."""
    values = [row[name] for name in columns]
    if columns[-1] == "embedding":
        vector = json.loads(values[-1]) if isinstance(values[-1], str) else values[-1]
        values[-1] = np.asarray(vector, np.float32).tolist()
    return values


def written(aws: LocalAws, folder: str, columns: list[str]) -> list[list[Any]]:
    """The rows by the bytes of the files."""
    rows: list[list[Any]] = []
    for key, data in sorted(aws.read_outputs(f"s3://{folder}").items()):
        if key.endswith(".csv"):
            found: Rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        else:
            found = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        rows += [plain(row, columns) for row in found]
    return rows


@pytest.mark.parametrize("example", COLUMNS)
@pytest.mark.parametrize(
    ("output_format", "read"),
    [*(("parquet", reader) for reader in PARQUET), *(("csv", reader) for reader in CSV)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_folder_is_the_table(results: LocalAws, example: str, output_format: str, read: Reader) -> None:
    """Every row of the input, with its answer, in order, by a reader that knows the folder alone."""
    folder = f"{BUCKET}/batch_output_parquet/{example}-{output_format}/"
    columns = COLUMNS[example]
    found = [plain(row, columns) for row in read(results, folder)]
    assert found == written(results, folder, columns)
    source = csv.DictReader(io.StringIO(INPUT.read_text(encoding="utf-8")))
    assert [row[:2] for row in found] == [[row["topic"], row["input_text"]] for row in source]
    assert {row[2] for row in found} == {"ok"}
    assert len(results.read_outputs(f"s3://{folder}")) > 1
