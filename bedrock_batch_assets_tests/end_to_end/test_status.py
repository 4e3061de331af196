"""What `bedrock-batch status` says of all batches of a platform, beside what it says of each."""

from dataclasses import replace

import pytest

from bedrock_batch_assets.client.batch_status import BatchState
from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.local.local_platform import LocalPlatform
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.end_to_end.scenario import HUNDREDS, LONG, NO_COLUMN, Again, Finished, Launched, Resumed
from bedrock_batch_assets_tests.end_to_end.ui import Ui


def test_all_batches_at_once_are_as_each_by_itself(
    platform: LocalPlatform,
    ui: Ui,
    launched: Launched,
    finished: Finished,
    again: Again,
    resumed: Resumed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Done, refused and never filled in: the few queries for all batches find the same as those for each.

    But for the reasons of failures, of which each is a query: only one batch by itself has them, with its runs' pages.
    """
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    batches = Batches(ui.web, BatchStorage(bucket=platform.bucket), BedrockBatchJobs(role_arn=platform.role_arn))
    found = {status.batch: status for status in batches.statuses()}
    assert list(found) == ui.web.batch_keys()
    assert {found[HUNDREDS].state, found[LONG].state} == {BatchState.done}
    assert found[NO_COLUMN].state is BatchState.failed
    for batch, status in found.items():
        alone = batches.status(batch)
        assert all(failure.reason and failure.url for failure in alone.failures)
        assert status == replace(alone, failures=[replace(item, reason="", url="") for item in alone.failures])
