"""What a person sees of rows without an answer: the reasons, how many rows, and rows to look at."""

import csv
import io
from collections import Counter
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import AssetKey

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

ROWS = 240


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def run(bench: Bench, **request: str) -> dg.AssetMaterialization:
    """A batch in which the model refuses some records, and some rows have no text, neither among the first."""
    fault = {"error": 0.1, "permanent": True, "error_code": 400, "error_retryable": False}
    bench.aws.put_settings({"record_faults": fault})
    column = "input_text" if request["model_id"] == TITAN else "topic"
    rows = [["" if number % 50 == 49 else f"topic {number}", str(number)] for number in range(ROWS)]
    bench.run("demo", s3_uri=bench.put_csv("in/t.csv", [column, "id"], rows), **request)
    event = bench.instance.get_latest_materialization_event(AssetKey("result_table"))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def read_csv_table(bench: Bench) -> list[dict[str, str]]:
    """The rows of the table, a CSV file a chunk."""
    rows: list[dict[str, str]] = []
    for info in bench.storage.objects.list(bench.storage.layout.results_folder("demo")):
        text = bench.storage.objects.get_bytes(info.key).decode()
        rows += csv.DictReader(io.StringIO(text, newline=""))
    return rows


@pytest.mark.parametrize("output_format", ["parquet", "csv"])
@pytest.mark.parametrize(("model_id", "prompt"), [(HAIKU, {"prompt_id": "joke_about_topic"}), (TITAN, {})])
def test_reasons_are_counted_with_an_example(
    bench: Bench, model_id: str, prompt: dict[str, str], output_format: str
) -> None:
    """Each reason has as many rows as the table has with it, and the number and prompt of its first row."""
    event = run(bench, model_id=model_id, output_format=output_format, **prompt)
    table = bench.read_table("demo") if output_format == "parquet" else read_csv_table(bench)
    lines = [line.strip("|").split(" | ") for line in str(event.metadata["errors_by_reason"].value).splitlines()[2:]]
    shown = {(status.strip(), text.strip()): int(rows) for rows, status, text, *_ in lines}
    held = Counter((row["record_status"], row["record_error"]) for row in table if row["record_status"] != "ok")
    assert shown == dict(held)
    assert {status for status, _ in shown} == {"error", "skipped"}
    for _, status, text, number, shown_prompt in lines:
        row = table[int(number) - 1]
        assert (row["record_status"], row["record_error"]) == (status.strip(), text.strip())
        assert str(row.get("topic", row.get("input_text"))) in shown_prompt


def test_the_check_says_the_most_frequent_reason(bench: Bench) -> None:
    """Its description has the words of the service, so that nobody has to look for them."""
    run(bench, model_id=HAIKU, prompt_id="joke_about_topic")
    row = next(row for row in bench.read_table("demo") if row["record_status"] == "error")
    records = bench.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(AssetKey("result_table"), "error_share"), limit=1
    )
    assert records[0].event is not None
    evaluation = records[0].event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert row["record_error"] in (evaluation.description or "")


def test_the_preview_shows_failed_rows_and_whole_answers(bench: Bench) -> None:
    """Behind the first rows come rows that failed; an answer stands right behind its status and is not cut off."""
    event = run(bench, model_id=HAIKU, prompt_id="joke_about_topic")
    preview = event.metadata["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    statuses = [record.data["record_status"] for record in preview.records]
    assert statuses[:5] == ["ok"] * 5
    assert {"error", "skipped"} <= set(statuses[5:])
    names = list(preview.records[0].data)
    assert names[names.index("record_status") + 1] == "response"
    table = {row["id"]: row for row in bench.read_table("demo")}
    for record in preview.records:
        assert record.data["response"] == (table[str(record.data["id"])]["response"] or "")


def test_the_panel_says_where_the_table_is_and_how_to_read_it(bench: Bench) -> None:
    """They come first, short enough for the UI to show them, and the numbers are those of the table."""
    event = run(bench, model_id=HAIKU, prompt_id="joke_about_topic")
    assert list(event.metadata)[:2] == ["summary", "how_to_read"]
    panel, lines = (str(event.metadata[name].value) for name in ("summary", "how_to_read"))
    # Longer ones are folded up.
    assert max(len(panel), len(lines)) < 1_000
    uri = f"s3://{bench.storage.bucket}/{bench.storage.layout.results_folder('demo')}"
    assert f"`{uri}`" in panel
    assert f'pd.read_parquet("{uri}")' in lines
    assert f"from read_parquet('{uri}*.parquet') where record_status <> 'ok'" in lines
    counts = Counter(row["record_status"] for row in bench.read_table("demo"))
    for status, rows in counts.items():
        assert f"{rows} {status} ({rows / ROWS:.2%})" in panel
    assert "tag%3Abedrock/batch%3Ddemo" in panel


def test_the_columns_are_those_of_the_table(bench: Bench) -> None:
    """The schema in the UI is that of the files: the input's columns, then the answers'."""
    event = run(bench, model_id=HAIKU, prompt_id="joke_about_topic")
    schema = event.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchemaMetadataValue)
    assert [column.name for column in schema.schema.columns] == list(bench.read_table("demo")[0])
