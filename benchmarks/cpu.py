"""CPU time of a program and of everything that it has started, by part: read from /proc, so on Linux alone."""

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# Of the parts of `dagster dev`, what their command lines hold; the first that fits counts. A run worker is started by
# the code server, as a process of its own or as a fork of one that has everything imported.
PARTS = (
    ("webserver", "dagster_webserver"),
    ("daemon", "dagster._daemon"),
    ("code server", "api grpc"),
    ("code server's proxy", "code-server start"),
    ("run workers", "multiprocessing"),
    ("dagster dev", "dagster dev"),
)
OTHER = "other"
_SAMPLE_SECONDS = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """CPU seconds of a process: its own, and those of children that have ended and that it has waited for."""

    pid: int
    parent: int
    own: float
    children: float


class CpuWatch:
    """Watches a session's processes from start to end of a `with` block, four times a second.

    Args:
        session: Id of the session, which is the pid of the program that leads it.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cpu", daemon=True)
        # By pid: (seconds since the epoch, CPU seconds of it and of its waited-for children).
        self._samples: dict[int, list[tuple[float, float]]] = {}
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Start watching."""
        self._before = self._by_part()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()
        self._after = self._by_part()

    @property
    def seconds(self) -> dict[str, float]:
        """CPU seconds that each part used during the block. What a code server has waited for were run workers."""
        return {part: used - self._before.get(part, 0.0) for part, used in self._after.items()}

    def seconds_of(self, pid: int, until: float) -> float | None:
        """CPU seconds that a process had used by `until` (seconds since the epoch), None if it was never seen."""
        found = [used for when, used in self._samples.get(pid, []) if when <= until]
        return found[-1] if found else None

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            now = time.time()
            for times in session_times(self._session):
                self._samples.setdefault(times.pid, []).append((now, times.own + times.children))

    def _by_part(self) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for times in session_times(self._session):
            part = part_of(times.pid)
            total[part] += times.own
            total["run workers" if part in {"code server", "run workers"} else part] += times.children
        return total


def part_of(pid: int) -> str:
    """Which part of Dagster a process is."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return OTHER
    return next((part for part, mark in PARTS if mark in line), OTHER)


def session_times(session: int) -> list[ProcessTimes]:
    """The CPU times of all processes of a session."""
    found: list[ProcessTimes] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        # proc(5): pid (command) state ppid pgrp session …; utime, stime, cutime, cstime are fields 14 to 17.
        fields = text.rpartition(")")[2].split()
        if int(fields[3]) == session:
            used = [int(ticks) / _TICKS for ticks in fields[11:15]]
            found.append(ProcessTimes(int(folder.name), int(fields[1]), used[0] + used[1], used[2] + used[3]))
    return found
