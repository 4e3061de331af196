"""Signs of life of a run's process, so that a run whose process is gone can be told from one that waits.

Dagster's default run launcher cannot be asked whether a run's process lives, and when the code server dies with it,
nobody notices. So each run leaves a beat in the instance: which process on which host, and when. On the same host the
process itself is looked at; for others a beat that is too old counts as dead.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bedrock_batch_assets.internals import dagster_internals

if TYPE_CHECKING:
    from dagster import DagsterInstance

BEAT_SECONDS = 60.0
# SQLite takes 999 values in a query where it is old (sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER).
_RUNS_PER_QUERY = 500
# Five beats missed. A process on another host can be slow or cut off from the database for a while.
DEAD_AFTER_SECONDS = 5 * BEAT_SECONDS


class Beat(msgspec.Struct, frozen=True):
    """A sign of life: `started` tells a process from a later one that was given the same number."""

    host: str
    pid: int
    started: str
    at: float


def this_process(now: float) -> Beat:
    """A beat of the process that calls."""
    pid = os.getpid()
    return Beat(host=socket.gethostname(), pid=pid, started=_started(pid) or "", at=now)


@contextmanager
def beating(instance: "DagsterInstance", run_id: str) -> Iterator[None]:
    """Leave a beat now and every minute until the block ends, in a thread of its own."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            _write(instance, run_id)

    _write(instance, run_id)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def last_beat(instance: "DagsterInstance", run_id: str) -> Beat | None:
    """The run's last sign of life, or None if it has left none."""
    return last_beats(instance, [run_id]).get(run_id)


def last_beats(instance: "DagsterInstance", run_ids: Sequence[str]) -> dict[str, Beat]:
    """The last signs of life of those runs that have left any, by run id: a query for each 500."""
    found: dict[str, Beat] = {}
    for first in range(0, len(run_ids), _RUNS_PER_QUERY):
        by_key = {beat_key(run_id): run_id for run_id in run_ids[first : first + _RUNS_PER_QUERY]}
        for key, text in dagster_internals.read_values(instance, by_key).items():
            if text:
                found[by_key[key]] = msgspec.json.decode(text, type=Beat)
    return found


def is_alive(beat: Beat, now: float) -> bool:
    """Whether the process that left the beat still runs, as far as can be told from here.

    Args:
        beat: Its last.
        now: Seconds since the epoch.
    """
    if beat.host == socket.gethostname():
        return _started(beat.pid) == beat.started
    return now - beat.at < DEAD_AFTER_SECONDS


def _write(instance: "DagsterInstance", run_id: str) -> None:
    beat = msgspec.json.encode(this_process(time.time())).decode()
    dagster_internals.write_values(instance, {beat_key(run_id): beat})


def beat_key(run_id: str) -> str:
    """Under which name the instance keeps the run's beat."""
    return f"bedrock_batch_heartbeat/{run_id}"


def _started(pid: int) -> str | None:
    """When a process of this host started, in its kernel's own terms; None if there is no such process.

    Where there is no /proc (macOS), only whether there is one.
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "" if _exists(pid) else None
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # proc(5): after the name come the state (field 3) and, as field 22, the start time in clock ticks since boot.
    return None if fields[0] in {"Z", "X"} else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
