"""`read_result`: a batch's table in one line, as pandas and as Arrow, from the environment alone."""

import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from bedrock_batch_assets import read_result
from bedrock_batch_assets.storage.bucket import NotMaterializedError
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, HAIKU, Bench

# Texts that a reader with ideas of its own would change.
NOTES = ["007", "NA", "", "null", "1e5", "a\nb", '"', "é"]
ROWS = [[f"topic {number}", NOTES[number % len(NOTES)]] for number in range(240)]


@pytest.fixture
def bench(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv(BUCKET_VARIABLE, BUCKET)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


@pytest.mark.parametrize("output_format", ["parquet", "csv"])
def test_the_table_is_read_in_input_order_with_every_text_as_it_was(bench: Bench, output_format: str) -> None:
    """Both forms have the same rows, from several parts; texts stay texts, and token counts are numbers."""
    uri = bench.put_csv("in/t.csv", ["topic", "note"], ROWS)
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "output_format": output_format}
    bench.run("demo", s3_uri=uri, max_records_per_job=120, **request)
    frame = read_result("demo")
    assert isinstance(frame, pd.DataFrame)
    assert frame[["topic", "note"]].to_numpy().tolist() == ROWS
    assert set(frame["record_status"]) == {"ok"}
    assert frame["input_tokens"].sum() > 0
    dataset = read_result("demo", as_="dataset")
    assert isinstance(dataset, pyarrow.dataset.Dataset)
    table = dataset.to_table()
    assert table.schema.field("output_tokens").type == pa.int64()
    assert table.column("note").to_pylist() == [note for _, note in ROWS]
    assert dataset.to_table(columns=["response"]).column(0).null_count == 0


def test_a_batch_without_a_table_is_one_clear_error(bench: Bench) -> None:
    """The error names the asset to materialize."""
    with pytest.raises(NotMaterializedError, match="Materialize result_table for batch nothing first"):
        read_result("nothing")
    with pytest.raises(ValueError, match="'polars'"):
        read_result("nothing", as_="polars")  # type: ignore[arg-type]


def test_the_package_alone_imports_nothing() -> None:
    """Its public names are there, and are imported when they are used."""
    script = "import sys, bedrock_batch_assets as package; print(package.__all__, 'dagster' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['read_result'] False"
