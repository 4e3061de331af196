"""The table of docs/cost.md, step by step."""

from pathlib import Path

from bedrock_batch_assets_tests.dagster_in_process import in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.paid_once.table import run


def test_a_table_of_ten_thousand_rows_costs_what_is_new(local_aws: LocalAws, tmp_path: Path) -> None:
    """Every step pays for its new records and for nothing else, and every row has the answer to its own text."""
    with in_process_dagster(local_aws, tmp_path) as platform:
        found = list(run(platform, 10_000))
    assert [(paid.step.what, paid.records) for paid in found] == [
        (paid.step.what, paid.step.expected) for paid in found
    ]
    assert all(paid.rows_are_right for paid in found)
