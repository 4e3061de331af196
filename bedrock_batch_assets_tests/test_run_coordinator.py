"""What the run coordinator does beside tagging runs; its limits are tested on the whole platform."""

import os

import pytest

from bedrock_batch_assets.run_coordinator import BatchRunCoordinator

VARIABLE = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("", "")])
def test_backfills_wait_for_the_code_server(monkeypatch: pytest.MonkeyPatch, before: str | None, after: str) -> None:
    """The daemon's backfills wait while the assets cannot be loaded, unless somebody has decided otherwise."""
    monkeypatch.delenv(VARIABLE, raising=False)
    # Taken away again at the end, whoever set it.
    monkeypatch.setenv(VARIABLE, before or "")
    if before is None:
        monkeypatch.delenv(VARIABLE)
    BatchRunCoordinator()
    assert os.environ[VARIABLE] == after
