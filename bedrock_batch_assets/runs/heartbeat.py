"""Heartbeats of a run's process, which tell a run that waits from a run whose process is gone.

Dagster's default run launcher cannot be asked whether a run's process lives, and when the code server dies with it,
nothing notices. So each run writes a beat into the instance: which process of which system, and when. If that system's
processes can be seen from here, the process itself is looked at. All others count as dead when their beats have not
changed for more than a minute.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bedrock_batch_assets.internals import dagster_internals
from bedrock_batch_assets.runs.database import outlast_outages, without_waiting

if TYPE_CHECKING:
    from dagster import DagsterInstance

# A beat is one small write. Four times as many as in a minute shorten the time until a dead container's runs go on.
BEAT_SECONDS = 15.0
# The pause after a beat that could not be written, so that the next beat comes soon after the database is back.
RETRY_SECONDS = 5.0
# Old versions of SQLite take 999 values in a query (sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER).
_RUNS_PER_QUERY = 500
# Six beats missed, in as many looks as fit. A database that comes back meets a process that tries every 17 s at least.
DEAD_AFTER_SECONDS = 6 * BEAT_SECONDS
# A run without any beat has begun and has not reached its first asset yet, which takes a while on a busy machine.
DEAD_WITHOUT_BEAT_SECONDS = 300.0
# At most so much of the time between two looks counts. The sensor looks every 10 s, on a busy machine every 30 s.
LONGEST_GAP_SECONDS = 30.0
# After a longer time between two looks, counting starts again: the database or the sensor was away, or a clock was set,
# and beats may be missing for that reason.
INTERRUPTION_SECONDS = 60.0
_WATCH_KEY = "bedrock_batch_heartbeat_watch"
_NO_BEAT = -1.0

_log = logging.getLogger(__name__)


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat. `started` tells a process from a later one with the same number.

    A number means a process only among those of one PID namespace (pid_namespaces(7)) of one boot of one kernel:
    containers can share a host name and still have their own. Beats of earlier releases name neither.
    """

    host: str
    pid: int
    started: str
    at: float
    boot: str = ""
    pid_namespace: str = ""


class _Watch(msgspec.Struct):
    """When beats were last looked at, and for each run the time in its beat and for how long it was unchanged, in s."""

    looked_at: float
    beats: dict[str, tuple[float, float]]


def this_process(now: float) -> Beat:
    """A beat of the process that calls."""
    host, boot, pid_namespace = _this_system()
    pid = os.getpid()
    return Beat(host=host, pid=pid, started=_started("self") or "", at=now, boot=boot, pid_namespace=pid_namespace)


@contextmanager
def beating(instance: "DagsterInstance", run_id: str) -> Iterator[None]:
    """Write a beat now, and one every 15 s in a thread until the block ends.

    The first beat waits for the database. The others are skipped while it is away.
    """
    ended = threading.Event()

    def beat() -> None:
        seconds = BEAT_SECONDS
        while not ended.wait(seconds):
            seconds = BEAT_SECONDS if _try_to_write(instance, run_id) else RETRY_SECONDS

    outlast_outages(instance)
    _write(instance, run_id)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def keep_beating(instance: "DagsterInstance", run_id: str, seconds: float) -> None:
    """Go on beating for so many seconds, while the process waits outside of `beating` to try a step again."""
    until = time.monotonic() + seconds

    def beat() -> None:
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(BEAT_SECONDS, left))
            if left > BEAT_SECONDS:
                _try_to_write(instance, run_id)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


def last_beat(instance: "DagsterInstance", run_id: str) -> Beat | None:
    """The run's last beat, or None if it has none."""
    return last_beats(instance, [run_id]).get(run_id)


def last_beats(instance: "DagsterInstance", run_ids: Sequence[str]) -> dict[str, Beat]:
    """The last beats of the runs that have one, by run id; one query for each 500 runs."""
    found: dict[str, Beat] = {}
    for first in range(0, len(run_ids), _RUNS_PER_QUERY):
        by_key = {beat_key(run_id): run_id for run_id in run_ids[first : first + _RUNS_PER_QUERY]}
        for key, text in dagster_internals.read_values(instance, by_key).items():
            if text:
                found[by_key[key]] = msgspec.json.decode(text, type=Beat)
    return found


def dead_runs(instance: "DagsterInstance", longest_silence: Mapping[str, float], now: float) -> set[str]:
    """Those of the runs whose process is gone, as far as can be told from here.

    A process is looked up if that can be done from here. For all others the beat must have stayed the same for so long
    (for a run that has left none yet: 5 minutes at least) in which this function was called again and again: it goes by
    what it has seen, and not by what clocks say. So a database that was away, a sensor that was off, and clocks that
    were set or disagree end no run.

    Args:
        instance: Has the beats, and keeps what was seen.
        longest_silence: By run id, the seconds for which its beat may stay the same.
        now: Seconds since the epoch.
    """
    beats = last_beats(instance, list(longest_silence))
    lives = {run_id: is_alive(beats[run_id]) if run_id in beats else None for run_id in longest_silence}
    unknown = {
        run_id: beats[run_id].at if run_id in beats else _NO_BEAT for run_id, alive in lives.items() if alive is None
    }
    silence = _silence(instance, unknown, now) if unknown else {}
    limits = {
        run_id: seconds if run_id in beats else max(seconds, DEAD_WITHOUT_BEAT_SECONDS)
        for run_id, seconds in longest_silence.items()
    }
    return {
        run_id
        for run_id, alive in lives.items()
        if alive is False or (alive is None and silence[run_id] >= limits[run_id])
    }


def is_alive(beat: Beat) -> bool | None:
    """Whether the process that left the beat still runs; None if it cannot be looked up from here."""
    if (beat.host, beat.boot, beat.pid_namespace) != _this_system() or not _sees_processes():
        return None
    return _started(str(beat.pid)) == beat.started


def beat_key(run_id: str) -> str:
    """The key of the run's beat in the instance."""
    return f"bedrock_batch_heartbeat/{run_id}"


def _silence(instance: "DagsterInstance", beats: Mapping[str, float], now: float) -> dict[str, float]:
    """For how many seconds each of the beats has been seen to stay the same, this look included."""
    watch = _last_watch(instance) or _Watch(now, {})
    gap = max(0.0, now - watch.looked_at)
    if gap > INTERRUPTION_SECONDS:
        watch = _Watch(now, {})
    passed = min(gap, LONGEST_GAP_SECONDS)
    seen: dict[str, tuple[float, float]] = {}
    for run_id, at in beats.items():
        before, seconds = watch.beats.get(run_id, (at, -passed))
        seen[run_id] = (at, seconds + passed if before == at else 0.0)
    text = msgspec.json.encode(_Watch(now, seen)).decode()
    dagster_internals.write_values(instance, {_WATCH_KEY: text})
    return {run_id: seconds for run_id, (_, seconds) in seen.items()}


def _last_watch(instance: "DagsterInstance") -> _Watch | None:
    text = dagster_internals.read_values(instance, {_WATCH_KEY}).get(_WATCH_KEY)
    try:
        return msgspec.json.decode(text, type=_Watch) if text else None
    except msgspec.DecodeError:
        return None


def _try_to_write(instance: "DagsterInstance", run_id: str) -> bool:
    try:
        with without_waiting():
            _write(instance, run_id)
    except Exception as error:  # noqa: BLE001  # whatever it is, the run lives and the next beat is to say so
        _log.warning("The run's sign of life could not be written: %s", error)
        return False
    return True


def _write(instance: "DagsterInstance", run_id: str) -> None:
    beat = msgspec.json.encode(this_process(time.time())).decode()
    dagster_internals.write_values(instance, {beat_key(run_id): beat})


def _this_system() -> tuple[str, str, str]:
    """What must be equal for a process number to mean the same process: host name, boot and PID namespace.

    Boot and namespace are empty if there is no /proc (macOS, which has no such namespaces).
    """
    return socket.gethostname(), *_boot_and_namespace(os.getpid())


@cache
def _boot_and_namespace(pid: int) -> tuple[str, str]:
    del pid
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "", ""


def _sees_processes() -> bool:
    """Whether process numbers can be looked up: /proc may lack parts, or show another namespace."""
    if not Path("/proc/self/stat").exists():
        return True
    return all(_boot_and_namespace(os.getpid())) and str(Path("/proc/self").readlink()) == str(os.getpid())


def _started(pid: str) -> str | None:
    """When a process of this system started, in its kernel's own terms; None if there is no such process.

    If there is no /proc (macOS), this says only whether there is one.

    Args:
        pid: Its number, or `self`.
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "" if pid == "self" or _exists(int(pid)) else None
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
