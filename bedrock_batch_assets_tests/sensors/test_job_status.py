"""The sensor that watches jobs and runs: what it reports, what it ends, what it stops, and at what cost."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from dagster import AssetKey, DagsterEvent, DagsterEventType, DagsterRunStatus

from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.runs import heartbeat
from bedrock_batch_assets.runs.heartbeat import beating, this_process
from bedrock_batch_assets.sensors import orphans
from bedrock_batch_assets.sensors.job_status import job_status_sensor, sweep
from bedrock_batch_assets.sensors.orphans import end_dead_runs
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws, wait_until
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def make_run(instance: dg.DagsterInstance, status: DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=DagsterRunStatus.STARTED, tags=tags)
    instance.run_storage.add_run(run)
    if status is not DagsterRunStatus.STARTED:
        kind = {
            DagsterRunStatus.CANCELING: dg.DagsterEventType.RUN_CANCELING,
            DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
            DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        }[status]
        event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
        instance.report_dagster_event(event, run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def make_job(bench: Bench, index: int = 0) -> str:
    body: dict[str, Any] = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
    }
    records = [{"recordId": f"r{row:010d}", "modelInput": body} for row in range(100)]
    uri = bench.aws.put_records("data", f"in/{index}/a.jsonl", records)
    name = JobName(f"demo-{index:05d}", content_digest("x"))
    return bench.aws.submit(uri, bench.jobs.role_arn, HAIKU, jobName=str(name))


def tick(bench: Bench, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(
        instance=bench.instance, cursor=cursor, resources={"jobs": bench.jobs, "storage": bench.storage}
    )
    result = job_status_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def chunk_tags(index: int, arn: str) -> dict[str, str]:
    chunk = f"demo-{index:05d}"
    family = JobName(chunk, content_digest("x")).family
    return {"bedrock/batch": "demo", "bedrock/partition": chunk, "bedrock/job_arn": arn, "bedrock/job": family}


def test_a_change_is_reported_once_on_the_chunks_partition(bench: Bench) -> None:
    """A job's new status and counts are one observation of its chunk; a tick without a change reports nothing."""
    arn = make_job(bench)
    bench.aws.wait_for_status("Completed")
    make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, arn))
    first = tick(bench)
    (event,) = first.asset_events
    assert isinstance(event, dg.AssetObservation)
    assert (event.asset_key, event.partition) == (AssetKey("batch_job_outputs"), "demo-00000")
    assert event.metadata["records_processed"].value == 100
    assert tick(bench, first.cursor).asset_events == []


def test_any_number_of_jobs_costs_one_sweep(bench: Bench) -> None:
    """Thirty jobs in flight are found with one List call and no Get call."""
    for index in range(30):
        make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(index, make_job(bench, index)))
    before = bench.aws.calls()
    result = tick(bench)
    after = bench.aws.calls()
    assert len(result.asset_events) == 30
    assert after["ListModelInvocationJobs"] - before.get("ListModelInvocationJobs", 0) == 1
    assert after.get("GetModelInvocationJob", 0) == before.get("GetModelInvocationJob", 0)


def test_a_job_older_than_those_seen_before_is_found_too(bench: Bench) -> None:
    """A run that attaches to a job of an hour ago drops out of one sweep at most because of the cursor's time bound."""
    bench.aws.put_settings({"clock": "manual", "seconds": {"Submitted": 10_000}})
    old = make_job(bench, 0)
    bench.aws.advance(3600)
    make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(1, make_job(bench, 1)))
    cursor = tick(bench).cursor
    make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, old))
    partitions = set()
    for _ in range(2):
        result = tick(bench, cursor)
        cursor = result.cursor
        partitions |= {event.partition for event in result.asset_events}
    assert "demo-00000" in partitions


def test_a_sweep_ends_with_the_last_job_that_it_looks_for(bench: Bench) -> None:
    """Of a long list no more pages are asked for than hold the jobs in flight."""
    arns = [make_job(bench, index) for index in range(4)]
    seen = []

    class Listed:
        def list(self, **_: object) -> Iterator[JobState]:
            for state in bench.jobs.list():
                seen.append(state.arn)
                yield state

    found = sweep(Listed(), {arns[3]: "a", arns[2]: "b"}, {}, None)  # type: ignore[arg-type]
    assert {state.arn for state in found} == set(seen) == set(arns[2:])


def test_a_run_whose_process_is_gone_is_failed_and_a_living_one_is_left_alone(bench: Bench) -> None:
    """The beat of an ended process on this host is a dead run; this process's own is not."""
    dead = make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, "a"))
    alive = make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(1, "b"))
    script = (
        "import sys, dagster as dg; from bedrock_batch_assets.runs.heartbeat import this_process; import msgspec; "
        "print(msgspec.json.encode(this_process(0)).decode())"
    )
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    bench.instance.run_storage.set_cursor_values({f"bedrock_batch_heartbeat/{dead.run_id}": text})
    with beating(bench.instance, alive.run_id):
        ended = end_dead_runs(bench.instance, time.time())
    assert [run.run_id for run in ended] == [dead.run_id]
    statuses = {run.run_id: run.status for run in bench.instance.get_runs()}
    assert statuses[dead.run_id] is DagsterRunStatus.FAILURE
    assert statuses[alive.run_id] is DagsterRunStatus.STARTED


def test_a_run_that_ends_while_it_is_looked_at_is_left_as_it_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed as started, and its process is gone since it is over: it succeeded, and is not failed."""
    run = make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, "a"))
    beat = msgspec.json.encode(this_process(time.time())).decode()
    bench.instance.run_storage.set_cursor_values({f"bedrock_batch_heartbeat/{run.run_id}": beat})

    def ends_now(*_: object) -> bool:
        success = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
        bench.instance.report_dagster_event(success, run_id=run.run_id)
        return False

    monkeypatch.setattr(heartbeat, "is_alive", ends_now)
    assert end_dead_runs(bench.instance, time.time()) == []
    latest = bench.instance.get_run_by_id(run.run_id)
    assert latest is not None
    assert latest.status is DagsterRunStatus.SUCCESS


ORPHAN = """
import os, sys, time, msgspec
from bedrock_batch_assets.runs.heartbeat import this_process
print(msgspec.json.encode(this_process(time.time())).decode(), flush=True)
sys.stdin.read()
"""
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"


def test_a_live_orphan_is_no_dead_run(bench: Bench) -> None:
    """A worker whose code server is gone goes on, and its run with it; it ends when the worker itself does."""
    run = make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, "a"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    text = parent.stdout.readline()
    parent.wait(20)
    bench.instance.run_storage.set_cursor_values({f"bedrock_batch_heartbeat/{run.run_id}": text})
    assert end_dead_runs(bench.instance, time.time()) == []
    # The orphan reads to its end.
    parent.stdin.close()
    parent.stdout.read()
    wait_until(lambda: [ended.run_id for ended in end_dead_runs(bench.instance, time.time())] == [run.run_id])


def test_a_run_has_some_minutes_until_its_first_beat(bench: Bench) -> None:
    """A run that has only just begun is not dead for want of a beat; one that never left any is, after five minutes."""
    run = make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, "a"))
    for second in range(0, 300, 10):
        assert end_dead_runs(bench.instance, 1000.0 + second) == []
    assert [ended.run_id for ended in end_dead_runs(bench.instance, 1300.0)] == [run.run_id]


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING])
def test_runs_that_never_start_are_ended_if_nobody_else_does(tmp_path: Path, status: DagsterRunStatus) -> None:
    """A run whose launch was cut short holds its chunk; without Dagster's run monitoring the sensor ends it in time."""
    for number, monitored in enumerate((True, False)):
        home = tmp_path / str(number)
        home.mkdir()
        settings = {"run_monitoring": {"enabled": monitored}}
        with dg.DagsterInstance.local_temp(str(home), overrides=settings) as instance:
            run = dg.DagsterRun(job_name="__ASSET_JOB", status=status, tags=chunk_tags(0, "a"))
            instance.run_storage.add_run(run)
            ended: list[str] = []
            # A look counts for half a minute at most; with run monitoring such a run is not looked at.
            for second in range(0, 90 if monitored else int(orphans.NOT_STARTED_SECONDS) + 30, 30):
                ended += [found.run_id for found in end_dead_runs(instance, 1000.0 + second)]
                assert second >= orphans.NOT_STARTED_SECONDS or not ended
            assert ended == ([] if monitored else [run.run_id])


def test_runs_of_others_are_left_alone(bench: Bench) -> None:
    """A run that is of no batch has no beats, and may go on for as long as it likes."""
    make_run(bench.instance, DagsterRunStatus.STARTED)
    assert [end_dead_runs(bench.instance, 1000.0 + second) for second in range(0, 400, 100)] == [[]] * 4


def test_runs_by_another_door_are_watched_like_any_other(bench: Bench) -> None:
    """A run without our tags is known by Dagster's partition tag and its assets; one that has neither stops no tick."""
    arn = make_job(bench)
    bench.aws.wait_for_status("Completed")
    run = dg.DagsterRun(
        job_name="somebodys_job",
        status=DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo-00000", "bedrock/job_arn": arn},
        asset_selection=frozenset({AssetKey("batch_job_outputs")}),
    )
    bench.instance.run_storage.add_run(run)
    make_run(bench.instance, DagsterRunStatus.STARTED, **{"bedrock/job_arn": "arn:of-nobody"})
    (event,) = tick(bench).asset_events
    assert (event.asset_key, event.partition) == (AssetKey("batch_job_outputs"), "demo-00000")
    beat = msgspec.structs.replace(this_process(0), pid=2**22 + 1)
    bench.instance.run_storage.set_cursor_values(
        {f"bedrock_batch_heartbeat/{run.run_id}": msgspec.json.encode(beat).decode()}
    )
    assert [ended.run_id for ended in end_dead_runs(bench.instance, time.time())] == [run.run_id]


def test_a_cancelled_run_without_a_process_ends_cancelled_and_its_job_is_stopped(bench: Bench) -> None:
    """A person's cancel reaches the job also if the process that would have stopped it is gone."""
    bench.aws.put_settings({"seconds": {"InProgress": 60}})
    arn = make_job(bench)
    run = make_run(bench.instance, DagsterRunStatus.CANCELING, **chunk_tags(0, arn))
    # A number that no process has.
    beat = msgspec.structs.replace(this_process(0), pid=2**22 + 1)
    bench.instance.run_storage.set_cursor_values(
        {f"bedrock_batch_heartbeat/{run.run_id}": msgspec.json.encode(beat).decode()}
    )
    cursor = tick(bench).cursor
    found = bench.instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is DagsterRunStatus.CANCELED
    bench.aws.wait_for_status("Stopped")
    cursor = tick(bench, cursor).cursor
    before = bench.aws.calls()["ListModelInvocationJobs"]
    tick(bench, cursor)
    assert bench.aws.calls()["ListModelInvocationJobs"] == before


def test_a_job_that_its_run_never_learned_of_is_stopped_too(bench: Bench) -> None:
    """The process died between Create and its answer, then the run was cancelled: the job is found by its name."""
    bench.aws.put_settings({"seconds": {"InProgress": 60}})
    tags = chunk_tags(0, make_job(bench))
    del tags["bedrock/job_arn"]
    make_run(bench.instance, DagsterRunStatus.CANCELED, **tags)
    tick(bench)
    bench.aws.wait_for_status("Stopped")
    assert bench.aws.calls()["StopModelInvocationJob"] == 1


def test_a_cancelled_runs_job_that_has_ended_is_not_stopped(bench: Bench) -> None:
    """Nothing is asked of the service for a job that is over."""
    arn = make_job(bench)
    bench.aws.wait_for_status("Completed")
    make_run(bench.instance, DagsterRunStatus.CANCELED, **chunk_tags(0, arn))
    tick(bench)
    assert bench.aws.calls().get("StopModelInvocationJob", 0) == 0


def test_jobs_of_runs_that_failed_are_not_stopped(bench: Bench) -> None:
    """A run whose process went down leaves a paid job behind, which its retry takes up: nobody asked to stop it."""
    bench.aws.put_settings({"seconds": {"InProgress": 60}})
    make_run(bench.instance, DagsterRunStatus.FAILURE, **chunk_tags(0, make_job(bench)))
    tick(bench)
    assert bench.aws.calls().get("StopModelInvocationJob", 0) == 0


def test_jobs_of_runs_that_were_taken_over_are_not_stopped(bench: Bench) -> None:
    """A cancelled run's job goes on if another run of the chunk is in progress: it owns the job now."""
    bench.aws.put_settings({"seconds": {"InProgress": 60}})
    arn = make_job(bench)
    make_run(bench.instance, DagsterRunStatus.CANCELED, **chunk_tags(0, arn))
    make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, arn))
    tick(bench)
    assert bench.aws.calls().get("StopModelInvocationJob", 0) == 0
