"""Credentials that expire while a batch is on its way: chunks wait and go on, and nothing is paid twice."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from bedrock_batch_assets.assets.batch_job_outputs import batch_job_outputs
from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
from bedrock_batch_assets.aws import renewal
from bedrock_batch_assets.sensors.job_status import job_status_sensor
from bedrock_batch_assets_tests.aws_files import AwsFiles
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws, wait_until
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

CHUNK_OPERATIONS = (
    *("CreateModelInvocationJob", "GetModelInvocationJob", "ListModelInvocationJobs"),
    *("PutObject", "GetObject", "HeadObject", "ListObjectsV2"),
)
ON_DEMAND_OPERATIONS = ("InvokeModel", "PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObjects")
TABLE_OPERATIONS = ("CopyObject", "HeadObject", "GetObject", "PutObject", "ListObjectsV2", "DeleteObjects")


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "_FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(renewal, "LONGEST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def bench(local_aws: LocalAws, aws_files: AwsFiles, short_waits: None) -> Iterator[Bench]:
    """Keys in a file."""
    aws_files.write_keys("first")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


@pytest.fixture
def watched(local_aws: LocalAws, aws_files: AwsFiles, short_waits: None, tmp_path: Path) -> Iterator[Bench]:
    """The same, with an instance that another thread can read and change while a run goes on."""
    aws_files.write_keys("first")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Bench.create(local_aws, instance)


def rows(count: int) -> list[list[str]]:
    return [[f"topic {number}"] for number in range(count)]


def ingest(bench: Bench, count: int) -> None:
    uri = bench.put_csv("in/topics.csv", ["topic"], rows(count))
    assert bench.input("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic").success


def said(bench: Bench) -> list[str]:
    """What the runs of a chunk told people of waits for credentials."""
    messages = [
        entry.message
        for run in bench.instance.get_runs()
        for entry in bench.instance.all_logs(run.run_id)
        if entry.dagster_event is None
    ]
    return [text for text in messages if "This run waits for that" in text or "accepts the credentials again" in text]


def assert_whole(bench: Bench, count: int) -> None:
    """Every row has an answer, and every record was paid for once."""
    assert bench.table("demo").success
    assert [row["record_status"] for row in bench.read_table("demo")] == ["ok"] * count
    assert len({entry["digest"] for entry in bench.aws.ledger()}) == len(bench.aws.ledger()) == count


def refuse(bench: Bench, operations: tuple[str, ...], count: int) -> None:
    """Refuse the credentials in each of these operations for some calls, as if they expired anew each time."""
    faults = [{"operation": name, "code": "expired", "count": count} for name in operations]
    bench.aws.put_settings({"api_faults": faults})


def test_a_chunk_waits_wherever_its_credentials_are_refused(bench: Bench) -> None:
    """A refusal in any call of a chunk's run is waited out, and nothing is done again."""
    ingest(bench, 120)
    before = bench.aws.calls()
    refuse(bench, CHUNK_OPERATIONS, 3)
    assert bench.chunk("demo-00000").success
    messages = said(bench)
    assert messages
    assert ["going on." in text for text in messages] == [False, True] * (len(messages) // 2)
    for name in CHUNK_OPERATIONS:
        assert bench.aws.calls()[name] > before.get(name, 0) + 3, f"{name} was not refused in this chunk"
    assert len(bench.aws.jobs()) == 1
    assert_whole(bench, 120)


def test_a_chunk_that_begins_with_expired_credentials_waits(bench: Bench) -> None:
    """Chunks that are taken from the queue after the token has expired do not fail one after the other."""
    ingest(bench, 120)
    bench.aws.put_settings({"api_faults": [{"operation": "*", "code": "expired", "seconds": 0.5}]})
    assert bench.chunk("demo-00000").success
    assert len(said(bench)) == 2, said(bench)
    assert_whole(bench, 120)


def test_a_chunk_goes_on_with_keys_that_are_written_while_it_waits(watched: Bench, aws_files: AwsFiles) -> None:
    """The keys expire while the job runs; a person writes new ones to the file; the run goes on with them."""
    ingest(watched, 120)
    watched.aws.put_settings({"seconds": {"InProgress": 1.0}})

    def person() -> None:
        wait_until(lambda: bool(watched.aws.jobs()), timeout=120)
        watched.aws.put_settings({"expired_access_keys": ["first"]})
        wait_until(lambda: bool(said(watched)), timeout=120)
        aws_files.write_keys("second")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(person)
        assert watched.chunk("demo-00000").success
        done.result()
    messages = said(watched)
    assert len(messages) == 2, messages
    assert "ExpiredToken" in messages[0]
    assert_whole(watched, 120)


def test_records_on_demand_stay_sendable(bench: Bench) -> None:
    """A record that was refused for expired credentials was not paid for: it is sent later, and none is unknown."""
    ingest(bench, 30)
    refuse(bench, ON_DEMAND_OPERATIONS, 12)
    assert bench.chunk("demo-00000").success
    assert said(bench)
    assert_whole(bench, 30)


@contextmanager
def cancelled_by_a_person(bench: Bench) -> Iterator[None]:
    """Cancel the run inside the block as soon as it waits, as Dagster does: by a signal to its process."""

    def cancel() -> None:
        wait_until(lambda: bool(said(bench)), timeout=120)
        (run,) = bench.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        bench.instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGINT)

    # A failure in the thread is raised by its result.
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(cancel)
        yield
        done.result()


def test_a_persons_cancel_ends_the_wait(watched: Bench) -> None:
    """A run that waits for credentials ends as cancelled; its job, which it cannot stop, is stopped by the sensor."""
    ingest(watched, 120)
    watched.aws.put_settings({"seconds": {"InProgress": 60}})
    refused = ("GetModelInvocationJob", "StopModelInvocationJob")
    watched.aws.put_settings({"api_faults": [{"operation": name, "code": "expired"} for name in refused]})
    with cancelled_by_a_person(watched):
        result = watched.materialize([jsonl_chunks, batch_job_outputs], "demo-00000")
    assert result.all_events[-1].event_type is dg.DagsterEventType.RUN_CANCELED
    assert watched.aws.jobs()[0]["status"] not in {"Stopping", "Stopped"}
    watched.aws.put_settings({"api_faults": []})
    context = dg.build_sensor_context(
        instance=watched.instance, resources={"jobs": watched.jobs, "storage": watched.storage}
    )
    job_status_sensor(context)
    watched.aws.wait_for_status("Stopped")


def test_a_cancel_of_records_on_demand_leaves_them_sendable(watched: Bench) -> None:
    """Threads that wait with a record in hand give it back when a person cancels: all are sent the next time."""
    ingest(watched, 30)
    watched.aws.put_settings({"api_faults": [{"operation": "InvokeModel", "code": "expired"}]})
    with cancelled_by_a_person(watched):
        result = watched.chunk("demo-00000")
    assert result.all_events[-1].event_type is dg.DagsterEventType.RUN_CANCELED
    assert watched.aws.ledger() == []
    watched.aws.put_settings({"api_faults": []})
    assert watched.chunk("demo-00000").success
    assert_whole(watched, 30)


def test_a_table_waits_as_its_chunks_do(bench: Bench) -> None:
    """Moving the parts into place is waited for, in the copies of boto3's transfers as well."""
    ingest(bench, 120)
    assert bench.chunk("demo-00000").success
    refuse(bench, TABLE_OPERATIONS, 2)
    assert_whole(bench, 120)
    assert said(bench)


def test_an_input_fails_at_once_with_one_line(bench: Bench) -> None:
    """Whoever launches a batch is there: expired credentials are an error on input_dataset, and nothing is written."""
    uri = bench.put_csv("in/topics.csv", ["topic"], rows(3))
    bench.aws.put_settings({"expired_access_keys": ["first"]})
    before = time.monotonic()
    result = bench.input("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    assert time.monotonic() - before < 20
    (failure,) = result.get_step_failure_events()
    error = failure.step_failure_data.user_failure_data
    assert error is not None
    assert error.description is not None
    assert "The AWS credentials for S3" in error.description
    assert "have expired" in error.description
    assert said(bench) == []
    assert bench.chunks("demo") == []


def test_an_input_that_is_being_read_waits(bench: Bench) -> None:
    """Credentials that expire in the middle of a long read do not throw away what was read."""
    uri = bench.put_csv("in/topics.csv", ["topic"], rows(120))
    bench.aws.put_settings({"api_faults": [{"operation": "PutObject", "code": "expired", "count": 3}]})
    assert bench.input("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic").success
    assert len(said(bench)) == 2, said(bench)


def test_a_denied_role_fails_a_chunk_at_once(bench: Bench, aws_files: AwsFiles) -> None:
    """What no renewal changes is a failure with its reason, and not a wait."""
    ingest(bench, 120)
    role = "arn:aws:iam::123456789012:role/Batch"
    aws_files.config.write_text(f"[profile base]\n[default]\nrole_arn = {role}\nsource_profile = base\n")
    aws_files.write_keys("first", "base")
    bench.aws.put_settings({"api_faults": [{"operation": "AssumeRole", "code": "AccessDenied"}]})
    result = bench.materialize([batch_job_outputs], "demo-00000")
    (failure,) = result.get_step_failure_events()
    data: Any = failure.step_failure_data.user_failure_data
    assert f"may not assume the role {role}" in data.description
    assert said(bench) == []
