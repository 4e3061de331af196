"""A throw-away Postgres that tests stop and start, if Postgres is installed.

    def test_something(postgres):
        settings = postgres.storage_settings      # `storage:` of a dagster.yaml
        postgres.stop()                           # connections break, new ones are refused
        postgres.start()

In the tests' own process `postgres_instance` is a Dagster instance on it.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dagster as dg
import pytest
import yaml

from bedrock_batch_assets_tests.local_aws_fixture import free_port

NOT_INSTALLED = (
    "Postgres is not installed: tests of database outages need its programs initdb and postgres. "
    "Debian and Ubuntu have them in the package postgresql (apt-get install postgresql)."
)
HOST = "127.0.0.1"
_USER = "dagster"
_DATABASE = "postgres"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
# initdb refuses to run as root: then a user without privileges runs it. Debian's package makes the first.
_UNPRIVILEGED = ("postgres", "nobody")
# Durable for nobody: a power cut may lose it, and the tests take half the time.
_OPTIONS = {
    "listen_addresses": HOST,
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "shared_buffers": "32MB",
}


def find_programs() -> Path | None:
    """The folder of initdb and postgres: on the PATH, or where Debian puts them; None if there is none."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    of_debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    # The newest version.
    return max((path.parent for path in of_debian), key=lambda folder: float(folder.parent.name), default=None)


class Postgres:
    """A cluster on a free port of 127.0.0.1, for a `with` block.

    Raises:
        RuntimeError: On entry, if Postgres is not installed or does not come up.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, for SQLAlchemy."""
        return f"postgresql+psycopg2://{_USER}@{HOST}:{self.port}/{_DATABASE}"

    @property
    def storage_settings(self) -> dict[str, Any]:
        """The `storage` of a dagster.yaml."""
        database = {
            "username": _USER,
            # The server trusts everybody on this machine; older releases of dagster-postgres want one all the same.
            "password": "",
            "hostname": HOST,
            "port": self.port,
            "db_name": _DATABASE,
            # SQLAlchemy 2.1 takes `postgresql` for psycopg 3, and dagster-postgres brings psycopg 2.
            "scheme": "postgresql+psycopg2",
        }
        return {"postgres": {"postgres_db": database}}

    def __enter__(self) -> Self:
        """Make the cluster and start it."""
        programs = find_programs()
        if programs is None:
            raise RuntimeError(NOT_INSTALLED)
        self._programs = programs
        self._as_user = _unprivileged_user()
        if self._as_user:
            shutil.chown(self._folder, self._as_user["user"], self._as_user["group"])
        try:
            self._initialise()
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and delete the cluster."""
        self._end()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        assert self._process is None, "it runs already"
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", ""]
        for name, value in _OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, **self._as_user
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postgres does not come up:\n{(self._folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server as a failover does: statements break, connections end, and new ones are refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # SIGKILL would leave its children and its shared memory behind.
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(_STOP_SECONDS)
            self._process = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", _USER, "--auth=trust"]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **self._as_user)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _is_ready(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _end(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _unprivileged_user() -> dict[str, Any]:
    """What makes `subprocess` run a program without privileges: nothing, unless this process is root's."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = next((known[name] for name in _UNPRIVILEGED if name in known), None)
    if found is None:
        raise RuntimeError("Postgres refuses to run as root, and there is no user named postgres or nobody.")
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def instance_on(storage: Mapping[str, Any], folder: Path) -> dg.DagsterInstance:
    """A Dagster instance with this `storage`, its other files in `folder`."""
    settings = {
        "storage": dict(storage),
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(folder)},
        },
        "run_coordinator": {"module": "bedrock_batch_assets.run_coordinator", "class": "BatchRunCoordinator"},
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return dg.DagsterInstance.from_config(str(folder))


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Postgres]:
    """The module's Postgres."""
    if find_programs() is None:
        pytest.skip(NOT_INSTALLED)
    with Postgres() as running:
        yield running


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """The module's Postgres, running before the test and after it."""
    yield postgres_server
    postgres_server.stop()
    postgres_server.start()


@pytest.fixture
def quick_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """dagster-postgres tries as often as ever before it gives up, but without its pauses of twelve seconds in all."""
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)


@pytest.fixture
def postgres_instance(postgres: Postgres, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on the module's Postgres. Its runs and events stay for the module's other tests."""
    with instance_on(postgres.storage_settings, tmp_path) as instance:
        yield instance
