"""Code server, daemon and webserver of compose.yaml as three processes with host names of their own, on one Postgres.

While a batch's jobs run, a run's process is killed, all three are replaced, and the database goes away.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_batch_assets.client.webserver import Run
from bedrock_batch_assets.partition_keys import chunk_key
from bedrock_batch_assets.runs.heartbeat import last_beat
from bedrock_batch_assets_tests.end_to_end.scenario import HAIKU, UNTIL_CHANGED, billed
from bedrock_batch_assets_tests.hosting.recoveries import INSTANCE
from bedrock_batch_assets_tests.hosting.services import Services, wait_for
from bedrock_batch_assets_tests.postgres import Postgres, instance_on

BATCH = "outage-001"
ROWS_PER_JOB = 100
JOBS = 3
# About a failover. With BEDROCK_BATCH_OUTAGE_SECONDS=400, beats are missing for longer than a run may be silent.
OUTAGE_SECONDS = float(os.environ.get("BEDROCK_BATCH_OUTAGE_SECONDS", "40"))
SECONDS_FOR_ALL = 600.0 + OUTAGE_SECONDS
CHUNK_KEYS = [chunk_key(BATCH, index) for index in range(JOBS)]
pytestmark = pytest.mark.timeout(SECONDS_FOR_ALL)


@dataclass(frozen=True)
class Outcome:
    """What there was when `bedrock-batch launch --wait` had ended, and what it had said."""

    exit_code: int
    stdout: str
    stderr: str
    # Chunk runs when the database went away, and in the end.
    before_outage: list[Run]
    runs: list[Run]
    failed_ticks: list[str]
    table: dict[str, Any]
    ledger: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    compute_logs: list[str]


@pytest.fixture(scope="module")
def outcome(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A batch is launched and waited for on the command line, through a kill, a redeploy and an outage.

    The jobs end during the outage, which is when a run has most to write.
    """
    steps = {"Submitted": 0.1, "Validating": 0.1, "Scheduled": 0.1, "InProgress": UNTIL_CHANGED}
    folder = tmp_path_factory.mktemp("services")
    with Services(folder, postgres_server, "postgres", instance=INSTANCE, aws_settings={"seconds": steps}) as services:
        aws = services.aws
        text = "id,topic\n" + "".join(f"{number},topic {number}\n" for number in range(ROWS_PER_JOB * JOBS))
        aws.client("s3").put_object(Bucket=services.bucket, Key="topics.csv", Body=text.encode())
        request = {
            "job_name_prefix": BATCH,
            "s3_uri": f"s3://{services.bucket}/topics.csv",
            "model_id": HAIKU,
            "prompt_id": "one_sentence",
            "max_records_per_job": ROWS_PER_JOB,
        }
        file = folder / "request.json"
        file.write_text(json.dumps(request))
        command = [sys.executable, "-m", "bedrock_batch_assets.command_line", "--url", services.url]
        with subprocess.Popen(
            [*command, "launch", str(file), "--wait", "--json"],
            env=services.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as launch:
            wait_for("jobs", lambda: [job["status"] for job in aws.jobs()] == ["InProgress"] * JOBS)
            own = folder / "own"
            own.mkdir()
            with instance_on(postgres_server.storage_settings, own) as instance:
                _kill_one(services, instance)
                services.stop("webserver", "daemon", "code")
                services.start("code", "daemon", "webserver")
                started = time.time()
                services.wait()

                def goes_on() -> bool:
                    beats = [last_beat(instance, run.id) for run in _newest(services)]
                    return len(beats) == JOBS and all(beat is not None and beat.at > started for beat in beats)

                wait_for("runs in other processes", goes_on, seconds=180)
            before = _newest(services)
            postgres_server.stop()
            aws.put_settings({"seconds": {"InProgress": 1.0}})
            time.sleep(OUTAGE_SECONDS)
            postgres_server.start()
            stdout, stderr = launch.communicate(timeout=SECONDS_FOR_ALL)
        logs = aws.client("s3").list_objects_v2(Bucket=services.bucket, Prefix="batch_compute_logs/")
        return Outcome(
            exit_code=launch.returncode,
            stdout=stdout,
            stderr=stderr,
            before_outage=before,
            runs=services.ui.runs({"bedrock/batch": BATCH}),
            failed_ticks=services.ui.failed_ticks(),
            table=dict(services.ui.materialization("result_table", BATCH).metadata) if launch.returncode == 0 else {},
            ledger=billed(aws, BATCH),
            jobs=aws.jobs(),
            compute_logs=[item["Key"] for item in logs.get("Contents", [])],
        )


def _kill_one(services: Services, instance: Any) -> None:
    run = next(run for run in _newest(services) if run.partition == CHUNK_KEYS[0])
    wait_for("a sign of life", lambda: last_beat(instance, run.id) is not None)
    beat = last_beat(instance, run.id)
    assert beat is not None
    os.kill(beat.pid, signal.SIGKILL)
    wait_for("a retry", lambda: next(it for it in _newest(services) if it.partition == CHUNK_KEYS[0]).id != run.id)


def _newest(services: Services) -> list[Run]:
    """The newest run of each chunk that has one."""
    found: dict[str, Run] = {}
    for run in services.ui.runs({"bedrock/batch": BATCH}):
        if run.partition in CHUNK_KEYS:
            found.setdefault(run.partition, run)
    return list(found.values())


def test_the_batch_goes_on_by_itself(outcome: Outcome) -> None:
    """Nobody does anything, and the command line waits through it all: all rows have their answers in the end."""
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert json.loads(outcome.stdout)["state"] == "done"
    assert "cannot use its database at the moment, waiting" in outcome.stderr
    rows = ROWS_PER_JOB * JOBS
    assert (outcome.table["dagster/row_count"], outcome.table["ok"]) == (rows, rows)


def test_it_is_paid_once(outcome: Outcome) -> None:
    """There is one job for each chunk, and each record is billed once."""
    assert len(outcome.jobs) == JOBS
    times = Counter(entry["digest"] for entry in outcome.ledger)
    assert len(times) == ROWS_PER_JOB * JOBS
    assert set(times.values()) == {1}


def test_the_outage_ends_no_run(outcome: Outcome) -> None:
    """The runs that waited outlast the outage: none fails, none counts as dead, none is started again."""
    waiting = {run.id for run in outcome.before_outage}
    assert len(waiting) == JOBS
    newest: dict[str, Run] = {}
    for run in outcome.runs:
        if run.partition in CHUNK_KEYS:
            newest.setdefault(run.partition, run)
    assert {run.id for run in newest.values()} == waiting
    assert {run.status for run in newest.values()} == {"SUCCESS"}


def test_no_tick_fails_and_output_is_on_s3(outcome: Outcome) -> None:
    """Sensors end their tick if the database is away, and what runs print is kept where the instance file says."""
    assert outcome.failed_ticks == []
    assert outcome.compute_logs
