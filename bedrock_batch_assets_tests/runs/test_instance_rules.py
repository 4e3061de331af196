"""An instance that is not set up for the platform is told so, wherever people look."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from bedrock_batch_assets.local.local_platform import instance_settings
from bedrock_batch_assets.runs.instance_rules import instance_problems

LIMIT = {"value": {"applyLimitPerUniqueValue": True}, "limit": 1}


def problems(tmp_path: Path, **changes: Any) -> list[str]:
    """What an instance with the project's settings, but for these, lacks."""
    settings = {**instance_settings(tmp_path, {}), **changes}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        return instance_problems(instance)


def test_the_shipped_instance_lacks_nothing(tmp_path: Path) -> None:
    """The dagster.yaml of the project satisfies its own rules."""
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ([], ["bedrock/model", "bedrock/partition"]),
        ([{"key": "bedrock/model", **LIMIT}], ["bedrock/partition"]),
        # One limit for all models together is another setting.
        ([{"key": "bedrock/model", "limit": 3}, {"key": "bedrock/partition", **LIMIT}], ["bedrock/model"]),
    ],
)
def test_a_missing_limit_is_named(tmp_path: Path, limits: list[Any], named: list[str]) -> None:
    """One sentence for each limit that is not there, with the name of its tag."""
    found = problems(tmp_path, concurrency={"runs": {"max_concurrent_runs": 5, "tag_concurrency_limits": limits}})
    assert len(found) == len(named)
    for sentence, tag in zip(found, named, strict=True):
        assert tag in sentence


def test_another_coordinator_is_named(tmp_path: Path) -> None:
    """Dagster's own queue does not tag runs, and an instance without a queue limits nothing."""
    queued = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    [sentence] = problems(tmp_path, run_coordinator=queued)
    assert "QueuedRunCoordinator and not BatchRunCoordinator" in sentence
    with dg.DagsterInstance.ephemeral() as instance:
        assert len(instance_problems(instance)) == 3
