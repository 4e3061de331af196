"""What is used of Dagster that is private or not documented."""

import importlib
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization

from bedrock_batch_assets.client import documents
from bedrock_batch_assets.internals import dagster_internals, parked_plans
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.run_coordinator import BatchRunCoordinator
from bedrock_batch_assets_tests.contract.registry import checks

PROJECT = Path(__file__).resolve().parents[2]
_ASSET = AssetKey("result_parts")
_JOB_RUN = {"bedrock/batch": "demo"}


def _events(instance: dg.DagsterInstance) -> None:
    for partition, version in (("a-00000", "old"), ("a-00001", "one"), ("a-00000", "new")):
        tags = {"dagster/data_version": version}
        instance.report_runless_asset_event(AssetMaterialization(_ASSET, partition=partition, tags=tags))


def _add_backfill(instance: dg.DagsterInstance, name: str, status: str, age: timedelta = timedelta()) -> None:
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    backfill: Any = PartitionBackfill(
        backfill_id=name,
        status=BulkActionStatus(status),
        from_failure=False,
        tags={"bedrock/batch": name},
        backfill_timestamp=time.time() - age.total_seconds(),
        asset_selection=[],
    )
    instance.add_backfill(backfill)


def _run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name=dagster_internals.ASSET_JOB, status=status, tags={**_JOB_RUN, **tags})
    instance.run_storage.add_run(run)
    return run


@checks("dagster", "run tags")
def _run_tags() -> None:
    from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
    from dagster._core.definitions.data_version import DATA_VERSION_TAG
    from dagster._core.events import RunFailureReason
    from dagster._core.storage import tags

    assert dagster_internals.PARTITION_NAME_TAG == tags.PARTITION_NAME_TAG
    assert dagster_internals.BACKFILL_ID_TAG == tags.BACKFILL_ID_TAG
    assert dagster_internals.WILL_RETRY_TAG == tags.WILL_RETRY_TAG
    assert dagster_internals.AUTO_RETRY_RUN_ID_TAG == tags.AUTO_RETRY_RUN_ID_TAG
    assert dagster_internals.RETRY_NUMBER_TAG == tags.RETRY_NUMBER_TAG
    assert dagster_internals.RUN_FAILURE_REASON_TAG == tags.RUN_FAILURE_REASON_TAG
    assert dagster_internals.DATA_VERSION_TAG == DATA_VERSION_TAG
    assert RunFailureReason.STEP_FAILURE.value == dagster_internals.STEP_FAILURE
    assert dagster_internals.ASSET_JOB == IMPLICIT_ASSET_JOB_NAME


@checks("dagster", "backfill statuses")
def _backfill_statuses() -> None:
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

    known = {status.value for status in BulkActionStatus}
    finished = {status.value for status in BULK_ACTION_TERMINAL_STATUSES}
    assert finished == dagster_internals.BACKFILL_FINISHED
    assert known >= dagster_internals.BACKFILL_CANCELED | dagster_internals.BACKFILL_GIVEN_UP
    # A status that is new has a meaning that nobody has thought about.
    assert known - finished == {dagster_internals.BACKFILL_REQUESTED, "CANCELING", "FAILING"}


@checks("dagster", "get_backfills")
def _get_backfills() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _add_backfill(instance, "one", "CANCELED")
        run = _run(instance, dg.DagsterRunStatus.STARTED, **{dagster_internals.BACKFILL_ID_TAG: "one"})
        wanted = dagster_internals.Backfill("CANCELED", {"bedrock/batch": "one"})
        assert dagster_internals.backfills(instance) == [wanted]
        assert dagster_internals.find_backfill(instance, run) == wanted


@checks("dagster", "update_backfill")
def _update_backfill() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _add_backfill(instance, "one", "REQUESTED")
        _add_backfill(instance, "over", "COMPLETED_SUCCESS")
        over, one = dagster_internals.backfills(instance)
        assert (one.id, one.created_at > over.created_at - 60.0) == ("one", True)
        assert dagster_internals.cancel_backfill(instance, one, {"why": "so"}, "A reason.")
        assert not dagster_internals.cancel_backfill(instance, over, {}, "")
        changed = instance.get_backfill("one")
        assert changed is not None
        assert (changed.status.value, changed.description) == ("CANCELING", "A reason.")
        assert changed.tags == {"bedrock/batch": "one", "why": "so"}


@checks("dagster", "get_execution_plan_snapshot")
def _get_execution_plan_snapshot() -> None:
    @dg.asset
    def some_asset() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([some_asset], instance=instance)
        (run,) = instance.get_runs()
        assert not run.asset_selection
        assert dagster_internals.planned_assets(instance, run) == {"some_asset"}


@checks("dagster", "BulkActionsFilter")
def _bulk_actions_filter() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for name, status in (("old", "REQUESTED"), ("new", "REQUESTED"), ("over", "COMPLETED_SUCCESS")):
            _add_backfill(instance, name, status, timedelta(days=2) if name == "old" else timedelta())
        since = datetime.now(UTC) - timedelta(days=1)
        found = dagster_internals.backfills(
            instance, is_wanted=lambda status: status not in dagster_internals.BACKFILL_FINISHED, created_after=since
        )
        assert [backfill.tags["bedrock/batch"] for backfill in found] == ["new"]


@checks("dagster", "AssetGraphSubset")
def _asset_graph_subset() -> None:
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster_shared.serdes import deserialize_value, serialize_value

    keys = ["a-00000", "a-00001"]
    request = dagster_internals.asset_backfill([_ASSET], chunks, keys, _JOB_RUN)
    # It goes from the code server to the daemon as text, and the daemon makes a backfill of it.
    received = deserialize_value(serialize_value(request), dg.RunRequest)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("chunks", keys)
        assert received.asset_graph_subset is not None
        backfill = PartitionBackfill.from_asset_graph_subset(
            backfill_id="one",
            backfill_timestamp=time.time(),
            tags=received.tags,
            dynamic_partitions_store=instance,
            asset_graph_subset=received.asset_graph_subset,
            title=None,
            description=None,
            run_config=None,
        )
        assert backfill.asset_selection == [_ASSET]
        assert backfill.tags == _JOB_RUN
        data = backfill.asset_backfill_data
        assert data is not None
        assert set(data.target_subset.get_partitions_subset(_ASSET).get_partition_keys()) == set(keys)


@checks("dagster", "get_latest_tags_by_partition")
def _latest_tags() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _events(instance)
        found = dagster_internals.latest_data_versions(instance, _ASSET, ["a-00000", "a-00001", "a-00002"])
        assert found == {"a-00000": "new", "a-00001": "one"}


@checks("dagster", "get_latest_storage_id_by_partition")
def _latest_storage_ids() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _events(instance)
        all_of_them = dagster_internals.latest_storage_id(instance, _ASSET, {"a-00000", "a-00001"})
        assert all_of_them > dagster_internals.latest_storage_id(instance, _ASSET, {"a-00001"}) > 0
        assert dagster_internals.latest_storage_id(instance, _ASSET, {"a-00002"}) == 0


@checks("dagster", "error without a trace")
def _error_without_trace() -> None:
    from bedrock_batch_assets.internals.plain_failures import plain_failure

    @dg.asset
    def refused() -> None:
        raise plain_failure("Say this alone.") from None

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([refused], instance=instance, raise_on_error=False)
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        data = failure.step_failure_data
        assert data.user_failure_data is not None
        assert data.user_failure_data.description == "Say this alone."
        assert data.error is not None
        assert data.error.message.strip() == "Say this alone."
        assert not data.error.stack
        assert data.error.cause is None


@checks("dagster", "cursor values")
def _cursor_values() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dagster_internals.write_values(instance, {"one": "1", "two": "2"})
        dagster_internals.write_values(instance, {"two": "3"})
        assert dagster_internals.read_values(instance, {"one", "two", "three"}) == {"one": "1", "two": "3"}


@checks("dagster", "report_run_failed")
def _report_run_failed() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for before, after in (("STARTED", "FAILURE"), ("CANCELING", "CANCELED")):
            run = _run(instance, dg.DagsterRunStatus(before))
            assert dagster_internals.end_run(instance, run, "It is gone.", canceled=after == "CANCELED")
            ended = instance.get_run_by_id(run.run_id)
            assert ended is not None
            assert ended.status.value == after


@checks("dagster", "run coordinator's instance")
def _coordinators_instance() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        coordinator = BatchRunCoordinator()
        coordinator.register_instance(instance)
        assert dagster_internals.instance_of(coordinator) is instance


@checks("dagster", "get_runs and add_run_tags")
def _get_runs() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = _run(instance, dg.DagsterRunStatus.STARTED)
        _run(instance, dg.DagsterRunStatus.FAILURE)
        instance.add_run_tags(run.run_id, {"bedrock/job": "family"})
        wanted = dg.RunsFilter(tags={"bedrock/job": "family"}, statuses=[dg.DagsterRunStatus.STARTED])
        assert [found.run_id for found in instance.get_runs(filters=wanted, limit=1)] == [run.run_id]


@checks("dagster", "code server's process context")
def _process_context() -> None:
    from multiprocessing import get_context

    from dagster._grpc.server import DagsterApiServer

    before = DagsterApiServer.__dict__.get("_mp_ctx")
    try:
        assert dagster_internals.set_worker_context(lambda: get_context("forkserver"))
        server: Any = object.__new__(DagsterApiServer)
        # As the server's own constructor does.
        server._mp_ctx = get_context("spawn")
        assert server._mp_ctx.get_start_method() == "forkserver"
    finally:
        if before is None:
            delattr(DagsterApiServer, "_mp_ctx")
        else:
            DagsterApiServer._mp_ctx = before
    assert {"_mp_ctx", "Process"} <= set(DagsterApiServer.StartRun.__code__.co_names)


@checks("dagster", "code server's instance")
def _code_server_instance() -> None:
    from dagster._core.instance.ref import InstanceRef
    from dagster._serdes import serialize_value

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text(
            "concurrency: {runs: {tag_concurrency_limits: [{key: a, limit: 3}]}}\n", encoding="utf-8"
        )
        ref = serialize_value(InstanceRef.from_dir(folder))
    found = dagster_internals.code_server_instance(["dagster", "api", "grpc", "--instance-ref", ref])
    assert found is not None
    assert "QueuedRunCoordinator" in found[0]
    assert found[1] == [{"key": "a", "limit": 3}]


@checks("dagster", "launcher's settings")
def _launcher_settings() -> None:
    launcher = "{module: dagster, class: DefaultRunLauncher, config: {}}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text(f"run_launcher: {launcher}\n", encoding="utf-8")
        with dg.DagsterInstance.from_config(folder) as instance:
            assert dagster_internals.launcher_settings(instance) == ("DefaultRunLauncher", {})


class ResumingLauncher(dg.DefaultRunLauncher):
    """Dagster refuses attempts to resume runs for a launcher that says it cannot."""

    @property
    def supports_resume_run(self) -> bool:
        """Yes."""
        return True


@dg.op
def _one() -> int:
    return 1


@dg.op
def _two(context: dg.OpExecutionContext, number: int) -> None:
    if context.run.tags.get("fails"):
        raise dg.Failure("no")
    assert number == 1


@dg.job(executor_def=dg.in_process_executor)
def _both() -> None:
    _two(_one())


@checks("dagster", "plan of a resumed run")
def _plan_of_a_resumed_run() -> None:
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import create_execution_plan, execute_run_iterator

    from bedrock_batch_assets.parking.parked import runs_executor

    assert parked_plans.are_available()
    assert runs_executor() is not dg.in_process_executor
    monitoring = (
        "run_monitoring: {enabled: true, max_resume_run_attempts: 2}\n"
        f"run_launcher: {{module: {__name__}, class: ResumingLauncher}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text(monitoring, encoding="utf-8")
        with dg.DagsterInstance.from_config(folder) as instance:
            failed = _both.execute_in_process(instance=instance, tags={"fails": "1"}, raise_on_error=False)
            plan: Any = create_execution_plan(_both)
            keys, outputs, failures = parked_plans.steps_left(instance, failed.run_id, plan)
            assert (keys, [event.step_key for event in failures]) == ([], ["_two"])
            assert [output.step_key for output in outputs] == ["_one"]
            run = instance.create_run_for_job(_both, execution_plan=plan)
            assert parked_plans.will_resume(instance, run.run_id)
            for count in (1, 2):
                instance.report_engine_event("Launching a new run worker to resume run", run)
                assert parked_plans.will_resume(instance, run.run_id) == (count < 2)
            list(execute_run_iterator(InMemoryJob(_both), run, instance))
            assert parked_plans.steps_left(instance, run.run_id, plan)[0] == []


@checks("dagster", "run launcher's base")
def _run_launchers_base() -> None:
    ecs = pytest.importorskip("dagster_aws.ecs", reason="there is no dagster-aws for this Dagster")
    from dagster._core.launcher.base import CheckRunHealthResult, ResumeRunContext, RunLauncher, WorkerStatus
    from dagster._daemon.monitoring import run_monitoring

    assert {"check_run_worker_health", "resume_run", "terminate"} <= vars(ecs.EcsRunLauncher).keys()
    assert issubclass(ecs.EcsRunLauncher, RunLauncher)
    assert ecs.EcsRunLauncher.supports_resume_run.fget(None)
    assert CheckRunHealthResult(WorkerStatus.NOT_FOUND, "why").status is WorkerStatus.NOT_FOUND
    assert "dagster_run" in ResumeRunContext.__annotations__ or hasattr(ResumeRunContext, "dagster_run")
    # Monitoring asks the launcher of runs that have started, and resumes those that are neither running nor done.
    names = run_monitoring.monitor_started_run.__code__.co_names
    assert {"check_run_worker_health", "resume_run", "RUNNING", "SUCCESS"} <= set(names)


@checks("dagster", "preloaded modules")
def _preloaded_modules() -> None:
    for module in dagster_internals.PRELOADED_MODULES:
        importlib.import_module(module)


@checks("dagster", "classes in dagster.yaml")
def _classes_in_dagster_yaml() -> None:
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", home)
        shutil.copy(PROJECT / "dagster.yaml", home)
        with dg.DagsterInstance.get() as instance:
            assert type(instance.run_coordinator).__name__ == "BatchRunCoordinator"
            dagster_internals.write_values(instance, {"one": "1"})
            assert Path(instance.storage_directory()).is_relative_to(home)
            manager: Any = instance.compute_log_manager
            assert Path(manager.get_captured_local_path(["a"], "out")).is_relative_to(home)
        assert list(Path(home).rglob("*.db"))


@checks("dagster", "GraphQL documents")
def _graphql_documents() -> None:
    pytest.importorskip("dagster_graphql", reason="there is no dagster-graphql for this Dagster")
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    texts = {name: text for name, text in vars(documents).items() if name.isupper() and name != "RUN_FIELDS"}
    assert texts
    found = {name: [str(error) for error in validate(schema, parse(text))] for name, text in texts.items()}
    assert {name: errors for name, errors in found.items() if errors} == {}


@checks("dagster", "backfill retry variable")
def _backfill_retry_variable() -> None:
    from dagster._core.execution import asset_backfill

    def constants(code: CodeType) -> set[Any]:
        inner = [item for item in code.co_consts if isinstance(item, CodeType)]
        return {item for item in code.co_consts if isinstance(item, str)}.union(*map(constants, inner))

    source = Path(asset_backfill.__file__ or "").read_text(encoding="utf-8")
    assert dagster_internals.BACKFILL_RETRY_VARIABLE in constants(compile(source, "asset_backfill.py", "exec"))
