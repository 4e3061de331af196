"""The account of a result table: when which check fails, how badly, and with which numbers."""

from typing import Any

import dagster as dg
import pytest
from dagster import AssetCheckSeverity

from bedrock_batch_assets.assets.checks import TABLE_CHECKS, CheckLimits, PartRows, table_checks
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry, PartSummary, add_summaries

WARN, ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR


def part(**counts: Any) -> PartSummary:
    whole: dict[str, Any] = {"version": "v", "rows": 100, "ok": 100, "job_lines": 100, "job_records": 100}
    none = dict.fromkeys(["error", "truncated", "skipped", "missing"], 0)
    return PartSummary(**whole | none | counts)


def in_file(**counts: int) -> PartRows:
    return PartRows({status: count for status, count in counts.items() if count})


def run(
    *parts: PartSummary, files: list[PartRows] | None = None, rows: int = 100, limits: CheckLimits | None = None
) -> dict[str, dg.AssetCheckResult]:
    """The checks' results by name, for chunks of `rows` rows and parts whose files agree unless told otherwise."""
    batch = BatchManifest(
        batch="b", version="v", request={}, model_id="m", base_model_id="m", processor="p", parameters={},
        template=None, output_format=OutputFormat.parquet, rows_key="r", schema=b"", row_count=rows * len(parts),
        records_per_job=rows, chunks=[ChunkEntry(rows * index, rows, "v") for index in range(len(parts))],
    )  # fmt: skip
    chunks = dict(zip(batch.keyed_chunks(), parts, strict=True))
    held = [in_file(**item.statuses()) for item in parts] if files is None else files
    results = table_checks(batch, parts, add_summaries(list(parts), "v"), held, chunks, limits or CheckLimits())
    return {str(result.check_name): result for result in results}


def number(result: dg.AssetCheckResult, name: str) -> Any:
    return dict(result.metadata)[name].value


def test_a_whole_table_passes_every_check_and_each_says_numbers() -> None:
    """Nothing wrong: all pass, every declared check has a result, and each has metadata."""
    results = run(part(), part(ok=90, skipped=10))
    assert list(results) == [spec.name for spec in TABLE_CHECKS]
    assert all(result.passed for result in results.values())
    assert all(result.metadata for result in results.values())


def test_only_the_account_of_rows_blocks() -> None:
    """What is downstream is kept from a table that lost rows, and from nothing else."""
    assert [spec.name for spec in TABLE_CHECKS if spec.blocking] == ["rows_accounted_for"]


@pytest.mark.parametrize("counts", [{"ok": 99}, {"ok": 101}, {"rows": 99, "ok": 99}])
def test_a_row_too_few_or_too_many_is_an_error(counts: dict[str, int]) -> None:
    """A row without a status, with two, or not there at all fails the account, which names all of its numbers."""
    result = run(part(), part(**counts))["rows_accounted_for"]
    assert (result.passed, result.severity) == (False, ERROR)
    assert number(result, "rows_in") == 200
    assert number(result, "rows_counted") == 100 + counts["ok"]


@pytest.mark.parametrize("counts", [{"duplicate_lines": 2}, {"unknown_record_ids": 2}])
def test_lines_beyond_the_records_are_a_warning(counts: dict[str, int]) -> None:
    """Duplicates and unknown ids are told with their counts; no row is lost to them, so it is a warning."""
    results = run(part(), part(**counts))
    result = results["record_ids_unique"]
    assert (result.passed, result.severity) == (False, WARN)
    assert {name: number(result, name) for name in counts} == counts
    assert results["rows_accounted_for"].passed


@pytest.mark.parametrize("held", [in_file(ok=99), PartRows(problem="its file has no Parquet footer")])
def test_a_file_with_other_rows_than_its_summary_is_an_error(held: PartRows) -> None:
    """A part whose file holds other rows, or cannot be read, is named with its numbers, and blocks."""
    results = run(part(), part(), files=[in_file(ok=100), held])
    result = results["parts_and_manifest_agree"]
    assert (result.passed, result.severity) == (False, ERROR)
    assert "b-00001: 100 rows in the batch's manifest, 100 in the part's summary" in str(result.description)
    assert not results["rows_accounted_for"].passed
    assert number(results["rows_accounted_for"], "rows_counted") == 100 + (held.count or 0)
    assert "b-00001: its file" in str(results["rows_accounted_for"].description)


def test_a_file_with_other_statuses_than_its_summary_is_an_error() -> None:
    """As many rows with other statuses are another account: the file is believed, and the check blocks."""
    files = [in_file(ok=98, error=2), in_file(ok=100)]
    result = run(part(), part(ok=98, error=2), files=files)["rows_accounted_for"]
    assert (result.passed, number(result, "damaged_parts")) == (False, 2)
    assert "b-00000: its file has 2 error, 98 ok, its summary 100 ok" in str(result.description)


def test_a_csv_file_is_believed_unless_it_has_another_size() -> None:
    """CSV is not decoded: its rows count as the summary has them, and a file that was cut off blocks all the same."""
    assert all(result.passed for result in run(part(), files=[PartRows()]).values())
    result = run(part(), files=[PartRows(problem="its file has 10 bytes and was written with 20")])
    assert not result["rows_accounted_for"].passed


def test_parts_that_swap_rows_are_noticed_though_the_sum_is_right() -> None:
    """Parts are compared one by one: 99 and 101 rows add up, and are wrong."""
    results = run(part(rows=99, ok=99), part(rows=101, ok=101))
    assert results["rows_accounted_for"].passed
    assert not results["parts_and_manifest_agree"].passed


def test_a_jobs_count_that_differs_from_its_lines_is_a_warning_with_both_numbers() -> None:
    """The service's own count of processed records is compared with the lines that came."""
    result = run(part(), part(job_lines=101))["parts_and_manifest_agree"]
    assert (result.passed, result.severity) == (False, WARN)
    assert "b-00001: 100 records processed by the jobs' manifests, 101 output lines" in str(result.description)


@pytest.mark.parametrize(
    ("error", "missing", "passed", "severity"),
    [(0, 0, True, WARN), (1, 0, True, WARN), (1, 1, False, WARN), (5, 5, False, WARN), (5, 6, False, ERROR)],
)
def test_the_share_of_errors_has_two_thresholds(
    error: int, missing: int, passed: bool, severity: AssetCheckSeverity
) -> None:
    """Up to 1 % of the rows sent passes, up to 10 % is a warning, more is an error; skipped rows do not dilute it."""
    account = part(rows=1100, ok=100 - error - missing, error=error, missing=missing, skipped=1000)
    result = run(account, rows=1100)["error_share"]
    assert (result.passed, result.severity) == (passed, severity)
    assert number(result, "rows_sent") == 100
    assert number(result, "share") == pytest.approx((error + missing) / 100)


def test_the_thresholds_can_be_set_and_nothing_sent_is_no_error() -> None:
    """Limits of the user's own count; a part that sent nothing has no errors."""
    strict = CheckLimits(warn_error_share=0.0, max_error_share=0.005)
    assert run(part(ok=99, error=1), limits=strict)["error_share"].severity is ERROR
    assert run(part(ok=0, skipped=100))["error_share"].passed
