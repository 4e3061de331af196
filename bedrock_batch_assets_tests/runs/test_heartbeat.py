"""Signs of life: which runs count as dead, and which do not, whatever happens to databases, sensors and clocks."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.runs import heartbeat
from bedrock_batch_assets.runs.heartbeat import (
    BEAT_SECONDS,
    DEAD_AFTER_SECONDS,
    DEAD_WITHOUT_BEAT_SECONDS,
    Beat,
    beat_key,
    beating,
    dead_runs,
    is_alive,
    keep_beating,
    last_beat,
    last_beats,
    this_process,
)
from bedrock_batch_assets.sensors.orphans import end_dead_runs
from bedrock_batch_assets_tests.local_aws_fixture import wait_until

TICK_SECONDS = 10
ONE_RUN = {"run": DEAD_AFTER_SECONDS}
ELSEWHERE = Beat(host="elsewhere", pid=1, started="1", at=0.0, boot="another", pid_namespace="pid:[1]")


class _Values:
    """The small values that an instance keeps, and nothing else: a SQLite database takes a hundred times as long."""

    def __init__(self) -> None:
        self.run_storage = self
        self._values: dict[str, str] = {}

    def set_cursor_values(self, pairs: dict[str, str]) -> None:
        self._values |= pairs

    def get_cursor_values(self, keys: set[str]) -> dict[str, str]:
        return {key: self._values[key] for key in keys if key in self._values}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each read of the instance's small values asked for."""
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

    asked: list[int] = []
    read = SqlRunStorage.get_cursor_values

    def counted(self: SqlRunStorage, keys: set[str]) -> object:
        asked.append(len(keys))
        return read(self, keys)

    monkeypatch.setattr(SqlRunStorage, "get_cursor_values", counted)
    return asked


def leave(instance: dg.DagsterInstance, run_id: str, beat: Beat) -> None:
    instance.run_storage.set_cursor_values({beat_key(run_id): msgspec.json.encode(beat).decode()})


def ticks(instance: dg.DagsterInstance, *, start: float, seconds: float, runs: Sequence[str] = ("run",)) -> set[str]:
    """What is dead after looks every ten seconds, the last one included."""
    dead: set[str] = set()
    for second in range(0, int(seconds) + 1, TICK_SECONDS):
        dead |= dead_runs(instance, dict.fromkeys(runs, DEAD_AFTER_SECONDS), start + second)
    return dead


def test_beats_of_many_runs_are_read_five_hundred_at_a_time(queries: list[int]) -> None:
    """A database's limit on values in a query is kept, and only runs that have left a beat are in the answer."""
    names = [f"run-{number}" for number in range(1100)]
    with dg.DagsterInstance.ephemeral() as instance:
        for name in (names[0], names[-1]):
            with beating(instance, name):
                pass
        assert set(last_beats(instance, names)) == {names[0], names[-1]}
    assert queries == [500, 500, 100]


def test_all_running_runs_are_looked_at_with_three_queries(queries: list[int]) -> None:
    """What a tick of the sensor costs does not grow by a query for each run that waits."""
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(30):
            tags = {"bedrock/batch": "demo", "bedrock/partition": f"demo-{number:05d}"}
            run = dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags)
            instance.run_storage.add_run(run)
        end_dead_runs(instance, 0.0)
    # Which of them are parked, the beats of all, and what the last look saw.
    assert queries == [30, 30, 1]


def test_a_run_leaves_a_beat_at_once(instance: dg.DagsterInstance) -> None:
    """The first beat is there when the body of an asset begins, and names the process as the system knows it."""
    with beating(instance, "run"):
        beat = last_beat(instance, "run")
    assert beat is not None
    assert msgspec.structs.replace(beat, at=0.0) == this_process(0.0)
    assert is_alive(beat)


def test_beats_go_on_after_writes_that_failed(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away, or any other error, costs beats; when it is back, the next one is written."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "RETRY_SECONDS", 0.01)
    write = heartbeat._write
    errors: list[Exception] = [OSError(28, "No space left on device"), RuntimeError("whatever")]
    written = threading.Event()

    def failing(*arguments: Any) -> None:
        if threading.current_thread().name == "heartbeat" and errors:
            raise errors.pop()
        write(*arguments)
        if threading.current_thread().name == "heartbeat":
            written.set()

    monkeypatch.setattr(heartbeat, "_write", failing)
    with beating(instance, "run"):
        assert written.wait(20)
    assert not errors


def test_a_run_that_waits_to_try_a_step_again_beats_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries no asset's body runs, for up to two minutes: longer than a process may be silent."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    # In files: threads wait for each other's locks there, and not in a database in memory.
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        keep_beating(instance, "run", 5.0)
        wait_until(lambda: last_beat(instance, "run") is not None)


def test_a_process_elsewhere_is_dead_when_its_beat_has_not_changed_for_ninety_seconds(
    instance: dg.DagsterInstance,
) -> None:
    """It is alive while beats come, and dead when none has come for a minute and a half of looking."""
    leave(instance, "run", ELSEWHERE)
    assert ticks(instance, start=1000.0, seconds=DEAD_AFTER_SECONDS - TICK_SECONDS) == set()
    leave(instance, "run", msgspec.structs.replace(ELSEWHERE, at=60.0))
    assert ticks(instance, start=1090.0, seconds=DEAD_AFTER_SECONDS - TICK_SECONDS) == set()
    assert dead_runs(instance, ONE_RUN, 1180.0) == {"run"}


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 900.0], ids=["forward", "back", "outage"])
def test_a_clock_that_jumps_and_an_outage_end_no_run(instance: dg.DagsterInstance, jump: float) -> None:
    """If the looks were interrupted, or seem so because a clock was set, nothing of that counts."""
    leave(instance, "run", ELSEWHERE)
    assert ticks(instance, start=10_000.0, seconds=60) == set()
    assert ticks(instance, start=10_060.0 + jump, seconds=20) == set()
    assert ticks(instance, start=10_090.0 + jump, seconds=DEAD_AFTER_SECONDS) == {"run"}


def test_a_database_that_comes_and_goes_ends_no_run(instance: dg.DagsterInstance) -> None:
    """If the sensor meets the database now and then, and the run does not, that is no sign."""
    leave(instance, "run", ELSEWHERE)
    looks = [number * 110.0 for number in range(9)]
    assert [dead_runs(instance, ONE_RUN, look) for look in looks] == [set()] * 9


def test_a_clock_that_is_wrong_elsewhere_ends_no_run(instance: dg.DagsterInstance) -> None:
    """The beats of a host whose clock is an hour off, either way, are signs of life like any others."""
    for wrong in (-3600.0, 3600.0):
        for minute in range(12):
            leave(instance, "run", msgspec.structs.replace(ELSEWHERE, at=minute * 60.0 + wrong))
            assert ticks(instance, start=minute * 60.0, seconds=50) == set()


@settings(max_examples=100, deadline=None)
@given(
    outages=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900)), max_size=4),
    jumps=st.lists(st.tuples(st.integers(0, 3000), st.integers(-7200, 7200)), max_size=3),
    off=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1200)), max_size=2),
    ends_at=st.integers(0, 3000),
)
def test_only_dead_runs_are_dead(
    outages: list[tuple[int, int]], jumps: list[tuple[int, int]], off: list[tuple[int, int]], ends_at: int
) -> None:
    """Whatever happens to the database, the sensor and its clock, a live run is never dead; a dead one is found.

    Outages and times without a sensor are (second, seconds), jumps of the sensor's clock (second, seconds). The dead
    run's process ends at `ends_at`; two minutes after the last disturbance it has been found, or five if it has left no
    beat at all.
    """
    away = {second for start, length in outages for second in range(start, start + length)}
    unwatched = {second for start, length in off for second in range(start, start + length)}
    calm_since = max([ends_at, *away, *unwatched, *(second for second, _ in jumps)])
    dead: set[str] = set()
    instance: Any = _Values()
    due = 0
    found_by = calm_since + 3 * TICK_SECONDS + int(DEAD_WITHOUT_BEAT_SECONDS)
    for second in range(found_by):
        if second >= due and second not in away:
            beat = msgspec.structs.replace(ELSEWHERE, at=float(second))
            leave(instance, "live", beat)
            if second <= ends_at:
                leave(instance, "dead", beat)
                found_by = calm_since + 3 * TICK_SECONDS + int(DEAD_AFTER_SECONDS)
            due = second + int(BEAT_SECONDS)
        elif second >= due:
            # A try takes the database's driver twelve seconds, and then there is a pause.
            due = second + 17
        if second % TICK_SECONDS == 0 and second not in away and second not in unwatched:
            clock = second + sum(jump for at, jump in jumps if at <= second)
            dead |= dead_runs(instance, {"live": DEAD_AFTER_SECONDS, "dead": DEAD_AFTER_SECONDS}, 1_000_000.0 + clock)
            assert "live" not in dead
            assert second > ends_at or "dead" not in dead
            assert second < found_by or "dead" in dead
    assert dead == {"dead"}


def test_beats_of_earlier_releases_are_read_and_count_by_age(instance: dg.DagsterInstance) -> None:
    """A beat that names neither boot nor namespace is no reason to look a number up, if this system has both."""
    mine = this_process(5.0)
    text = msgspec.json.encode({"host": mine.host, "pid": mine.pid, "started": "1", "at": 5.0}).decode()
    instance.run_storage.set_cursor_values({beat_key("run"): text})
    beat = last_beat(instance, "run")
    assert beat == Beat(host=mine.host, pid=mine.pid, started="1", at=5.0)
    assert is_alive(beat) is (None if mine.boot else False)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"pid_namespace": "pid:[1]"}, {"host": "another"}])
def test_another_system_is_not_looked_up(change: dict[str, str]) -> None:
    """A number means nothing in another boot, namespace or host: that process may live, and may not."""
    gone = msgspec.structs.replace(this_process(0.0), started="1")
    assert is_alive(gone) is False
    assert is_alive(msgspec.structs.replace(gone, **change)) is None


def test_a_number_given_to_another_process_is_not_the_same_process() -> None:
    """A recycled process id with another start time is a dead run, not a living one."""
    mine = this_process(0.0)
    assert is_alive(mine) is True
    assert is_alive(msgspec.structs.replace(mine, started="1")) is False


@pytest.mark.parametrize("options", [(), ("--mount-proc",)], ids=["the host's /proc", "its own /proc"])
def test_a_process_of_another_pid_namespace(instance: dg.DagsterInstance, options: tuple[str, ...]) -> None:
    """A live process with this host's name and its own process numbers, as in a container, is not dead: it is unknown.

    From inside, it knows itself only if its /proc is its own; else it looks nothing up.
    """
    script = (
        "import sys, time, msgspec; from bedrock_batch_assets.runs.heartbeat import is_alive, this_process; "
        "beat = this_process(time.time()); "
        "print(msgspec.json.encode((beat, is_alive(beat))).decode(), flush=True); sys.stdin.read()"
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("There is no program unshare (util-linux): a process of another PID namespace needs it.")
    command = [unshare, "--pid", "--fork", *options, sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            assert worker.stderr is not None
            pytest.skip(f"No PID namespace can be made here, which root may: {worker.stderr.read().decode()}")
        beat, sees_itself = msgspec.json.decode(line, type=tuple[Beat, bool | None])
        assert (beat.host, beat.boot) == (this_process(0.0).host, this_process(0.0).boot)
        assert beat.pid == 1
        assert sees_itself is (True if options else None)
        leave(instance, "run", beat)
        assert dead_runs(instance, ONE_RUN, 1000.0) == set()
        assert ticks(instance, start=1000.0, seconds=DEAD_AFTER_SECONDS) == {"run"}
        worker.communicate()


def test_a_zombie_is_dead() -> None:
    """A process that has ended, and that nobody has waited for, still has its number and its start time."""
    script = (
        "import sys, msgspec; from bedrock_batch_assets.runs.heartbeat import this_process; "
        "print(msgspec.json.encode(this_process(0)).decode(), flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    beat = msgspec.json.decode(worker.stdout.readline(), type=Beat)
    assert is_alive(beat) is True
    worker.kill()
    wait_until(lambda: is_alive(beat) is False)
    worker.communicate()
