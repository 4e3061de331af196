"""What the run coordinator does beside tagging runs; its limits are tested on the whole platform."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from sqlalchemy.exc import OperationalError

from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.run_coordinator import BatchRunCoordinator
from bedrock_batch_assets.runs import database
from bedrock_batch_assets_tests.postgres import instance_on

VARIABLE = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("", "")])
def test_backfills_wait_for_the_code_server(monkeypatch: pytest.MonkeyPatch, before: str | None, after: str) -> None:
    """The daemon's backfills wait while the assets cannot be loaded, unless somebody has decided otherwise."""
    monkeypatch.delenv(VARIABLE, raising=False)
    # Taken away again at the end, whoever set it.
    monkeypatch.setenv(VARIABLE, before or "")
    if before is None:
        monkeypatch.delenv(VARIABLE)
    BatchRunCoordinator()
    assert os.environ[VARIABLE] == after


def lose_first_answer(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let the first call of a method do its work and fail, as when a connection breaks at the answer."""
    work = getattr(dg.DagsterInstance, method)

    def call(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(dg.DagsterInstance, method, work)
        work(*arguments, **options)
        raise OperationalError("", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(dg.DagsterInstance, method, call)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dg.DagsterInstance, list[float]]]:
    """An instance with our coordinator, and its pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(database, "Clock", lambda: Clock(sleep=pauses.append))
    with instance_on({"sqlite": {"base_dir": str(tmp_path)}}, tmp_path) as instance:
        yield instance, pauses


@pytest.mark.parametrize("method", ["add_run_tags", "report_dagster_event", "get_run_by_id"])
def test_an_outage_loses_no_run_and_queues_none_twice(
    queue: tuple[dg.DagsterInstance, list[float]], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whichever of its calls the database breaks off, the run is tagged and queued, and no second time.

    Between two tries the daemon may have started it: queued again then, it would get a second process.
    """
    instance, pauses = queue
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("bedrock_batch_assets"), "__repository__")
    code = RepositoryPythonOrigin("python", ModuleCodePointer("bedrock_batch_assets.definitions", "defs"))
    run = create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        tags={"dagster/partition": "demo-00000"},
        asset_selection=frozenset({dg.AssetKey("result_parts")}),
        remote_job_origin=RemoteJobOrigin(repository, "__ASSET_JOB"),
        job_code_origin=JobPythonOrigin("__ASSET_JOB", code),
    )
    lose_first_answer(monkeypatch, method)
    context: Any = SimpleNamespace(dagster_run=run)
    queued = instance.run_coordinator.submit_run(context)
    assert len(pauses) == 1
    assert (queued.status, queued.tags["bedrock/batch"]) == (dg.DagsterRunStatus.QUEUED, "demo")
    kinds = [entry.dagster_event_type for entry in instance.all_logs(run.run_id)]
    assert kinds.count(dg.DagsterEventType.PIPELINE_ENQUEUED) == 1
