"""Batches whose instance loses its database again and again, at every point of their runs."""

import random
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from sqlalchemy import event

from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.runs import database
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.postgres import Postgres
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

BATCH = "outages"
ROWS = 110


@pytest.fixture
def bench(local_aws: LocalAws, postgres_instance: dg.DagsterInstance, quick_driver: None) -> Bench:
    instance = postgres_instance
    for name in ("batches", "chunks"):
        for key in instance.get_dynamic_partitions(name):
            instance.delete_dynamic_partition(name, key)
    return Bench.create(local_aws, instance)


class Outages:
    """Stops Postgres before some of the connections that a run makes; the first pause of a wait ends the outage.

    Each call makes a connection, or a few. Between two outages are enough of them for any call to come through. Runs
    begin to wait for databases with their first asset: what Dagster does before is left in peace.
    """

    def __init__(self, bench: Bench, postgres: Postgres, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._postgres = postgres
        self._random = random.Random(seed)
        self._left = 1
        self._is_waiting = False
        outlast_outages = database.outlast_outages

        def begin(instance: dg.DagsterInstance, clock: Clock | None = None) -> None:
            outlast_outages(instance, Clock(sleep=self._end, random=lambda: 1.0))
            self._is_waiting = True

        monkeypatch.setattr("bedrock_batch_assets.runs.heartbeat.outlast_outages", begin)
        storages: list[Any] = [bench.instance.run_storage, bench.instance.event_log_storage]
        for storage in storages:
            event.listen(storage._engine, "do_connect", self._connect)

    def stop(self) -> None:
        """No outages from now on."""
        self._is_waiting = False

    def _connect(self, *_: object) -> None:
        self._left -= self._is_waiting
        if self._is_waiting and self._left == 0:
            self.count += 1
            self._postgres.stop()

    def _end(self, seconds: float) -> None:
        self._left = self._random.randint(10, 25)
        self._postgres.start()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_outage_ends_a_run(bench: Bench, postgres: Postgres, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that goes away before every few calls, of ours and of Dagster's own, costs a batch time alone.

    All its runs succeed at the first try, every event is kept, and each record is paid for once.
    """
    uri = bench.put_csv("in/topics.csv", ["id", "topic"], [[str(row), f"topic {row}"] for row in range(ROWS)])
    outages = Outages(bench, postgres, seed, monkeypatch)
    bench.run(BATCH, s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=ROWS)
    outages.stop()
    assert outages.count > 10
    runs = bench.instance.get_runs(limit=3)
    assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}
    for run in runs:
        events = [entry.dagster_event for entry in bench.instance.all_logs(run.run_id) if entry.dagster_event]
        kinds = {item.event_type_value for item in events}
        assert kinds >= {"STEP_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION", "PIPELINE_SUCCESS"}
        assert not kinds & {"STEP_FAILURE", "STEP_UP_FOR_RETRY"}
    assert len(set(bench.billed())) == len(bench.billed()) == ROWS
    assert len(bench.read_table(BATCH)) == ROWS
