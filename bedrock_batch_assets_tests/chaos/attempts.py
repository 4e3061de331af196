"""Attempts: an asset's own code in a process of its own, which may be killed at any of its requests to AWS.

The process is forked from one that has everything imported, and killed by SIGKILL from inside, exactly at the request
that the schedule names. What runs are the functions behind the assets, with a context that is not Dagster's: starting
Dagster would take ten times as long as the work.
"""

import inspect
import itertools
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore
import dagster as dg

from bedrock_batch_assets.assets.batch_job_outputs import JobConfig, batch_job_outputs
from bedrock_batch_assets.assets.input_dataset import input_dataset
from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
from bedrock_batch_assets.assets.result_parts import result_parts
from bedrock_batch_assets.assets.result_table import result_table
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.tags import BATCH_TAG
from bedrock_batch_assets_tests.chaos.schedules import Crash

CHUNK_STEPS = ("jsonl_chunks", "batch_job_outputs", "result_parts")
_ASSETS = {
    asset.key.path[-1]: asset for asset in (input_dataset, jsonl_chunks, batch_job_outputs, result_parts, result_table)
}
_DONE, _REFUSED, _BROKEN = 0, 3, 4


class Trigger:
    """Counts this process's requests to AWS and kills it at one of them."""

    def __init__(self) -> None:
        self._crash: Crash | None = None
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        botocore.register_initializer(self._watch)

    def set(self, crash: Crash | None) -> None:
        """Kill this process at `crash`, counted from now on."""
        self._crash = crash
        self._seen.clear()

    def _watch(self, session: Any) -> None:
        session.register("before-send", lambda event_name, **_: self._pass("before", event_name))
        session.register("response-received", lambda event_name, **_: self._pass("after", event_name))

    def _pass(self, when: str, event_name: str) -> None:
        crash = self._crash
        if crash is None or crash.when != when:
            return
        operation = event_name.rpartition(".")[2]
        with self._lock:
            self._seen.update(("*", operation))
            if self._seen[crash.operation] >= crash.nth:
                os.kill(os.getpid(), signal.SIGKILL)


class _Instance:
    """What the assets use of an instance. It is gone with its process: nothing is to depend on it."""

    def get_ref(self) -> Any:
        """No run launcher is named, so no run is parked."""
        return SimpleNamespace(run_launcher_data=None)

    def __init__(self) -> None:
        self.run_storage = self.event_log_storage = self
        self._values: dict[str, str] = {}
        self._partitions: dict[str, list[str]] = {}

    def set_cursor_values(self, pairs: dict[str, str]) -> None:
        self._values |= pairs

    def get_cursor_values(self, keys: set[str]) -> dict[str, str]:
        return {key: self._values[key] for key in keys if key in self._values}

    def add_run_tags(self, run_id: str, tags: dict[str, str]) -> None:
        del run_id, tags

    def get_dynamic_partitions(self, name: str) -> list[str]:
        return self._partitions.get(name, [])

    def add_dynamic_partitions(self, name: str, keys: Sequence[str]) -> None:
        self._partitions.setdefault(name, []).extend(keys)

    def delete_dynamic_partition(self, name: str, key: str) -> None:
        self._partitions[name].remove(key)

    def has_dynamic_partition(self, name: str, key: str) -> bool:
        return key in self._partitions.get(name, [])

    def get_backfills(self, **_: Any) -> list[Any]:
        return []

    def get_run_records(self, **_: Any) -> list[Any]:
        return []

    # It is gone with its process, so it knows no events of others.
    def fetch_materializations(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(records=[])

    def get_latest_tags_by_partition(self, *_: Any, **__: Any) -> dict[str, dict[str, str]]:
        return {}

    # It has no queue, and says so.
    run_coordinator = None

    def get_concurrency_config(self) -> Any:
        return SimpleNamespace(run_queue_config=None)


@dataclass(frozen=True)
class _Run:
    run_id: str
    root_run_id: str | None = None
    # As a coordinator leaves it.
    tags: Mapping[str, str] = field(default_factory=lambda: {BATCH_TAG: "chaos"})


class _Log:
    def __init__(self, log: Path) -> None:
        self._log = log

    def info(self, text: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{time.time():.3f} {os.getpid()} {text}\n")

    warning = error = info


@dataclass(frozen=True)
class _Context:
    partition_keys: list[str]
    log: _Log
    retry_number: int = 0
    instance: _Instance = field(default_factory=_Instance)
    run: _Run = field(default_factory=lambda: _Run(str(os.getpid())))


@dataclass(frozen=True)
class Task:
    """Some assets of one partition, in order, with the resources that they name."""

    partition: str
    steps: tuple[str, ...]
    resources: dict[str, Any]
    request: dict[str, Any] = field(default_factory=dict)


@dataclass
class Attempt:
    """One process at work on a task, from the step number `first` on."""

    task: Task
    first: int
    pid: int
    pipe: int
    _text: bytes = b""

    @classmethod
    def start(cls, task: Task, first: int, crash: Crash | None, trigger: Trigger, log: Path) -> "Attempt":
        """Fork the process."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            code = _BROKEN
            try:
                code = _work(task, first, crash, trigger, log, lambda text: os.write(writing, text.encode()))
            finally:
                # No handlers, no buffers of the parent.
                os._exit(code)
        os.close(writing)
        return cls(task, first, pid, reading)

    def poll(self) -> "Outcome | None":
        """How it ended, or None as long as it lives."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return None if pid == 0 else self._outcome(status)

    def kill(self) -> "Outcome":
        """Kill it."""
        os.kill(self.pid, signal.SIGKILL)
        return self._outcome(os.waitpid(self.pid, 0)[1])

    def _outcome(self, status: int) -> "Outcome":
        text = b""
        while piece := os.read(self.pipe, 65536):
            text += piece
        os.close(self.pipe)
        done, _, reason = text.decode(errors="replace").partition("!")
        if os.WIFSIGNALED(status):
            return Outcome("killed", self.first + done.count("."), "")
        kinds = {_DONE: "done", _REFUSED: "refused"}
        return Outcome(kinds.get(os.WEXITSTATUS(status), "broken"), self.first + done.count("."), reason)


@dataclass(frozen=True)
class Outcome:
    """How a process ended: `done`, `killed`, `refused` (an error for a person) or `broken` (any other error).

    `steps` is the number of steps that are done, with those before it.
    """

    kind: str
    steps: int
    reason: str


def _work(
    task: Task, first: int, crash: Crash | None, trigger: Trigger, log: Path, tell: Callable[[str], object]
) -> int:
    trigger.set(crash)
    context = _Context([task.partition], _Log(log))
    for step in task.steps[first:]:
        try:
            _materialize(step, context, task)
        except dg.Failure as failure:
            tell(f"!{step}: {failure.description}")
            return _REFUSED
        except Exception:  # noqa: BLE001  # whatever it is, the parent is told
            tell(f"!{step}: {traceback.format_exc()}")
            return _BROKEN
        tell(".")
    return _DONE


def _materialize(step: str, context: _Context, task: Task) -> None:
    function: Any = _ASSETS[step].op.compute_fn.decorated_fn  # type: ignore[union-attr]
    config = BatchRequest(**task.request) if step == "input_dataset" else JobConfig()
    given = {"context": context, "config": config, **task.resources}
    arguments = {name: given[name] for name in inspect.signature(function).parameters}
    for retry in itertools.count():
        try:
            function(**arguments | {"context": replace(context, retry_number=retry)})
        except dg.RetryRequested as request:
            # As Dagster does it.
            if retry == request.max_retries:
                raise
            time.sleep(request.seconds_to_wait or 0)
        else:
            return
