"""An instance that is not set up for the platform is told so, wherever people look."""

import os
import subprocess
import sys
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


def load_messages(folder: Path, settings: dict[str, Any]) -> list[str]:
    """The log of a real code server for an instance with these settings, until it serves."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(folder / "socket")]
    server = subprocess.Popen(
        [*command, "--module-name", "bedrock_batch_assets.definitions"],
        env={**os.environ, "DAGSTER_HOME": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "Started Dagster code server" in line:
                return lines
        raise AssertionError("".join(lines))
    finally:
        server.kill()
        server.communicate()


def test_a_code_server_says_on_load_what_its_instance_lacks(tmp_path: Path) -> None:
    """An instance with Dagster's own queue and no limits: three warnings in the log of the code server that loads."""
    queued = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    settings = {**instance_settings(tmp_path, {}), "run_coordinator": queued, "concurrency": {"runs": {}}}
    said = [line for line in load_messages(tmp_path, settings) if "This Dagster instance" in line]
    assert len(said) == 3
    assert "QueuedRunCoordinator and not BatchRunCoordinator" in said[0]


def test_a_code_server_of_the_shipped_instance_says_nothing(tmp_path: Path) -> None:
    """The dagster.yaml of the project loads without a warning."""
    assert not [line for line in load_messages(tmp_path, instance_settings(tmp_path, {})) if "This Dagster" in line]
