"""Who does what in this folder's tests, and what came of it. The events themselves are fixtures, in conftest.py.

Two batches go through: `HUNDREDS`, twelve short jobs, and `LONG`, two jobs that take minutes, so that there is time to
interrupt them. Two more go wrong: `NO_COLUMN`, whose input lacks a column, and `UNFILLED`, without a request.
"""

from dataclasses import dataclass
from typing import Any

from bedrock_batch_assets.client.webserver import Materialization, Run
from bedrock_batch_assets.partition_keys import chunk_key
from bedrock_batch_assets_tests.end_to_end.ui import BackfillPage, Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

HUNDREDS = "hundreds-001"
LONG = "long-001"
NO_COLUMN = "no-column-001"
UNFILLED = "unfilled-001"

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET = "anthropic.claude-3-sonnet-20240229-v1:0"
# Twelve chunks, since jobs in flight are to meet a limit of three four times over; a job takes 100 records at least.
HUNDREDS_CHUNKS = [chunk_key(HUNDREDS, index) for index in range(12)]
HUNDREDS_PER_JOB = 100
LONG_CHUNKS = [chunk_key(LONG, index) for index in range(2)]
LONG_PER_JOB = 4000
MODEL_LIMIT = 3
# Backfilled by a person while the sensor's backfill is on its way, and again when all is over.
SHARED = HUNDREDS_CHUNKS[2:6]
AGAIN = [HUNDREDS_CHUNKS[0], HUNDREDS_CHUNKS[5], HUNDREDS_CHUNKS[11]]

CHUNK_ASSETS = ("jsonl_chunks", "batch_job_outputs", "result_parts")
ALL_ASSETS = ("input_dataset", *CHUNK_ASSETS, "result_table")

# A job of 100 records takes 11 s, so that many would be in flight at once if nothing held them back; one of 4,000 takes
# 206 s and shows progress after 21 s.
SECONDS = {"Submitted": 0.1, "Validating": 0.1, "Scheduled": 0.1, "InProgress": 6.0, "per_record": 0.05}
# A step that lasts until the settings change.
UNTIL_CHANGED = 36_000.0

Ledger = list[dict[str, Any]]
Jobs = list[dict[str, Any]]


@dataclass(frozen=True)
class Launched:
    """Ids of what a person launched first."""

    hundreds: str
    long: str
    no_column: str
    unfilled: str


@dataclass(frozen=True)
class Interrupted:
    """A run that was terminated, a backfill that was cancelled, and what there was right afterwards.

    Jobs are by chunk, the states of partitions by asset and state; observations are (chunk, metadata).
    """

    terminated: Run
    cancelled: BackfillPage
    jobs: dict[str, dict[str, Any]]
    ledger: Ledger
    observations: list[tuple[str, dict[str, Any]]]
    states: dict[str, dict[str, set[str]]]


@dataclass(frozen=True)
class Finished:
    """What there was when the twelve chunks and their table were in."""

    of_sensor: BackfillPage
    of_person: BackfillPage
    table: Materialization
    max_in_flight: int
    jobs: Jobs
    ledger: Ledger


@dataclass(frozen=True)
class AskedAgain:
    """What a person launched when everything was over or interrupted."""

    backfill: str
    terminated_chunk: str
    cancelled_chunk: str


@dataclass(frozen=True)
class Again:
    """The second backfill of chosen chunks, and the table after it."""

    backfill: BackfillPage
    table: Materialization


@dataclass(frozen=True)
class Resumed:
    """The interrupted chunks' second runs, and the table after them."""

    of_terminated: Run
    of_cancelled: Run
    table: Materialization


def wait_for_table(ui: Ui, batch: str, *, after: float) -> Materialization:
    """The batch's table, materialized later than `after` (seconds since the epoch)."""
    found = ui.wait(
        f"a table of {batch}",
        lambda: ui.web.materializations("result_table", [batch], metadata=True).get(batch),
        lambda item: item is not None and item.at >= after,
    )
    assert found is not None
    return found


def billed(aws: LocalAws, batch: str) -> Ledger:
    """The records of a batch that were paid for."""
    return [entry for entry in aws.ledger() if entry["jobName"] and entry["jobName"].startswith(f"{batch}-")]


def jobs_of(aws: LocalAws, batch: str) -> Jobs:
    """The jobs of a batch."""
    return [job for job in aws.jobs() if job["name"].startswith(f"{batch}-")]
