"""Run workers that start warm: forks of a small process that has imported what they need, once.

Dagster's code server starts a fresh Python for each run, which spends two CPU seconds on imports before it does
anything: a minute of a core for thirty jobs. Python's own fork server imports once instead. It is a process without
threads that does nothing but fork, and Dagster's multiprocess executor offers the same as `start_method: forkserver`.
For run workers there is no such setting, so it is put into the code server here.

Nothing changes for runs that other launchers start (ECS, Kubernetes, Docker), nor if the code server is not what it
was in Dagster 1.13: then run workers start as they always did.
"""

import multiprocessing
import sys
from multiprocessing.context import BaseContext

from bedrock_batch_assets.internals import dagster_internals

# Imported by the fork server when it starts, which it does for the first run.
PRELOADED = "bedrock_batch_assets.runs.preloaded"


def start_forked_workers() -> None:
    """If this process is a code server, let it fork its run workers. On Linux alone: elsewhere forking is not safe."""
    if sys.platform.startswith("linux"):
        dagster_internals.set_worker_context(_forking_context)


def _forking_context() -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context
