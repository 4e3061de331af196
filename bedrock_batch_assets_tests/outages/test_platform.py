"""A whole platform on Postgres, whose server is stopped while runs wait for their jobs."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_batch_assets.local.local_platform import LocalPlatform
from bedrock_batch_assets_tests.end_to_end.scenario import HAIKU, UNTIL_CHANGED, billed
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.postgres import Postgres

BATCH = "outage-001"
ROWS_PER_JOB = 100
JOBS = 2
# About a failover. With BEDROCK_BATCH_OUTAGE_SECONDS=400, beats are missing for longer than a run may be silent.
OUTAGE_SECONDS = float(os.environ.get("BEDROCK_BATCH_OUTAGE_SECONDS", "40"))
SECONDS_FOR_ALL = 900.0 + OUTAGE_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What there was when `bedrock-batch launch --wait` had ended, and what it had said."""

    exit_code: int
    stdout: str
    stderr: str
    runs: list[tuple[str | None, str]]
    failed_ticks: list[str]
    table: dict[str, Any]
    ledger: list[dict[str, Any]]
    jobs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def outcome(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A batch is launched and waited for on the command line; Postgres goes away while its jobs are in progress.

    They end during the outage, which is when a run has most to write.
    """
    storage = {"custom": None, **postgres_server.storage_settings}
    steps = {"Submitted": 0.1, "Validating": 0.1, "Scheduled": 0.1, "InProgress": UNTIL_CHANGED}
    environment = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}
    with LocalPlatform(
        tmp_path_factory.mktemp("platform"),
        dagster_yaml={"storage": storage},
        aws_settings={"seconds": steps},
        environment=environment,
    ) as platform:
        aws = LocalAws(platform.aws_url)
        ui = Ui(platform.webserver_url, platform.dagster.check)
        text = "id,topic\n" + "".join(f"{number},topic {number}\n" for number in range(ROWS_PER_JOB * JOBS))
        aws.client("s3").put_object(Bucket=platform.bucket, Key="topics.csv", Body=text.encode())
        request = {
            "job_name_prefix": BATCH,
            "s3_uri": f"s3://{platform.bucket}/topics.csv",
            "model_id": HAIKU,
            "prompt_id": "joke_about_topic",
            "max_records_per_job": ROWS_PER_JOB,
        }
        file = platform.directory / "request.json"
        file.write_text(json.dumps(request))
        with subprocess.Popen(
            [sys.executable, "-m", "bedrock_batch_assets.command_line", "launch", str(file), "--wait", "--json"],
            env=platform.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command:
            ui.wait("jobs", aws.jobs, lambda jobs: [job["status"] for job in jobs] == ["InProgress"] * JOBS)
            postgres_server.stop()
            aws.put_settings({"seconds": {"InProgress": 1.0}})
            time.sleep(OUTAGE_SECONDS)
            postgres_server.start()
            stdout, stderr = command.communicate(timeout=SECONDS_FOR_ALL)
        return Outcome(
            exit_code=command.returncode,
            stdout=stdout,
            stderr=stderr,
            runs=[(run.partition, run.status) for run in ui.runs({})],
            failed_ticks=ui.failed_ticks(),
            table=dict(ui.materialization("result_table", BATCH).metadata) if command.returncode == 0 else {},
            ledger=billed(aws, BATCH),
            jobs=aws.jobs(),
        )


pytestmark = pytest.mark.timeout(SECONDS_FOR_ALL)


def test_the_batch_goes_on_by_itself(outcome: Outcome) -> None:
    """Nobody does anything, and the command line waits through the outage: all rows have their answers in the end."""
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


def test_no_run_is_lost(outcome: Outcome) -> None:
    """The runs that waited outlast the outage: none fails, none counts as dead, none is started again."""
    chunks = [f"{BATCH}-{index:05d}" for index in range(JOBS)]
    assert sorted(outcome.runs) == [(key, "SUCCESS") for key in sorted([BATCH, BATCH, *chunks])]
    assert outcome.failed_ticks == []
