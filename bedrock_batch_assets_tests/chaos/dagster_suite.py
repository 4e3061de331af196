"""The second suite: batches on the whole of Dagster, whose processes are killed and whose UI is used."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bedrock_batch_assets_tests.chaos.batch_scenarios import BatchScenario, Steps
from bedrock_batch_assets_tests.chaos.deployment import Deployment
from bedrock_batch_assets_tests.chaos.report import Report
from bedrock_batch_assets_tests.postgres import Postgres, find_programs

# Batches at the same time: a run costs seconds of CPU to start, and what kills one process kills those of others too.
SIDE_BY_SIDE = 8
# Between two batches, so that they are not all at the same point.
_STAGGER_SECONDS = 4.0
_TICK_SECONDS = 0.5
_SECONDS = {"Submitted": 0.5, "Validating": 0.5, "Scheduled": 1.0, "InProgress": 10.0, "Stopping": 2.0}


def run_on_dagster(seeds: list[int], on_report: Callable[[Report], None], *, on_postgres: bool | None = None) -> None:
    """Run the scenarios of some numbers on one platform, several at a time.

    Args:
        seeds: The numbers.
        on_report: Takes what came of each.
        on_postgres: Whether the platform's database is Postgres, or else SQLite; None for Postgres if it is installed.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        has_postgres = find_programs() is not None if on_postgres is None else on_postgres
        postgres = stack.enter_context(Postgres()) if has_postgres else None
        deployment = Deployment(Path(folder).resolve(), service_faults(), postgres)
        os.environ.update(deployment.aws.environment)
        try:
            deployment.start()
            scenarios = [BatchScenario.draw(seed, deployment) for seed in seeds]
            deployment.aws.put_settings(
                {"job_endings": [ending for scenario in scenarios for ending in scenario.ending]}
            )
            _play(scenarios, on_report)
        finally:
            deployment.end()


def service_faults() -> dict[str, Any]:
    """What the service does to everybody, as settings of local AWS."""
    bedrock = ("CreateModelInvocationJob", "GetModelInvocationJob", "ListModelInvocationJobs")
    storage = ("PutObject", "GetObject", "ListObjectsV2", "HeadObject")
    faults: list[dict[str, Any]] = [
        *({"operation": name, "code": "ThrottlingException", "share": 0.05} for name in bedrock),
        *({"operation": name, "code": "drop", "when": "after", "share": 0.05} for name in bedrock),
        *({"operation": name, "code": "SlowDown", "status": 503, "share": 0.02} for name in storage),
    ]
    return {
        "seconds": _SECONDS,
        "read_after_create_seconds": 0.5,
        "repeated_token": "conflict",
        "record_faults": {"error": 0.03, "missing": 0.02, "twice": 0.05, "corrupt": 0.01},
        "api_faults": faults,
    }


def _play(scenarios: list[BatchScenario], on_report: Callable[[Report], None]) -> None:
    waiting = list(reversed(scenarios))
    playing: dict[int, tuple[BatchScenario, Steps]] = {}
    next_start = 0.0
    while waiting or playing:
        if waiting and len(playing) < SIDE_BY_SIDE and time.monotonic() >= next_start:
            scenario = waiting.pop()
            scenario.started = time.monotonic()
            playing[scenario.seed] = (scenario, scenario.play())
            next_start = time.monotonic() + _STAGGER_SECONDS
        for scenario, steps in list(playing.values()):
            kills = scenario.deployment.kills
            try:
                next(steps)
            except StopIteration:
                del playing[scenario.seed]
                on_report(scenario.report)
            scenario.report.crashes += scenario.deployment.kills - kills
        time.sleep(_TICK_SECONDS)
