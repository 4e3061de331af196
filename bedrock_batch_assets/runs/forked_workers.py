"""Run workers that start warm: forks of a small process that has imported what they need, once.

Dagster's code server starts a fresh Python for each run, which spends two CPU seconds on imports before it does
anything: a minute of a core for thirty jobs. Python's own fork server imports once instead. It is a process without
threads that does nothing but fork, and Dagster's multiprocess executor offers the same as `start_method: forkserver`.
For run workers there is no such setting, so it is put into the code server here.

Nothing changes for runs that other launchers start (ECS, Kubernetes, Docker), nor where the code server is not what it
was in Dagster 1.13: then run workers start as they always did.
"""

import multiprocessing
import sys
from multiprocessing.context import BaseContext
from typing import Any

# Imported by the fork server when it starts, which it does for the first run.
PRELOADED = "bedrock_batch_assets.runs.preloaded"


def start_forked_workers() -> None:
    """If this process is a code server, let it fork its run workers. On Linux alone: elsewhere forking is not safe."""
    server = sys.modules.get("dagster._grpc.server")
    if server is None or not sys.platform.startswith("linux"):
        return
    # The server sets this attribute to the "spawn" context when it starts, before it loads any definitions. A property
    # of its class comes first all the same.
    server.DagsterApiServer._mp_ctx = property(_forking_context, _ignore)


def _forking_context(server: Any) -> BaseContext:
    del server
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def _ignore(server: Any, context: BaseContext) -> None:
    del server, context
