"""Scenarios of the first suite, side by side: each worker is a process with a stand-in of its own."""

import multiprocessing
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

from bedrock_batch_assets_tests.chaos.protocol_suite import ProtocolWorker
from bedrock_batch_assets_tests.chaos.report import Report
from bedrock_batch_assets_tests.local_aws_fixture import end_local_aws, start_local_aws


def run_in_workers(seeds: list[int], workers: int, on_report: Callable[[Report], None]) -> None:
    """Run the scenarios of some numbers, and tell of each as soon as it is over."""
    # Forked, not spawned: what is imported stays imported, and so does the fast_sleep.
    context = multiprocessing.get_context("fork")
    left = list(reversed(seeds))
    connections: list[Connection] = []
    processes = []
    for _ in range(min(workers, len(seeds))):
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker, args=(theirs,))
        process.start()
        theirs.close()
        connections.append(ours)
        processes.append(process)
    try:
        for connection in connections:
            connection.send(left.pop() if left else None)
        open_connections = list(connections)
        while open_connections:
            for ready in wait(open_connections):
                assert isinstance(ready, Connection)
                try:
                    report: Report = ready.recv()
                except EOFError:
                    open_connections.remove(ready)
                    continue
                on_report(report)
                ready.send(left.pop() if left else None)
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"workers ended with {[process.exitcode for process in processes]}")


def _worker(connection: Connection) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        aws = start_local_aws(folder)
        try:
            worker = ProtocolWorker(aws, folder)
            while (seed := connection.recv()) is not None:
                connection.send(worker.run(seed))
        except (EOFError, BrokenPipeError):
            # The other end has had enough.
            pass
        finally:
            end_local_aws(aws)
    connection.close()
