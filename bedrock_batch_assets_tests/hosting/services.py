"""The services of deploy/compose.yaml as processes of this machine: their commands, their environment, one Postgres."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError, Webserver
from bedrock_batch_assets.jobs.service import BatchJobs
from bedrock_batch_assets.local import local_platform
from bedrock_batch_assets.local.processes import Program
from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.hosting.ecs_tasks import EcsTasks, in_its_own_host
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.postgres import HOST, Postgres

DEPLOY = packaged_file("deploy")
PROJECT = Path(local_platform.__file__).resolve().parents[1] / "examples" / "project"
_ORDER = ("code", "daemon", "webserver")
_END_SECONDS = 30.0


def compose_services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml that are Dagster's."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return {name: found[name] for name in _ORDER}


class Services:
    """Code server, daemon and webserver, for a `with` block.

    Args:
        folder: Is to them what /app is in the image.
        postgres: The database; it runs.
        launcher: Which of the instance files, as hosting.yaml's parameter of that name has it.
        instance: Changes of the instance file, merged into it.
        aws_settings: Settings of the stand-in.
    """

    def __init__(
        self,
        folder: Path,
        postgres: Postgres,
        launcher: str,
        *,
        instance: Mapping[str, Any] | None = None,
        aws_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.launcher = launcher
        self._instance = instance or {}
        self._aws_settings = aws_settings or {}
        self._ports = {name: str(local_platform.free_port()) for name in ("4000", "3000")}
        self.url = f"http://{HOST}:{self._ports['3000']}"
        self.aws = LocalAws(f"http://{HOST}:{local_platform.free_port()}")
        self.bucket = local_platform.BUCKET
        self.environment = {
            **local_platform.local_aws_environment(self.aws.endpoint_url),
            **self._compose_environment(postgres),
            "DAGSTER_HOME": str(self.folder / launcher),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # Compiled once for all processes.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
        }
        self.ecs = EcsTasks(self.environment, self.folder)
        self.programs: dict[str, Program] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start everything, and wait until the assets are loaded."""
        try:
            self._enter()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything."""
        self._stack.close()

    def start(self, *names: str) -> None:
        """Start services with their command of compose.yaml, each under a host name of its own."""
        for name in names:
            words = compose_services()[name]["command"]
            command = [self._ports.get(word, word).replace("0.0.0.0", HOST) for word in words]
            self.programs[name] = Program(
                name,
                in_its_own_host(name, command),
                log=self.folder / f"{name}.log",
                environment=self.environment,
                directory=self.folder,
            )

    def stop(self, *names: str) -> None:
        """End services, as a new version does."""
        for name in names:
            self.programs[name].end(_END_SECONDS)

    def wait(self) -> None:
        """Wait until the webserver shows the assets, and the daemons run."""
        webserver = Webserver(self.url)

        def answers() -> bool:
            try:
                webserver.code_location()
                return not webserver.unhealthy_daemons()
            except (UnreachableError, DagsterRefusedError):
                return False

        local_platform.wait_until(self.programs["webserver"], answers)

    @property
    def ui(self) -> Ui:
        """What a person sees."""
        return Ui(self.url, self.programs["webserver"].check)

    def batches(self) -> Batches:
        """The command line's view. It finds AWS in the environment of this process."""
        return Batches(Webserver(self.url), BatchBucket(bucket=self.bucket), BatchJobs())

    def _enter(self) -> None:
        home = self.folder / self.launcher
        home.mkdir(parents=True)
        settings = yaml.safe_load((DEPLOY / f"dagster-{self.launcher}.yaml").read_text())
        (home / "dagster.yaml").write_text(yaml.safe_dump(_merged(settings, self._instance)))
        workspace = (DEPLOY / "workspace.yaml").read_text().replace("4000", self._ports["4000"])
        (self.folder / "workspace.yaml").write_text(workspace)
        shutil.copy(PROJECT / "definitions.py", self.folder)
        shutil.copytree(PROJECT / "prompts", self.folder / "prompts")
        program = local_platform.start_local_aws(
            self.aws.endpoint_url, self.folder, self.environment, settings=self._aws_settings, buckets=[self.bucket]
        )
        self._stack.callback(program.end, _END_SECONDS)
        local_platform.wait_for_local_aws(program, self.aws.endpoint_url)
        if self.launcher != "postgres":
            self._stack.enter_context(self.ecs)
            self.environment |= self.ecs.client_environment
            self.ecs.environment = self.environment
        self._stack.callback(self._end_all)
        self.start(*_ORDER)
        self.wait()

    def _end_all(self) -> None:
        for program in reversed(list(self.programs.values())):
            program.end(_END_SECONDS)

    @staticmethod
    def _compose_environment(postgres: Postgres) -> dict[str, str]:
        database = postgres.storage_settings["postgres"]["postgres_db"]
        own = {
            "DAGSTER_PG_HOST": HOST,
            "DAGSTER_PG_PORT": str(database["port"]),
            "DAGSTER_PG_USERNAME": database["username"],
            "DAGSTER_PG_PASSWORD": database["password"] or "none",
            "DAGSTER_PG_DB": database["db_name"],
            "DAGSTER_CODE_HOST": HOST,
        }
        given = compose_services()["code"]["environment"]
        assert own.keys() < given.keys(), "compose.yaml lacks a variable of the database"
        return {**given, **own}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 120.0) -> float:
    """Wait until a condition holds. Returns how long that took, in seconds.

    Raises:
        TimeoutError: It did not.
    """
    import time

    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
    return time.monotonic() - started
