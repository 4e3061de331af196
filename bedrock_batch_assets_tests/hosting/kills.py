"""Parked runs under random kills: `python -m bedrock_batch_assets_tests.hosting.kills [--seed N] [--batches N]`.

Batches run on the services of compose.yaml with ECS tasks that park. Tasks, code server, daemon and webserver are
killed at random moments. The stand-in's ledger and the tables are the judge.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

from bedrock_batch_assets.client.batch_status import BatchState
from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets_tests.end_to_end.scenario import HAIKU
from bedrock_batch_assets_tests.hosting.recoveries import instance_for
from bedrock_batch_assets_tests.hosting.services import Services
from bedrock_batch_assets_tests.postgres import Postgres

CHUNKS = 3
ROWS_PER_JOB = 100
_LONGEST_SECONDS = 480.0
_KILLING_SECONDS = 100.0
_SECONDS_BETWEEN = (1.0, 6.0)
# Of a job: long enough for its run to park, now and then.
_STEPS = {"Submitted": 0.5, "Validating": 0.5, "Scheduled": 0.5, "InProgress": 12.0}
_PARTS = ("code", "daemon", "webserver")


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--batches", "count", default=6, show_default=True)
def main(seed: int, count: int) -> None:
    """Play, and print what was killed, paid twice, lost and stuck. Exits with 1 unless the last three are 0."""
    chance = random.Random(seed)
    # Records that never come back are not paid for, so each one that is in the ledger twice was paid for twice.
    settings = {"seconds": _STEPS, "record_faults": {"missing": 0.05}, "seed": seed}
    launcher = "ecs-parked"
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Postgres() as postgres,
        Services(
            Path(folder, "app"), postgres, launcher, instance=instance_for(launcher), aws_settings=settings
        ) as services,
    ):
        os.environ.update(services.environment)
        names = [f"kills-{number}" for number in range(count)]
        _launch(services, names)
        kills: Counter[str] = Counter()
        started = time.monotonic()
        while not _are_done(services, names) and time.monotonic() - started < _LONGEST_SECONDS:
            time.sleep(chance.uniform(*_SECONDS_BETWEEN))
            if time.monotonic() - started < _KILLING_SECONDS:
                kills[_kill_something(services, chance)] += 1
        seconds = time.monotonic() - started
        batches = services.batches()
        states = {name: batches.status(name) for name in names}
        times = Counter(entry["digest"] for entry in services.aws.ledger())
    stuck = [name for name, status in states.items() if status.state is not BatchState.done]
    found = [sum(status.records.values()) for name, status in states.items() if name not in stuck]
    lost = sum(CHUNKS * ROWS_PER_JOB - rows for rows in found)
    twice = sum(value - 1 for value in times.values())
    click.echo(f"seed {seed}, {count} batches, {seconds:.0f} s, kills: {dict(kills)}")
    click.echo(f"paid twice {twice}, rows lost {lost}, batches stuck {len(stuck)} {stuck}")
    sys.exit(bool(twice or lost or stuck))


def _launch(services: Services, names: list[str]) -> None:
    batches = services.batches()
    for name in names:
        lines = "".join(f"{name} row {row}\n" for row in range(CHUNKS * ROWS_PER_JOB))
        services.aws.client("s3").put_object(
            Bucket=services.bucket, Key=f"inputs/{name}.csv", Body=f"topic\n{lines}".encode()
        )
        request = BatchRequest(
            model_id=HAIKU,
            s3_uri=f"s3://{services.bucket}/inputs/{name}.csv",
            prompt_id="one_sentence",
            max_records_per_job=ROWS_PER_JOB,
        )
        batches.launch(name, request)


def _are_done(services: Services, names: list[str]) -> bool:
    try:
        batches = services.batches()
        return all(batches.status(name, with_jobs=False).state is BatchState.done for name in names)
    except (UnreachableError, DagsterRefusedError):
        return False


def _kill_something(services: Services, chance: random.Random) -> str:
    tasks = services.ecs.running
    if tasks and chance.random() < 0.75:
        services.ecs.kill(chance.choice(tasks).arn)
        return "task"
    part = chance.choice(_PARTS)
    os.killpg(services.programs[part].pid, signal.SIGKILL)
    services.stop(part)
    services.start(part)
    return part


if __name__ == "__main__":
    main()
