"""Runs that wait without a process: who brings them back, once, and what ends them."""

import threading
import time
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import CodePointer
from dagster._core.launcher.base import WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from bedrock_batch_assets.parking.claims import RunClaims
from bedrock_batch_assets.parking.launcher import RESUME_SECONDS, ParkingEcsRunLauncher
from bedrock_batch_assets.parking.marks import Mark, read_mark, write_mark
from bedrock_batch_assets.runs.heartbeat import beating
from bedrock_batch_assets.runs.job_notices import post_finished_notices
from bedrock_batch_assets.sensors.orphans import end_dead_runs
from bedrock_batch_assets_tests.parking.conftest import Parking

JOB = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"


def started_run(parking: Parking, **tags: str) -> str:
    """A run in progress, of a code location that can be loaded."""
    pointer = CodePointer.from_module("bedrock_batch_assets.definitions", "defs", None)
    repository = RepositoryPythonOrigin("python", pointer, None, ["dagster"])
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        job_code_origin=JobPythonOrigin("__ASSET_JOB", repository),
        tags={"dagster/partition": "demo-00000", "bedrock/batch": "demo", "bedrock/partition": "demo-00000", **tags},
    )
    parking.instance.run_storage.add_run(run)
    return run.run_id


def parked_run(parking: Parking, **changes: Any) -> str:
    run_id = started_run(parking)
    write_mark(parking.instance, run_id, Mark(**{"state": "parked", "job": JOB, **changes}))
    return run_id


def state(parking: Parking, run_id: str) -> str | None:
    mark = read_mark(parking.instance, run_id)
    return None if mark is None else mark.state


def test_a_parked_run_is_healthy_until_its_job_has_ended(parking: Parking) -> None:
    """Then it is not, so run monitoring resumes it: with a task, and once."""
    run_id = parked_run(parking)
    assert parking.health(run_id) is WorkerStatus.RUNNING
    post_finished_notices(parking.instance, [JOB])
    assert parking.health(run_id) is WorkerStatus.NOT_FOUND
    parking.resume(run_id)
    assert state(parking, run_id) == "resuming"
    assert len(parking.ecs.running) == 1
    assert parking.health(run_id) is WorkerStatus.RUNNING


def test_a_job_that_no_sensor_sees_is_asked_about(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a notice the launcher asks the service, now and then; one that cannot be asked has not ended."""
    asked: list[str] = []

    class Jobs:
        def get(self, arn: str) -> Any:
            asked.append(arn)
            if len(asked) == 1:
                raise ConnectionError("no")
            return type("State", (), {"finished": True})

    monkeypatch.setattr(parking.launcher, "_jobs", Jobs())
    run_id = parked_run(parking)
    assert parking.health(run_id) is WorkerStatus.RUNNING
    assert parking.health(run_id) is WorkerStatus.RUNNING
    assert asked == [JOB]
    monkeypatch.setattr(parking.launcher, "_looked_at", {})
    assert parking.health(run_id) is WorkerStatus.NOT_FOUND


def test_of_many_who_resume_one_does(parking: Parking) -> None:
    """Daemons that have all seen the job end, as during a redeploy: one task is started."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    launchers = [_another(parking) for _ in range(4)]
    barrier = threading.Barrier(len(launchers))

    def resume(launcher: ParkingEcsRunLauncher) -> None:
        barrier.wait()
        parking.resume(run_id, launcher)

    threads = [threading.Thread(target=resume, args=(launcher,)) for launcher in launchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parking.ecs.tasks) == 1
    # One that comes late finds that it was done.
    parking.resume(run_id)
    assert len(parking.ecs.tasks) == 1


def test_whoever_dies_after_the_claim_holds_nobody_up(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose task was never asked for lapses."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    assert RunClaims.of_environment(run_id).start(1)
    parking.resume(run_id)
    assert not parking.ecs.tasks
    monkeypatch.setattr(RunClaims, "start_age", lambda _, number: RESUME_SECONDS + 1 if number == 1 else 0.0)
    parking.resume(run_id)
    assert len(parking.ecs.tasks) == 1
    mark = read_mark(parking.instance, run_id)
    assert mark is not None
    assert (mark.state, mark.resumes) == ("resuming", 2)


def test_without_capacity_the_run_stays_parked(parking: Parking) -> None:
    """A task that cannot be started fails no run: it is tried again, after a pause."""
    parking.ecs.has_capacity = False
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    parking.resume(run_id)
    assert parking.run(run_id).status is dg.DagsterRunStatus.STARTED
    assert state(parking, run_id) == "parked"
    assert parking.health(run_id) is WorkerStatus.RUNNING
    parking.ecs.has_capacity = True
    mark = read_mark(parking.instance, run_id)
    assert mark is not None
    assert mark.not_before > time.time()
    write_mark(parking.instance, run_id, Mark(state="parked", job=JOB, resumes=mark.resumes))
    assert parking.health(run_id) is WorkerStatus.NOT_FOUND
    parking.resume(run_id)
    assert len(parking.ecs.tasks) == 1


def test_a_task_that_dies_before_it_begins_is_replaced(parking: Parking) -> None:
    """A resumed run whose task died before its first sign of life gets another one at the next look."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    parking.resume(run_id)
    assert parking.health(run_id) is WorkerStatus.RUNNING
    for count in (2, 3):
        [task] = parking.ecs.running
        parking.ecs.kill(task.arn)
        task.process.wait()
        assert parking.health(run_id) is WorkerStatus.FAILED
        parking.resume(run_id)
        assert len(parking.ecs.tasks) == count
        assert parking.health(run_id) is WorkerStatus.RUNNING


def test_while_a_task_is_asked_for_nobody_else_asks(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ECS says of the task before does not count; if the answer never comes, another one is asked for."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    parking.resume(run_id)
    [task] = parking.ecs.running
    parking.ecs.kill(task.arn)
    task.process.wait()
    # Its daemon died between the mark and the answer of RunTask.
    write_mark(parking.instance, run_id, Mark(state="resuming", job=JOB, resumes=2, replaces=task.arn))
    assert parking.health(run_id) is WorkerStatus.RUNNING
    monkeypatch.setattr("bedrock_batch_assets.parking.launcher.RESUME_SECONDS", 0.0)
    assert parking.health(run_id) is WorkerStatus.FAILED


def test_a_worker_that_gives_signs_of_life_is_not_replaced(parking: Parking) -> None:
    """If an answer of ECS was lost, a run has another task than its tags say: its heartbeats count."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    parking.resume(run_id)
    [task] = parking.ecs.running
    write_mark(parking.instance, run_id, Mark(state="working", job=JOB, resumes=1))
    parking.ecs.kill(task.arn)
    task.process.wait()
    with beating(parking.instance, run_id):
        assert parking.health(run_id) is WorkerStatus.RUNNING


def test_a_parked_run_is_cancelled_at_once(parking: Parking) -> None:
    """Nobody waits for a process that is not there."""
    run_id = parked_run(parking)
    assert parking.launcher.terminate(run_id)
    assert parking.run(run_id).status is dg.DagsterRunStatus.CANCELED


def test_a_run_that_is_coming_back_is_cancelled_with_its_task(parking: Parking) -> None:
    """Its task is stopped, and the run does not wait for that."""
    run_id = parked_run(parking)
    post_finished_notices(parking.instance, [JOB])
    parking.resume(run_id)
    assert parking.launcher.terminate(run_id)
    assert parking.run(run_id).status is dg.DagsterRunStatus.CANCELED
    assert parking.ecs.calls["StopTask"] == 1


@pytest.mark.parametrize("mark", ["parked", "resuming"])
def test_a_run_without_a_process_on_purpose_is_not_ended(parking: Parking, mark: str) -> None:
    """The sensor that ends runs whose process is gone leaves it alone; one that had a process is ended."""
    waiting = parked_run(parking, state=mark)
    dead = started_run(parking)
    now = time.time()
    ended: list[str] = []
    for look in range(40):
        ended += [run.run_id for run in end_dead_runs(parking.instance, now + 15.0 * look)]
    assert ended == [dead]
    assert parking.run(waiting).status is dg.DagsterRunStatus.STARTED


def _another(parking: Parking) -> ParkingEcsRunLauncher:
    """The launcher of another process."""
    data = parking.instance.get_ref().run_launcher_data
    assert data is not None
    launcher = data.rehydrate(as_type=ParkingEcsRunLauncher)
    launcher.register_instance(parking.instance)
    return launcher
