"""A launcher that cannot launch: how often it is asked, and what people read of it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from bedrock_batch_assets import run_coordinator
from bedrock_batch_assets.runs.launches import LONGEST_WAIT_SECONDS, wait_seconds
from bedrock_batch_assets_tests.dagster_in_process import InProcessDagster, in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

# As ECS says it.
NO_CAPACITY = "RESOURCE:MEMORY: no container instance met all of its requirements."


class Timers:
    """`threading.Timer` with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[[], object]]] = []
        monkeypatch.setattr(run_coordinator, "threading", self)

    def Timer(self, seconds: float, function: Callable[[], object]) -> threading.Thread:  # noqa: N802
        """A timer that `advance` calls."""
        self._due.append((self.now + seconds, function))
        return threading.Thread()

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        for item in [item for item in self._due if item[0] <= self.now]:
            self._due.remove(item)
            item[1]()


@pytest.fixture
def platform(local_aws: LocalAws, tmp_path: Path) -> Iterator[InProcessDagster]:
    # The time that Dagster gives a run to start is the project's own.
    with in_process_dagster(local_aws, tmp_path) as running:
        yield running


def second(platform: InProcessDagster, timers: Timers) -> None:
    """One second of the daemons that launch runs, and launch them again."""
    platform.dequeue()
    platform.retry()
    timers.advance(1.0)


def test_a_launcher_that_fails_is_asked_ever_more_rarely(
    platform: InProcessDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times in the first minute, then every two minutes at most; when it works again, the batch goes on."""
    timers = Timers(monkeypatch)
    platform.read_input("demo", 100)
    platform.sensors()
    platform.backfill_daemon()
    platform.launcher.attempts = 0
    platform.launcher.broken = NO_CAPACITY
    for _ in range(60):
        second(platform, timers)
    assert platform.launcher.attempts == 4
    waiting = platform.unfinished_runs()
    assert [run.status for run in waiting] == [DagsterRunStatus.NOT_STARTED]
    events = [entry.dagster_event for entry in platform.instance.all_logs(waiting[0].run_id)]
    said = [event.message or "" for event in events if event is not None]
    assert any(NO_CAPACITY in text and "queued again in 40 s" in text for text in said)
    # The backfill waits with it: its retries are not used up.
    assert platform.backfills()[0].status.value == "REQUESTED"
    platform.launcher.broken = None
    timers.advance(LONGEST_WAIT_SECONDS)
    (run_id,) = platform.dequeue()
    assert platform.execute(run_id).status is DagsterRunStatus.SUCCESS
    platform.settle()
    assert platform.backfills()[0].status.value == "COMPLETED_SUCCESS"


def test_a_run_that_is_cancelled_while_it_waits_is_not_queued(
    platform: InProcessDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person marks it as cancelled in the UI: when its time has come, nothing is launched."""
    timers = Timers(monkeypatch)
    platform.launch("demo", 100)
    platform.launcher.broken = NO_CAPACITY
    second(platform, timers)
    (run,) = platform.unfinished_runs()
    platform.instance.report_run_canceled(run)
    platform.launcher.broken = None
    timers.advance(LONGEST_WAIT_SECONDS)
    assert platform.dequeue() == []


def test_a_run_that_did_start_is_retried_at_once(platform: InProcessDagster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies in the middle of its work says nothing of the launcher, whatever was before."""
    timers = Timers(monkeypatch)
    platform.launch("demo", 100)
    platform.launcher.broken = NO_CAPACITY
    second(platform, timers)
    platform.launcher.broken = None
    timers.advance(LONGEST_WAIT_SECONDS)
    (run_id,) = platform.dequeue()
    run = platform.run(run_id)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    platform.instance.report_dagster_event(started, run_id)
    platform.instance.report_run_failed(platform.run(run_id))
    platform.retry()
    assert len(platform.dequeue()) == 1


def test_the_command_line_says_what_the_launcher_said(platform: InProcessDagster) -> None:
    """Of a run that never started, the reason is the launcher's error, not that somebody marked the run as failed."""
    run_id = platform.launch("demo", 100)
    platform.launcher.broken = NO_CAPACITY
    platform.dequeue()
    assert platform.web.failure_of(run_id) == f"The run could not be launched. RuntimeError: {NO_CAPACITY}"


def test_waits_double_and_stay_below_the_time_to_start() -> None:
    """A run that waits longer than `start_timeout_seconds` outside the queue would be failed by run monitoring."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert [wait_seconds(instance, failures) for failures in (1, 2, 3, 30)] == [5.0, 10.0, 20.0, 120.0]
    overrides = {
        "run_launcher": {"module": "bedrock_batch_assets_tests.dagster_in_process", "class": "TestLauncher"},
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 60},
    }
    with dg.instance_for_test(overrides=overrides) as instance:
        assert wait_seconds(instance, 30) == 40.0
