"""All of Dagster that a batch needs, in the test's own process: sensors, backfills, queue, retries and the UI's API.

The daemons' own code is called, one iteration at a time, on a SQLite instance with the project's run coordinator and
limits. Runs are launched by the test: between two iterations it decides which of them are executed, and which never
start.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from alembic.script import ScriptDirectory
from dagster import DagsterExecutionInterruptedError, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.api import execute_run
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._serdes import ConfigurableClass
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster_graphql.schema import create_schema

from bedrock_batch_assets.client.webserver import DagsterRefusedError, Webserver
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.service import ROLE_ARN_VARIABLE
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.local.local_platform import DEFINITIONS_MODULE, instance_settings
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import JOB_ARN_TAG
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, HAIKU

_LOGGER = logging.getLogger("dagster_in_process")
_SCHEMA = create_schema()


class TestLauncher(RunLauncher, ConfigurableClass):
    """Launches nothing: it keeps the runs for the test, or says why it cannot launch any."""

    __test__ = False

    def __init__(self, inst_data: Any = None) -> None:
        self._inst_data = inst_data
        self.launched: list[str] = []
        self.attempts = 0
        self.broken: str | None = None
        self.terminated: set[str] = set()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> Any:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "TestLauncher":
        del config_value
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        self.attempts += 1
        if self.broken is not None:
            raise RuntimeError(self.broken)
        self.launched.append(context.dagster_run.run_id)

    def terminate(self, run_id: str) -> bool:
        self.terminated.add(run_id)
        run = self._instance.get_run_by_id(run_id)
        assert run is not None
        self._instance.report_run_canceling(run)
        return True


class InProcessWebserver(Webserver):
    """The webserver's GraphQL API without the web: what the command line asks goes to Dagster's own schema."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        super().__init__("http://in-process")
        self._workspace = workspace

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        context = self._workspace.create_request_context()
        result = asyncio.run(_SCHEMA.execute_async(document, context_value=context, variable_values=variables))
        if result.errors:
            raise DagsterRefusedError(str(result.errors[0]))
        data: dict[str, Any] = result.data
        return data


class InProcessDagster:
    """One instance, seen through a code location of some name."""

    def __init__(self, aws: LocalAws, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        aws.create_bucket(BUCKET)
        os.environ[BUCKET_VARIABLE] = BUCKET
        os.environ[ROLE_ARN_VARIABLE] = aws.create_role()
        self.aws = aws
        self.storage = BatchStorage(bucket=BUCKET)
        home = folder / "dagster_home"
        home.mkdir()
        changes = {
            "run_launcher": {"module": "bedrock_batch_assets_tests.dagster_in_process", "class": "TestLauncher"},
            **(settings or {}),
        }
        # Capturing what a process prints is for runs that have a process each.
        no_logs = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
        whole = {**instance_settings(home, changes), "compute_logs": no_logs}
        (home / "dagster.yaml").write_text(yaml.safe_dump(whole))
        self.instance = DagsterInstance.from_config(str(home))
        launcher = self.instance.run_launcher
        assert isinstance(launcher, TestLauncher)
        self.launcher = launcher
        self._threads: list[threading.Thread] = []
        self._workspaces: list[WorkspaceProcessContext] = []
        self.locate("bedrock_batch_assets")

    def locate(self, name: str) -> None:
        """From now on the code location has this name, as after `dg dev` in the same folder."""
        origin = LoadableTargetOrigin(module_name=DEFINITIONS_MODULE, working_directory=str(Path.cwd()))
        target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name=name))
        self._workspaces.append(WorkspaceProcessContext(self.instance, target).__enter__())
        self.workspace = self._workspaces[-1]
        self.web = InProcessWebserver(self.workspace)

    def close(self) -> None:
        """Leave the instance."""
        for workspace in self._workspaces:
            workspace.__exit__(None, None, None)
        self.instance.dispose()

    # What the daemons do.

    def sensors(self) -> None:
        """One tick of each sensor, whenever the last one was.

        Raises:
            AssertionError: A tick failed.
        """
        self._change_sensors(keep_cursor=True)
        errors = [error for error in execute_sensor_iteration(self.workspace, _LOGGER, None, None) if error]
        assert not errors, errors[0]

    def lose_cursors(self) -> None:
        """Forget the sensors' cursors, as a person does on the sensors' pages."""
        self._change_sensors(keep_cursor=False)

    def cursor(self, sensor: str) -> str | None:
        """The cursor of a sensor."""
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            if state.instigator_name == sensor and isinstance(state.instigator_data, SensorInstigatorData):
                return state.instigator_data.cursor
        return None

    def skip_reason(self, sensor: str) -> str:
        """What the sensor's page says of its last tick."""
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            if state.instigator_name == sensor:
                (tick,) = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                return tick.skip_reason or ""
        return ""

    def backfill_daemon(self) -> None:
        """One iteration over the backfills."""
        list(execute_backfill_iteration(self.workspace, _LOGGER))

    def dequeue(self) -> list[str]:
        """One pass over the queue. Returns the runs that were launched, in order."""
        before = len(self.launcher.launched)
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            list(daemon.run_iteration(self.workspace))
        return self.launcher.launched[before:]

    def retry(self) -> None:
        """Dagster's run retries, for all runs that failed."""
        failed = self.instance.get_run_records(filters=RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
        records = [record for record in failed if AUTO_RETRY_RUN_ID_TAG not in record.dagster_run.tags]
        list(consume_new_runs_for_automatic_reexecution(self.workspace, records, _LOGGER))

    def execute(self, run_id: str) -> DagsterRun:
        """Do what a run's process does, to its end."""
        run = self.run(run_id)
        assert run.job_code_origin is not None
        execute_run(recon_job_from_origin(run.job_code_origin), run, self.instance)
        return self.run(run_id)

    def start(self, run_id: str) -> None:
        """Do the same in a thread, which ends when the run does, or is terminated while it waits for its job."""
        thread = threading.Thread(target=self.execute, args=[run_id], name=run_id)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        """Wait for the end of all threads."""
        while self._threads:
            self._threads.pop().join(60.0)

    def run(self, run_id: str) -> DagsterRun:
        """A run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def step(self) -> list[DagsterRun]:
        """Let everything go on: sensors, backfills, queue, and each run to its end. Returns the runs as they ended."""
        self.sensors()
        self.backfill_daemon()
        return [self.execute(run_id) for run_id in self.dequeue()]

    def settle(self, steps: int = 8) -> None:
        """Let everything go on until nothing happens any more."""
        for _ in range(steps):
            if not self.step() and not self.unfinished_backfills():
                self.sensors()
                if not self.unfinished_runs() and not self.unfinished_backfills():
                    return
        raise AssertionError("the batch does not come to an end")

    # What there is.

    def unfinished_runs(self) -> list[DagsterRun]:
        """Runs that have not ended."""
        return [run for run in self.instance.get_runs() if not run.is_finished]

    def backfills(self) -> list[Any]:
        """All backfills, newest first."""
        return list(self.instance.get_backfills())

    def unfinished_backfills(self) -> list[Any]:
        """Backfills that may still start runs, or end some."""
        return [item for item in self.backfills() if item.status.value in {"REQUESTED", "CANCELING", "FAILING"}]

    def counts(self) -> tuple[int, int, int]:
        """How many runs, backfills and paid jobs there ever were."""
        return len(self.instance.get_runs()), len(self.backfills()), len(self.aws.jobs())

    # What people do.

    def put_csv(self, key: str, rows: Sequence[str]) -> str:
        """Write a table of one column `topic` and return its URI."""
        body = "\n".join(["topic", *rows]) + "\n"
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body.encode())
        return f"s3://{BUCKET}/{key}"

    def launch(self, batch: str, rows: int, **changes: Any) -> str:
        """Materialize the input of a batch of so many rows, 100 a chunk, in the UI. Returns the run's id, queued."""
        request = {
            "s3_uri": self.put_csv(f"{batch}-{rows}.csv", [f"topic {row}" for row in range(rows)]),
            "model_id": HAIKU,
            "prompt_id": "joke_about_topic",
            "max_records_per_job": 100,
            **changes,
        }
        self.web.add_batch(batch)
        return self.web.launch("input_dataset", batch, request)

    def read_input(self, batch: str, rows: int, **changes: Any) -> str:
        """The same, with the run at its end."""
        run_id = self.launch(batch, rows, **changes)
        assert self.dequeue() == [run_id]
        assert self.execute(run_id).status is DagsterRunStatus.SUCCESS
        return run_id

    def _change_sensors(self, *, keep_cursor: bool) -> None:
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            data = state.instigator_data
            if isinstance(data, SensorInstigatorData):
                cursor = data.cursor if keep_cursor else None
                self.instance.update_instigator_state(state.with_data(SensorInstigatorData(cursor=cursor)))


@contextmanager
def in_process_dagster(
    aws: LocalAws, folder: Path, settings: Mapping[str, Any] | None = None
) -> Iterator[InProcessDagster]:
    """An instance of its own, and everything around it."""
    with _revisions_read_once(), ExitStack() as stack:
        running = InProcessDagster(aws, folder, settings)
        stack.enter_context(_interrupted_when_terminated(running))
        # Each run sets up the logging of its process anew: with several in one process that ends in a deadlock.
        stack.enter_context(patch("logging.config.dictConfig"))
        try:
            yield running
        finally:
            running.close()
            for variable in (BUCKET_VARIABLE, ROLE_ARN_VARIABLE):
                os.environ.pop(variable, None)


@contextmanager
def _revisions_read_once() -> Iterator[None]:
    """Each tick opens the instance, and with it the 90 revisions of its schema: half of the time of an idle tick."""
    read = ScriptDirectory.from_config
    known: dict[str, ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        place = str(config.get_main_option("script_location"))
        if place not in known:
            known[place] = read(config)
        return known[place]

    with patch.object(ScriptDirectory, "from_config", from_config):
        yield


@contextmanager
def _interrupted_when_terminated(running: InProcessDagster) -> Iterator[None]:
    """What a signal does to a run's process that waits for its job."""
    look = BedrockBatchJobs.get

    def get(jobs: BedrockBatchJobs, arn: str) -> JobState:
        owners = running.instance.get_runs(RunsFilter(tags={JOB_ARN_TAG: arn}, statuses=[DagsterRunStatus.CANCELING]))
        if {run.run_id for run in owners} & running.launcher.terminated:
            raise DagsterExecutionInterruptedError
        return look(jobs, arn)

    with patch.object(BedrockBatchJobs, "get", get):
        yield


def asset_names(run: DagsterRun) -> set[str]:
    """The assets that a run makes."""
    return {key.to_user_string() for key in run.asset_selection or ()}
