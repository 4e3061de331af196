"""Run workers that are forks: what they are forks of, and that a code server makes them."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux alone")


def output_of(script: str) -> Any:
    """What a script prints, as JSON, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    return json.loads(done.stdout)


def test_what_is_forked_has_no_threads_and_nothing_that_no_chunk_needs() -> None:
    """The process that run workers are forks of has one thread, no pandas or datasets, and an unchanged environment."""
    threads, heavy, changed = output_of(
        "import json, os, sys; before = dict(os.environ); import bedrock_batch_assets.runs.preloaded; "
        "heavy = [name for name in ('pandas', 'datasets', 'moto', 'dagster_webserver') if name in sys.modules]; "
        "print(json.dumps([len(os.listdir('/proc/self/task')), heavy, before != dict(os.environ)]))"
    )
    assert (threads, heavy, changed) == (1, [], False)


def test_a_code_server_forks_its_workers_with_everything_imported() -> None:
    """A worker is no child of the code server, but of a process that has the assets and boto3 imported already."""
    parent, server, imported = output_of("""
import json, os
from multiprocessing import get_context
import dagster._grpc.server
from bedrock_batch_assets.definitions import defs
from bedrock_batch_assets_tests.runs.test_forked_workers import tell

server = object.__new__(dagster._grpc.server.DagsterApiServer)
server._mp_ctx = get_context("spawn")
defs()
queue = server._mp_ctx.Queue()
worker = server._mp_ctx.Process(target=tell, args=[queue])
worker.start()
parent, imported = queue.get(timeout=60)
worker.join()
print(json.dumps([parent, os.getpid(), imported]))
""")
    assert parent != server
    assert imported == ["bedrock_batch_assets.assets.batch_job_outputs", "boto3", "pyarrow"]


def tell(queue: Any) -> None:
    """Say whose child this process is, and what it finds imported."""
    import os

    names = ("bedrock_batch_assets.assets.batch_job_outputs", "boto3", "pyarrow")
    queue.put((os.getppid(), [name for name in names if name in sys.modules]))


def test_dagsters_code_server_starts_workers_the_way_that_is_changed() -> None:
    """The attribute that is replaced is the one by which the server starts run workers."""
    from dagster._grpc.server import DagsterApiServer

    assert "self._mp_ctx.Process(" in inspect.getsource(DagsterApiServer.StartRun)


def test_other_processes_are_left_alone() -> None:
    """If no code server is, as in a container of another launcher, loading the definitions imports none."""
    script = (
        "import json, sys; from bedrock_batch_assets.definitions import defs; defs(); "
        "print(json.dumps('dagster._grpc.server' in sys.modules))"
    )
    assert output_of(script) is False
