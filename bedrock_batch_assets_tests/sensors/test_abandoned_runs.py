"""Runs that died and that Dagster does not start again: which of them the sensor asks for, and which it leaves."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG

import bedrock_batch_assets.sensors.abandoned_runs as module
from bedrock_batch_assets.runs.terminations import is_terminated_by_person
from bedrock_batch_assets.sensors.abandoned_runs import (
    MAX_TIMES,
    RETRY_GRACE,
    abandoned_runs,
    ask_again,
    given_up_backfills,
)

CHUNK_ASSETS = frozenset({AssetKey("jsonl_chunks"), AssetKey("batch_job_outputs"), AssetKey("result_parts")})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("batches", ["demo"])
        instance.add_dynamic_partitions("chunks", ["demo-00000"])
        yield instance


def failed_run(instance: dg.DagsterInstance, partition: str = "demo-00000", **tags: str) -> dg.DagsterRun:
    """A run of one partition that died, marked as Dagster marks one that it will not retry."""
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        status=DagsterRunStatus.FAILURE,
        asset_selection=CHUNK_ASSETS,
        run_config={"ops": {"some": {"config": {"model_id": "m"}}}},
        tags={
            "bedrock/batch": "demo",
            "bedrock/partition": partition,
            "dagster/will_retry": "false",
            "dagster/failure_reason": "UNEXPECTED_TERMINATION",
            **{name.replace("__", "/"): value for name, value in tags.items()},
        },
    )
    instance.run_storage.add_run(run)
    return run


def add_backfill(instance: dg.DagsterInstance, identifier: str, status: BulkActionStatus, **tags: str) -> None:
    backfill: Any = PartitionBackfill(
        backfill_id=identifier,
        status=status,
        from_failure=False,
        tags={name.replace("__", "/"): value for name, value in tags.items()},
        backfill_timestamp=time.time(),
        asset_selection=[],
    )
    instance.add_backfill(backfill)


def ids(runs: list[dg.DagsterRun]) -> list[str]:
    return [run.run_id for run in runs]


def test_a_run_that_is_not_retried_is_asked_for_again(instance: dg.DagsterInstance) -> None:
    """The request is for the same assets, partition and config, once for each dead run, and counts the times."""
    run = failed_run(instance, bedrock__version="v")
    assert ids(abandoned_runs(instance)) == [run.run_id]
    request = ask_again(run)
    assert (request.partition_key, frozenset(request.asset_selection or ())) == ("demo-00000", CHUNK_ASSETS)
    assert request.run_config == run.run_config
    assert request.run_key == f"again:{run.run_id}"
    assert request.tags["bedrock/asked_again"] == "1"
    assert request.tags["bedrock/version"] == "v"


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster__failure_reason": "STEP_FAILURE"},
        {"dagster__auto_retry_run_id": "another"},
        {"bedrock__asked_again": str(MAX_TIMES)},
    ],
)
def test_other_failures_are_left(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    """A step that failed has a reason for a person; a retried run goes on; and there is an end to asking."""
    failed_run(instance, **tags)
    assert abandoned_runs(instance) == []


def test_a_step_that_failed_in_an_outage_is_asked_for_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that the instance's database failed is no reason for a person."""
    run = failed_run(instance, dagster__failure_reason="STEP_FAILURE")
    monkeypatch.setattr(module, "failed_in_outage", lambda _, run_id: run_id == run.run_id)
    assert ids(abandoned_runs(instance)) == [run.run_id]


def test_the_daemon_has_its_time(instance: dg.DagsterInstance) -> None:
    """A run that Dagster says it will retry counts as abandoned only when it has not done so for minutes."""
    run = failed_run(instance, dagster__will_retry="true")
    assert abandoned_runs(instance) == []
    later = datetime.now(UTC) + RETRY_GRACE + timedelta(seconds=1)
    assert ids(abandoned_runs(instance, later)) == [run.run_id]


def test_whoever_took_over_is_enough(instance: dg.DagsterInstance) -> None:
    """With a newer run of the partition, whoever started it and whatever became of it, nothing is asked for."""
    failed_run(instance)
    newer = dg.DagsterRun(job_name="__ASSET_JOB", tags={"bedrock/batch": "demo", "bedrock/partition": "demo-00000"})
    instance.run_storage.add_run(newer)
    assert abandoned_runs(instance) == []


def test_partitions_that_are_no_more_are_left(instance: dg.DagsterInstance) -> None:
    """The run of a chunk that a smaller input took away is not asked for: its request would fail the whole tick."""
    failed_run(instance, "demo-00001")
    assert abandoned_runs(instance) == []


@pytest.mark.parametrize(
    ("status", "asked"), [(BulkActionStatus.CANCELED, False), (BulkActionStatus.COMPLETED_FAILED, True)]
)
def test_cancelled_backfills_stay_so(instance: dg.DagsterInstance, status: BulkActionStatus, asked: bool) -> None:
    """A run that died in a backfill which a person cancelled is left; in one that is merely over it is not."""
    add_backfill(instance, "one", status)
    run = failed_run(instance, dagster__backfill="one")
    assert ids(abandoned_runs(instance)) == ([run.run_id] if asked else [])
    assert len(list(instance.get_runs(filters=RunsFilter()))) == 1


VERSION = {"bedrock__batch": "demo", "bedrock__version": "v"}


def test_a_backfill_that_dagster_gave_up_is_known_until_there_is_a_newer_one(instance: dg.DagsterInstance) -> None:
    """A failed backfill of a batch is given up; a cancelled one, one of nobody's batch, or one made again is not."""
    add_backfill(instance, "one", BulkActionStatus.CANCELED, **VERSION)
    add_backfill(instance, "two", BulkActionStatus.FAILED)
    assert given_up_backfills(instance) == set()
    add_backfill(instance, "three", BulkActionStatus.FAILED, **VERSION)
    assert given_up_backfills(instance) == {("demo", "v")}
    add_backfill(instance, "four", BulkActionStatus.REQUESTED, **VERSION)
    assert given_up_backfills(instance) == set()


def test_there_is_an_end_to_backfills_too(instance: dg.DagsterInstance) -> None:
    """A batch whose backfills fail again and again is left to a person."""
    for number in range(MAX_TIMES):
        add_backfill(instance, f"failed {number}", BulkActionStatus.FAILED, **VERSION)
    assert given_up_backfills(instance) == {("demo", "v")}
    add_backfill(instance, "last", BulkActionStatus.FAILED, **VERSION)
    assert given_up_backfills(instance) == set()


@pytest.mark.parametrize(
    ("run_status", "backfill_status", "by_person"),
    [
        (DagsterRunStatus.CANCELING, None, True),
        (DagsterRunStatus.CANCELED, BulkActionStatus.CANCELING, True),
        (DagsterRunStatus.CANCELING, BulkActionStatus.REQUESTED, True),
        (DagsterRunStatus.CANCELING, BulkActionStatus.FAILING, False),
        (DagsterRunStatus.CANCELED, BulkActionStatus.FAILED, False),
        (DagsterRunStatus.FAILURE, BulkActionStatus.CANCELED, True),
        (DagsterRunStatus.FAILURE, BulkActionStatus.REQUESTED, False),
        (DagsterRunStatus.FAILURE, None, False),
        (DagsterRunStatus.STARTED, None, False),
    ],
)
def test_who_ended_a_run(
    instance: dg.DagsterInstance,
    run_status: DagsterRunStatus,
    backfill_status: BulkActionStatus | None,
    by_person: bool,
) -> None:
    """A person ended a terminated run unless its backfill failed, and a dead one if its backfill was cancelled."""
    tags = {} if backfill_status is None else {"dagster/backfill": "one"}
    if backfill_status is not None:
        add_backfill(instance, "one", backfill_status)
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=run_status, tags=tags)
    assert is_terminated_by_person(instance, run) is by_person


def test_a_dead_run_that_dagster_has_retried_was_ended_by_nobody(instance: dg.DagsterInstance) -> None:
    """If a retry has taken over, cancelling the backfill is that run's to follow, and the dead one's job is its."""
    add_backfill(instance, "one", BulkActionStatus.CANCELED)
    tags = {"dagster/backfill": "one", AUTO_RETRY_RUN_ID_TAG: "another"}
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=DagsterRunStatus.FAILURE, tags=tags)
    assert not is_terminated_by_person(instance, run)
