"""A whole platform whose parts are killed and started again: local AWS, and `dagster dev` on one DAGSTER_HOME."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError, Webserver
from bedrock_batch_assets.local import local_platform
from bedrock_batch_assets.local.processes import Program, ProgramFailedError, group_members
from bedrock_batch_assets.runs.heartbeat import is_alive, last_beat
from bedrock_batch_assets_tests.chaos.key_file import KeyFile
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.postgres import Postgres

# What the command lines of the parts hold. The code server is started by a proxy, and starts the run workers.
WEBSERVER, DAEMON, CODE_SERVER = "dagster_webserver", "dagster._daemon", "api grpc"
_END_SECONDS = 20.0
_WAIT_SECONDS = 180.0
_NO_CODE_SERVER_SECONDS = 60.0


class Deployment:
    """One platform in `directory`, with the project's dagster.yaml but for the time that a run may take to start.

    Args:
        directory: Has all of its files.
        aws_settings: Settings of local AWS.
        postgres: Its database; None for SQLite.
    """

    def __init__(self, directory: Path, aws_settings: dict[str, Any], postgres: Postgres | None) -> None:
        self._directory = directory
        self._postgres = postgres
        self._home = directory / "dagster_home"
        aws_url = f"http://{local_platform.HOST}:{local_platform.free_port()}"
        self._port = local_platform.free_port()
        self._url = f"http://{local_platform.HOST}:{self._port}"
        self.keys = KeyFile(directory / "credentials")
        aws_environment = local_platform.local_aws_environment(aws_url)
        del aws_environment["AWS_ACCESS_KEY_ID"], aws_environment["AWS_SECRET_ACCESS_KEY"]
        self._environment = {
            **aws_environment,
            "AWS_SHARED_CREDENTIALS_FILE": str(directory / "credentials"),
            "DAGSTER_HOME": str(self._home),
            # Compiled once for all processes, and time enough on a busy machine: see the tests of the platform.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(directory / "bytecode"),
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
        }
        self._programs: list[Program] = []
        self._aws_program: Program | None = None
        self._aws_settings = aws_settings
        self._workspace = directory / "workspace.yaml"
        self.bucket = local_platform.BUCKET
        self.aws = LocalAws(aws_url)
        self.ui = Ui(self._url, lambda: None)
        self.kills = 0
        self._names = 0

    def start(self) -> None:
        """Start everything."""
        self._home.mkdir(parents=True)
        changes: dict[str, Any] = {"run_monitoring": {"start_timeout_seconds": 60, "cancel_timeout_seconds": 60}}
        if self._postgres is not None:
            changes["storage"] = {"custom": None, **self._postgres.storage_settings}
        settings = local_platform.instance_settings(self._home, changes)
        (self._home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        self._write_workspace("bedrock_batch_assets")
        self._aws_program = local_platform.start_local_aws(
            self.aws.endpoint_url,
            self._directory,
            self._environment,
            settings=self._aws_settings,
            buckets=[self.bucket],
        )
        local_platform.wait_for_local_aws(self._aws_program, self.aws.endpoint_url)
        self._start_dagster()
        self.instance = dg.DagsterInstance.from_config(str(self._home))

    def end(self) -> None:
        """End everything, also what earlier kills left behind."""
        if self._programs:
            self._programs[-1].end(_END_SECONDS)
        self._kill_left_behind()
        if self._aws_program is not None:
            self._aws_program.end(_END_SECONDS)

    @property
    def log(self) -> str:
        """The end of what Dagster says."""
        return self._programs[-1].tail(80)

    def expire_credentials(self) -> None:
        """Let AWS refuse the credentials of all processes until others are in the file."""
        self.keys.expire(self.aws)

    def kill_part(self, part: str) -> None:
        """Kill the webserver, the daemon or the code server, and start again what ended with it."""
        for pid in group_members(self._programs[-1].pid):
            if part in _command_line(pid):
                self._kill(pid, signal.SIGKILL)
        if part != CODE_SERVER:
            # `dagster dev` notices within seconds, and ends the rest.
            _wait_for(lambda: _has_ended(self._programs[-1]))
            self._start_dagster()
            return
        self._wait_for_code_server()

    def reboot(self) -> None:
        """Kill everything but AWS at once, and start it again."""
        self.kills += 1
        os.killpg(self._programs[-1].pid, signal.SIGKILL)
        self._programs[-1].end(1.0)
        self._kill_left_behind()
        self._start_dagster()

    def interrupt(self) -> None:
        """Ctrl-C, and start again."""
        self.kills += 1
        self._programs[-1].end(_END_SECONDS)
        self._start_dagster()

    def deploy(self) -> None:
        """End `dagster dev` alone, which leaves the code server and the run workers behind, and start it again."""
        self._kill(self._programs[-1].pid, signal.SIGTERM)
        _wait_for(lambda: _has_ended(self._programs[-1]))
        self._start_dagster()

    def lose_cursors(self) -> None:
        """Forget the cursors of the sensors, as a person does on their pages."""
        location = self.ui.web.code_location()
        for sensor in ("batch_progress_sensor", "job_status_sensor"):
            self.ui.web.query(_CLEAR_CURSOR, {"sensor": {**location.selector, "sensorName": sensor}})

    def rename_location(self) -> None:
        """Ctrl-C, and start again with another name of the code location, as `dg dev` has in the same folder."""
        self._names += 1
        self._write_workspace(f"location_{self._names}")
        self.interrupt()
        self.ui = Ui(self._url, lambda: None)

    @property
    def database(self) -> str:
        """The kind of its database."""
        return "SQLite" if self._postgres is None else "Postgres"

    def lose_database(self, seconds: float) -> None:
        """Stop Postgres, or lock all files of SQLite as a backup does. Returns when it is back."""
        if self._postgres is not None:
            self._postgres.stop()
            time.sleep(seconds)
            self._postgres.start()
            return
        held: list[sqlite3.Connection] = []
        try:
            for file in sorted((self._home / "storage").rglob("*.db")):
                held.append(sqlite3.connect(file, timeout=_END_SECONDS, isolation_level=None))
                held[-1].execute("begin exclusive")
            time.sleep(seconds)
        finally:
            for connection in held:
                connection.close()

    def kill_worker(self, run_id: str) -> bool:
        """Kill the process of a run. False if it has none (yet, or any more)."""
        beat = last_beat(self.instance, run_id)
        if beat is None or not is_alive(beat):
            return False
        self._kill(beat.pid, signal.SIGKILL)
        return True

    def _kill(self, pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        self.kills += 1

    def _kill_left_behind(self) -> None:
        """Kill what outlived its `dagster dev`, known by its environment: group numbers are given to others again."""
        mark = f"DAGSTER_HOME={self._home}\0"
        for program in self._programs[:-1]:
            for pid in group_members(program.pid):
                if mark in _text_of(pid, "environ"):
                    self._kill(pid, signal.SIGKILL)

    def _write_workspace(self, location: str) -> None:
        module = {"module_name": local_platform.DEFINITIONS_MODULE, "location_name": location}
        self._workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}))

    def _start_dagster(self) -> None:
        program = local_platform.start_dagster(
            self._port,
            self._workspace,
            log=self._directory / f"dagster-{len(self._programs)}.log",
            environment=self._environment,
            directory=self._directory,
        )
        self._programs.append(program)
        local_platform.wait_for_dagster(program, self._url)

    def _wait_for_code_server(self) -> None:
        deadline = time.monotonic() + _NO_CODE_SERVER_SECONDS
        while time.monotonic() < deadline:
            time.sleep(1.0)
            try:
                Webserver(self._url).code_location()
            except (UnreachableError, DagsterRefusedError):
                continue
            if any(CODE_SERVER in _command_line(pid) for pid in group_members(self._programs[-1].pid)):
                return
        # Nothing brings it back: somebody restarts Dagster.
        self.interrupt()


_CLEAR_CURSOR = """
mutation ClearCursor($sensor: SensorSelector!) {
  setSensorCursor(sensorSelector: $sensor, cursor: null) { __typename }
}
"""


def _command_line(pid: int) -> str:
    return _text_of(pid, "cmdline").replace("\0", " ")


def _text_of(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _has_ended(program: Program) -> bool:
    try:
        program.check()
    except ProgramFailedError:
        return True
    return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_WAIT_SECONDS:g} s")
        time.sleep(0.2)
