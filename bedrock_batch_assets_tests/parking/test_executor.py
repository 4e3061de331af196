"""A run that parks goes on where it stopped, in another process, and each of its steps succeeds once."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run_iterator

from bedrock_batch_assets.internals import parked_plans
from bedrock_batch_assets.parking import parked
from bedrock_batch_assets.parking.claims import RunClaims
from bedrock_batch_assets.parking.executor import parking_executor
from bedrock_batch_assets.parking.marks import Mark, read_mark, write_mark
from bedrock_batch_assets.parking.parked import Parked, park_after_seconds
from bedrock_batch_assets.runs.job_notices import has_finished_notice, post_finished_notices
from bedrock_batch_assets_tests.parking.conftest import PARK_AFTER, Parking

JOB = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"
ran: Counter[str] = Counter()
# How often the second step parks.
parks: list[int] = [1]


@dg.op
def first() -> int:
    ran["first"] += 1
    return 7


@dg.op
def second(context: dg.OpExecutionContext, number: int) -> int:
    ran["second"] += 1
    if parks[0]:
        parks[0] -= 1
        raise Parked(context.instance, context.run.run_id, JOB)
    return number + 1


@dg.op
def third(number: int) -> None:
    ran["third"] += 1
    assert number == 8


@dg.job(executor_def=parking_executor)
def chunk() -> None:
    third(second(first()))


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    ran.clear()
    parks[0] = 1
    parked._parked_for.clear()
    yield
    parked._parked_for.clear()


def new_run(parking: Parking) -> dg.DagsterRun:
    return parking.instance.create_run_for_job(chunk, execution_plan=create_execution_plan(chunk))


def execute(parking: Parking, run_id: str, *, resumed: bool = False) -> None:
    """What a run's process does."""
    parked._parked_for.clear()
    run = parking.run(run_id)
    list(execute_run_iterator(InMemoryJob(chunk), run, parking.instance, resume_from_failure=resumed))


def events(parking: Parking, run_id: str, kind: DagsterEventType) -> list[str | None]:
    entries = parking.instance.all_logs(run_id, of_type=kind)
    return [entry.dagster_event.step_key for entry in entries if entry.dagster_event]


def coming_back(parking: Parking, run_id: str) -> None:
    mark = read_mark(parking.instance, run_id)
    assert mark is not None
    write_mark(parking.instance, run_id, Mark(state="resuming", job=mark.job, resumes=mark.resumes + 1))


@pytest.mark.parametrize("times", [1, 3])
def test_finished_steps_do_not_run_again(parking: Parking, times: int) -> None:
    """However often it parks: the run goes on with the step that parked, and succeeds."""
    parks[0] = times
    run_id = new_run(parking).run_id
    execute(parking, run_id)
    for resumes in range(1, times + 1):
        assert parking.run(run_id).status is dg.DagsterRunStatus.STARTED
        mark = read_mark(parking.instance, run_id)
        assert mark is not None
        assert (mark.state, mark.job, mark.resumes) == ("parked", JOB, resumes - 1)
        coming_back(parking, run_id)
        execute(parking, run_id, resumed=True)
    assert parking.run(run_id).status is dg.DagsterRunStatus.SUCCESS
    assert ran == {"first": 1, "second": times + 1, "third": 1}
    assert events(parking, run_id, DagsterEventType.STEP_SUCCESS) == ["first", "second", "third"]


def test_of_two_processes_one_goes_on(parking: Parking) -> None:
    """A second one, started since an answer was lost, runs no step and does not end the run."""
    run_id = new_run(parking).run_id
    execute(parking, run_id)
    coming_back(parking, run_id)
    assert RunClaims.of_environment(run_id).work(1)
    execute(parking, run_id, resumed=True)
    assert parking.run(run_id).status is dg.DagsterRunStatus.STARTED
    assert ran["second"] == 1


def test_a_process_that_died_at_any_point_is_followed_by_another(parking: Parking) -> None:
    """Without a mark, as when it was killed before it had parked, the run goes on with the steps that are left."""
    run_id = new_run(parking).run_id
    execute(parking, run_id)
    write_mark(parking.instance, run_id, Mark(state="resuming", resumes=1))
    execute(parking, run_id, resumed=True)
    assert parking.run(run_id).status is dg.DagsterRunStatus.SUCCESS
    assert ran["first"] == 1


def test_a_failed_step_stays_failed(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is resumed after a step has failed ends as failed, and runs nothing."""
    run_id = new_run(parking).run_id
    execute(parking, run_id)
    failure = _failure(parking, run_id)
    monkeypatch.setattr(parked_plans, "steps_left", lambda *_: ([], set(), [failure]))
    coming_back(parking, run_id)
    execute(parking, run_id, resumed=True)
    assert parking.run(run_id).status is dg.DagsterRunStatus.FAILURE
    assert ran == {"first": 1, "second": 1}


def test_a_notice_that_came_too_early_is_forgotten(parking: Parking) -> None:
    """A run that parks for a job which the service does not show as ended does not come back at once."""
    post_finished_notices(parking.instance, [JOB])
    execute(parking, new_run(parking).run_id)
    assert not has_finished_notice(parking.instance, JOB)


def test_a_run_parks_only_if_it_will_be_brought_back(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without attempts left, not with a longest run time, and not if Dagster lacks a part; nor elsewhere."""
    run = new_run(parking)
    assert park_after_seconds(parking.instance, run) == PARK_AFTER
    limited = run.with_tags({**run.tags, "dagster/max_runtime": "3600"})
    assert park_after_seconds(parking.instance, limited) is None
    with monkeypatch.context() as patch:
        patch.setattr(type(parking.instance), "run_will_resume", lambda *_: False)
        assert park_after_seconds(parking.instance, run) is None
    with monkeypatch.context() as patch:
        patch.setitem(parked_plans._NAMES, "dagster._core.executor.in_process", ("gone",))
        assert park_after_seconds(parking.instance, run) is None
    with dg.DagsterInstance.ephemeral() as other:
        assert park_after_seconds(other, run) is None


def _failure(parking: Parking, run_id: str) -> dg.DagsterEvent:
    entry = parking.instance.all_logs(run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)[0]
    event = entry.dagster_event
    assert event is not None
    return event._replace(event_type_value=DagsterEventType.STEP_FAILURE.value)
