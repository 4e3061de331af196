"""The whole platform on this machine: local AWS, and Dagster's webserver, daemon and code server.

For the demo, `make dev` and tests:

    changes = {"run_retries": {"max_retries": 3}}
    with LocalPlatform(tmp_path, dagster_yaml=changes, aws_settings={"seed": 1}) as platform:
        platform.webserver_url      # "http://127.0.0.1:40123": the UI, and GraphQL at /graphql
        platform.aws_url            # local AWS, with its control endpoint at /_local/
        platform.bucket             # it exists, and so does platform.role_arn
        platform.environment        # for programs that use the platform: AWS_*, BEDROCK_BATCH_*, DAGSTER_HOME
        platform.dagster.log        # what `dagster dev` says
        platform.dagster.pid        # its process group: the daemon, code server and run workers are in it

At the end of the block everything is ended: run workers, code server, daemon, webserver, local AWS.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bedrock_batch_assets.client.webserver import URL_VARIABLE, DagsterRefusedError, UnreachableError, Webserver
from bedrock_batch_assets.cost.prices import PRICES_VARIABLE
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.extras import check_instance_settings, require_extra
from bedrock_batch_assets.jobs.service import ROLE_ARN_VARIABLE
from bedrock_batch_assets.local.processes import Program, ProgramFailedError
from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE

BUCKET = "bedrock-batch-local"
ROLE = "bedrock-batch-local"
REGION = "us-east-1"
# Of moto (moto.core.DEFAULT_ACCOUNT_ID), which keeps the roles.
ACCOUNT_ID = "123456789012"
HOST = "127.0.0.1"
DEFINITIONS_MODULE = "bedrock_batch_assets.definitions"

# Dagster took 25 s to come up on two busy cores; slow disks and first imports take longer.
START_SECONDS = 180.0
# Run workers clean up when they are interrupted, which takes them a second or two.
END_SECONDS = 15.0
_POLL_SECONDS = 0.25


class LocalPlatform:
    """Local AWS and `dagster dev`, from `start` to `end`, or for a `with` block.

    Args:
        directory: Folder for all that it writes: DAGSTER_HOME, logs, settings. It is not deleted.
        dagster_yaml: Changes of the project's dagster.yaml, merged into it key by key; None takes a key away.
        aws_settings: Changes of local AWS's settings, see `local_aws/settings.py`; `platform.aws_url` takes more while
            it runs.
        environment: More variables for all programs.
        definitions_module: The module whose definitions are loaded.
        port: Port of the webserver; None for a free one.

    Raises:
        ProgramFailedError: On start, if a program does not come up. The message holds the end of its log.
    """

    def __init__(
        self,
        directory: Path,
        *,
        dagster_yaml: Mapping[str, Any] | None = None,
        aws_settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        definitions_module: str = DEFINITIONS_MODULE,
        port: int | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.bucket = BUCKET
        self.role_arn = f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}"
        self._dagster_yaml = dagster_yaml or {}
        self._aws_settings = aws_settings or {}
        self._definitions_module = definitions_module
        aws_port = free_port()
        self.aws_url = f"http://{HOST}:{aws_port}"
        self.port = port or free_port()
        self.webserver_url = f"http://{HOST}:{self.port}"
        self.environment = {
            **local_aws_environment(self.aws_url),
            # On a busy machine a code server takes longer to answer than Dagster's 60 s, and a run start that times out
            # uses up a retry.
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
            **(environment or {}),
            URL_VARIABLE: self.webserver_url,
            "DAGSTER_HOME": str(self.directory / "dagster_home"),
        }
        self._aws: Program | None = None
        self._dagster: Program | None = None

    @property
    def aws(self) -> Program:
        """The program that is local AWS."""
        assert self._aws is not None, "not started"
        return self._aws

    @property
    def dagster(self) -> Program:
        """`dagster dev`."""
        assert self._dagster is not None, "not started"
        return self._dagster

    def start(self) -> None:
        """Start everything, and wait until requests are answered and the assets are loaded."""
        require_local_aws()
        home = Path(self.environment["DAGSTER_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text(yaml.safe_dump(instance_settings(home, self._dagster_yaml)))
        workspace = self.directory / "workspace.yaml"
        module = {"module_name": self._definitions_module, "location_name": "bedrock_batch_assets"}
        workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}))
        try:
            # At the same time: they need each other's addresses only.
            self._aws = start_local_aws(
                self.aws_url, self.directory, self.environment, settings=self._aws_settings, buckets=[self.bucket]
            )
            self._dagster = start_dagster(
                self.port, workspace, log=self.directory / "dagster.log", environment=self.environment,
                directory=self.directory,
            )  # fmt: skip
            wait_for_local_aws(self._aws, self.aws_url)
            wait_for_dagster(self._dagster, self.webserver_url)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End everything that was started, with all descendants."""
        for program in (self._dagster, self._aws):
            if program is not None:
                program.end(END_SECONDS)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        self.end()


def require_local_aws() -> None:
    """Check that local AWS can be started.

    Raises:
        ConfigurationError: The extra `local` is not installed.
    """
    require_extra("local", "moto", "The local stand-in for AWS")


def start_local_aws(
    url: str,
    directory: Path,
    environment: Mapping[str, str],
    *,
    settings: Mapping[str, Any] | None = None,
    buckets: list[str],
    data: Path | None = None,
) -> Program:
    """Start local AWS at `url`, with its role and some buckets.

    Its log and settings are in `directory`; with `data`, objects and jobs are kept there from one time to the next.

    Raises:
        ConfigurationError: The extra `local` is not installed.
    """
    import json

    require_local_aws()
    directory.mkdir(parents=True, exist_ok=True)
    settings_file = directory / "aws_settings.json"
    settings_file.write_text(json.dumps(settings or {}))
    command = [sys.executable, "-m", "bedrock_batch_assets.local_aws", "--port", url.rpartition(":")[2]]
    command += ["--settings", str(settings_file), "--region", REGION, "--role", ROLE]
    for bucket in buckets:
        command += ["--bucket", bucket]
    if data is not None:
        command += ["--data", str(data)]
    return Program("Local AWS", command, log=directory / "aws.log", environment=environment, directory=directory)


def start_dagster(port: int, workspace: Path, *, log: Path, environment: Mapping[str, str], directory: Path) -> Program:
    """Start `dagster dev` in `directory`. Its log has warnings and errors, and not each look of a sensor."""
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", str(workspace)]
    command += ["--host", HOST, "--port", str(port), "--log-level", "warning"]
    # It advises `dg dev`, which needs a project of its own kind.
    quiet = ",".join(filter(None, [environment.get("PYTHONWARNINGS"), "ignore:Function `dev_command` is superseded"]))
    environment = {**environment, "PYTHONWARNINGS": quiet}
    return Program("Dagster", command, log=log, environment=environment, directory=directory)


def wait_for_local_aws(program: Program, url: str) -> None:
    """Wait until local AWS answers.

    Raises:
        ProgramFailedError: It ended, or did not answer in time.
    """
    import requests

    def answers() -> bool:
        try:
            return requests.get(f"{url}/_local/health", timeout=5).ok
        except requests.exceptions.RequestException:
            return False

    wait_until(program, answers)


def wait_for_dagster(program: Program, url: str) -> None:
    """Wait until the webserver answers, the assets are loaded and the daemons that batches need are up.

    Raises:
        ProgramFailedError: It ended, or did not come up in time.
        DagsterRefusedError: The code location does not load.
    """
    webserver = Webserver(url)

    def answers() -> bool:
        try:
            webserver.code_location()
            return not webserver.unhealthy_daemons()
        except UnreachableError:
            return False

    try:
        wait_until(program, answers)
    except DagsterRefusedError as error:
        raise ProgramFailedError(f"{error}\nThe end of {program.log}:\n{program.tail()}") from error


def local_aws_environment(url: str) -> dict[str, str]:
    """This process's environment, with AWS pointing at local AWS and at nothing else.

    Without a price table of the person's own, the example's prices show what a batch would cost.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    no_proxy = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), HOST, "localhost"]))
    return {
        PRICES_VARIABLE: str(resources.files("bedrock_batch_assets").joinpath("examples", "prices.json")),
        **kept,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        # No profile of the person's own is used, and no instance metadata service is asked.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        BUCKET_VARIABLE: BUCKET,
        ROLE_ARN_VARIABLE: f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}",
    }


def instance_settings(home: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The project's dagster.yaml with some changes, all of its storage in `home`.

    Raises:
        ConfigurationError: A setting needs an extra that is not installed.
    """
    settings = yaml.safe_load(packaged_file("dagster.yaml").read_text())
    storage = {
        "storage": {"custom": {"config": {"base_dir": str(home / "storage")}}},
        "local_artifact_storage": {"config": {"base_dir": str(home)}},
        "compute_logs": {"config": {"base_dir": str(home / "compute_logs")}},
    }
    merged = _merged(_merged(settings, storage), changes)
    check_instance_settings(merged)
    return merged


def project_file(name: str) -> Path:
    """A file of the project folder: the working directory, or the clone that the package is in.

    Raises:
        ConfigurationError: It is in neither.
    """
    for path in (Path.cwd() / name, packaged_file(name)):
        # What is in a wheel belongs to no project.
        if path.is_file() and path.parent.name != "examples":
            return path
    raise ConfigurationError(
        f"There is no {name} here: go to the project's folder, or make one with `bedrock-batch init FOLDER`."
    )


def free_port(first: int | None = None) -> int:
    """A port of the loopback address that nobody listens on: the first from `first` on, or any."""
    if first is None:
        with socket.socket() as listening:
            listening.bind((HOST, 0))
            return int(listening.getsockname()[1])
    for port in range(first, first + 100):
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ConfigurationError(f"The ports {first} to {first + 99} are all taken: choose another with --port.")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def wait_until(program: Program, answers: Callable[[], bool]) -> None:
    """Ask until the answer is yes.

    Raises:
        ProgramFailedError: The program ended, or the answer was no for three minutes.
    """
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        program.check()
        if time.monotonic() > deadline:
            raise ProgramFailedError(
                f"{program.name} did not come up within {START_SECONDS:g} s. The end of {program.log}:\n"
                f"{program.tail()}"
            )
        time.sleep(_POLL_SECONDS)
