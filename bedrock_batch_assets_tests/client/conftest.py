"""A real Dagster webserver with the project's assets, and no daemon: what is launched stays queued."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
import yaml

from bedrock_batch_assets.client.webserver import UnreachableError, Webserver
from bedrock_batch_assets.local.local_platform import DEFINITIONS_MODULE, HOST, free_port, instance_settings, wait_until
from bedrock_batch_assets.local.processes import Program


@dataclass(frozen=True)
class QuietDagster:
    """The webserver, and the instance that it shows, to put events into."""

    webserver: Webserver
    instance: dg.DagsterInstance


@pytest.fixture(scope="package")
def quiet_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuietDagster]:
    """One webserver for the tests of this folder; each takes batch names of its own."""
    import sys

    folder = tmp_path_factory.mktemp("quiet_dagster")
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance_settings(home, {})))
    workspace = folder / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": DEFINITIONS_MODULE}]}))
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "--host", HOST, "--port", str(port), "-w", str(workspace)]
    environment = {**os.environ, "DAGSTER_HOME": str(home), "NO_PROXY": HOST}
    program = Program("The webserver", command, log=folder / "log", environment=environment, directory=folder)
    webserver = Webserver(f"http://{HOST}:{port}")
    try:
        wait_until(program, _answers(webserver))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield QuietDagster(webserver, instance)
    finally:
        program.end(10.0)


def _answers(webserver: Webserver) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            webserver.code_location()
        except UnreachableError:
            return False
        return True

    return answers
