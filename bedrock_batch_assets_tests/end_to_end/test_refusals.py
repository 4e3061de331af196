"""What cannot work is refused with a sentence that says why, before anything is paid for."""

import pytest

from bedrock_batch_assets_tests.end_to_end.scenario import (
    ALL_ASSETS,
    CHUNK_ASSETS,
    NO_COLUMN,
    UNFILLED,
    Finished,
    Launched,
    billed,
    jobs_of,
)
from bedrock_batch_assets_tests.end_to_end.ui import LaunchRefusedError, Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


def test_empty_launchpad(ui: Ui, launched: Launched) -> None:
    """The launchpad refuses a request without a model, and names the field."""
    with pytest.raises(LaunchRefusedError) as refused:
        ui.launch_input(UNFILLED, {})
    assert any("model_id" in message for message in refused.value.messages)


def test_unknown_field(ui: Ui, launched: Launched) -> None:
    """The launchpad refuses a field that there is not, and names it."""
    with pytest.raises(LaunchRefusedError) as refused:
        ui.launch_input(UNFILLED, {"model_id": "amazon.titan-embed-text-v2:0", "s3_url": "s3://bucket/table.csv"})
    assert any("s3_url" in message for message in refused.value.messages)


def test_materialize_all_without_request(ui: Ui, launched: Launched) -> None:
    """Without a request, "Materialize all" ends as a failed backfill that names the missing field."""
    page = ui.wait_for_backfill(launched.unfilled)
    assert page.status == "FAILED"
    assert "model_id" in (page.error or "")


def test_materialize_all_without_request_starts_nothing(
    ui: Ui, aws: LocalAws, launched: Launched, finished: Finished
) -> None:
    """Without a request, "Materialize all" starts no run, of nobody's batch, and costs nothing."""
    page = ui.wait_for_backfill(launched.unfilled)
    assert page.runs == []
    assert ui.runs({"dagster/partition": UNFILLED}) == []
    assert ui.partition_states("input_dataset").of(UNFILLED) == {"missing": {UNFILLED}}
    _check_untouched(ui, aws, UNFILLED)


def test_input_without_the_column(ui: Ui, launched: Launched) -> None:
    """An input that lacks the prompt's column fails its run with one line: that column, and those that there are."""
    run = ui.wait_for_run(launched.no_column)
    assert run.status == "FAILURE"
    [message] = ui.step_failures(run.id)
    assert "\n" not in message.strip()
    assert "'topic'" in message
    assert "'id', 'subject'" in message


def test_failed_input_starts_nothing(ui: Ui, aws: LocalAws, launched: Launched, finished: Finished) -> None:
    """An input that failed is shown as failed, is not tried again, and costs nothing."""
    run = ui.wait_for_run(launched.no_column)
    assert [item.id for item in ui.runs({"dagster/partition": NO_COLUMN})] == [run.id]
    assert ui.partition_states("input_dataset").of(NO_COLUMN) == {"failed": {NO_COLUMN}}
    _check_untouched(ui, aws, NO_COLUMN)


def _check_untouched(ui: Ui, aws: LocalAws, batch: str) -> None:
    for asset in CHUNK_ASSETS:
        assert ui.partitions(asset, batch) == []
    assert ui.partition_states(ALL_ASSETS[-1]).of(batch) == {"missing": {batch}}
    assert jobs_of(aws, batch) == []
    assert billed(aws, batch) == []
