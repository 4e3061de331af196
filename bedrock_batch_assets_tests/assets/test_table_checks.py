"""The checks of a result table, as its asset evaluates them on what is on S3."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import AssetCheckEvaluation

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

PART = "batch_output_parquet/jokes/part-00000.parquet"


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def start(bench: Bench, count: int = 120) -> None:
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(count)])
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {item.check_name: item for item in result.get_asset_check_evaluations()}


def test_a_sound_table_passes_all(bench: Bench) -> None:
    """Files, summaries, manifests and lines of a real batch agree."""
    start(bench)
    found = evaluations(bench.table("jokes"))
    assert {name for name, item in found.items() if not item.passed} == set()
    agree = found["parts_and_manifest_agree"].metadata
    names = ("rows_in_manifest", "rows_in_summaries", "rows_in_files", "job_records", "job_lines")
    assert [agree[name].value for name in names] == [120] * 5


def test_lines_that_came_twice_are_a_warning_and_lose_nothing(bench: Bench) -> None:
    """Doubled output lines: the table is whole, and two checks say how many lines there were for how many records."""
    bench.aws.put_settings({"record_faults": {"twice": 0.2}, "seed": 1})
    start(bench)
    result = bench.table("jokes")
    assert result.success
    found = evaluations(result)
    assert {name for name, item in found.items() if not item.passed} == {
        "record_ids_unique",
        "parts_and_manifest_agree",
    }
    doubled = found["record_ids_unique"].metadata["duplicate_lines"].value
    agree = found["parts_and_manifest_agree"]
    assert agree.metadata["job_lines"].value == 120 + int(str(doubled))
    assert "120 records processed" in str(agree.description)
    assert {row["record_status"] for row in bench.read_table("jokes")} == {"ok"}


def test_a_failed_account_blocks_and_the_table_is_there_all_the_same(bench: Bench) -> None:
    """When a summary does not add up the run fails by its check, after the table was materialized and stored."""
    start(bench)
    storage = bench.storage
    (answers,) = [info.key for info in storage.objects.list(storage.layout.staged_folder("jokes"))]
    summary = json.loads(storage.objects.head(answers).metadata["summary"])  # type: ignore[union-attr]
    data = storage.objects.get_bytes(answers)
    for key in (answers, PART):
        storage.objects.put_bytes(key, data, metadata={"summary": json.dumps(summary | {"ok": 119})})
    storage.objects.delete_prefix(storage.layout.table_manifest("jokes"))
    result = bench.table("jokes")
    assert not result.success
    assert not evaluations(result)["rows_accounted_for"].passed
    assert result.asset_materializations_for_node("result_table")
    assert storage.table_manifest("jokes").total.ok == 119
    assert len(bench.read_table("jokes")) == 120


def test_a_part_that_was_cut_short_is_found(bench: Bench) -> None:
    """A file without its footer is named by the checks, after the table was materialized, and blocks."""
    start(bench)
    # The answers that the part is a copy of: a damaged copy alone would be made again.
    (answers,) = [info.key for info in bench.storage.objects.list(bench.storage.layout.staged_folder("jokes"))]
    info = bench.storage.objects.head(answers)
    assert info is not None
    half = bench.storage.objects.get_bytes(answers)[: info.size // 2]
    bench.storage.objects.put_bytes(answers, half, metadata=info.metadata)
    result = bench.table("jokes")
    assert result.asset_materializations_for_node("result_table")
    for name in ("rows_accounted_for", "parts_and_manifest_agree"):
        check = evaluations(result)[name]
        assert not check.passed
        assert "jokes-00000" in str(check.description)


def test_csv_parts_are_compared_by_their_summaries(bench: Bench) -> None:
    """CSV counts no rows of its own: the check says so, and passes on the rest."""
    uri = bench.put_csv("e.csv", ["input_text"], [[f"word {index}"] for index in range(100)])
    bench.run("vectors", s3_uri=uri, model_id=TITAN, output_format="csv", inference_parameters={"dimensions": 256})
    check = evaluations(bench.table("vectors"))["parts_and_manifest_agree"]
    assert check.passed
    assert "CSV" in str(check.metadata["rows_in_files"].value)
