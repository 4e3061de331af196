"""A sample of the fault suite; `make chaos` runs all of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_batch_assets_tests.chaos.schedules import draw

ROOT = Path(__file__).parents[2]
NOTHING_WRONG = r"records billed twice 0, rows lost 0, rows doubled 0, stuck 0, other 0, runs nobody asked for 0"


def run(suite: str, seed: int, scenarios: int) -> str:
    """The last line that the program prints."""
    # The stand-in of another test is none of its business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = ["--suite", suite, "--seed", str(seed), "--scenarios", str(scenarios)]
    done = subprocess.run(
        [sys.executable, "-m", "bedrock_batch_assets_tests.chaos", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.timeout(600)
def test_protocol() -> None:
    """Twelve batches whose processes die and whose service fails are paid for once, and have all of their rows."""
    line = run("protocol", 1, 12)
    assert re.search(NOTHING_WRONG, line), line
    crashes = re.search(r"12 scenarios, (\d+) crashes", line)
    assert crashes is not None
    assert int(crashes[1]) > 0, "no process died: the suite tests nothing"


@pytest.mark.timeout(1200)
def test_dagster() -> None:
    """A batch whose run worker is killed on the whole platform ends by itself, paid for once, with all of its rows."""
    line = run("dagster", 0, 1)
    assert re.search(NOTHING_WRONG, line), line
    assert re.search(r"1 scenarios, [1-9]\d* crashes", line), line


def test_schedules_can_be_drawn_again() -> None:
    """One number makes one schedule, and another number another one."""
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
    assert len({draw(seed).describe() for seed in range(50)}) > 40
