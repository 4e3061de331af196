"""The sensor that watches jobs, with a queue of state-change events: what it saves, and what it survives."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from bedrock_batch_assets.jobs import events as events_module
from bedrock_batch_assets.runs.job_notices import has_finished_notice
from bedrock_batch_assets.sensors.job_status import TICKS_PER_SWEEP
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import Bench
from bedrock_batch_assets_tests.sensors.test_job_status import chunk_tags, make_job, make_run, tick

PATTERN = {"source": ["aws.bedrock"], "detail-type": ["Batch Inference Job State Change"]}


@dataclass
class Watched:
    """A sensor with a queue, on a stand-in whose clock stands still, and its cursor from tick to tick."""

    bench: Bench
    cursor: str | None = None

    def jobs(self, count: int) -> list[str]:
        """Jobs that running runs own."""
        arns = [make_job(self.bench, index) for index in range(count)]
        for index, arn in enumerate(arns):
            make_run(self.bench.instance, DagsterRunStatus.STARTED, **chunk_tags(index, arn))
        return arns

    def tick(self) -> tuple[dg.SensorResult, dict[str, int]]:
        """One tick, and the API calls that it made."""
        before = self.bench.aws.calls()
        result = tick(self.bench, self.cursor)
        self.cursor = result.cursor
        after = self.bench.aws.calls()
        return result, {
            name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)
        }


# Not `from bedrock_batch_assets.sensors import …`: the module has the name of the sensor in it.
sensor_module = sys.modules["bedrock_batch_assets.sensors.job_status"]


@pytest.fixture
def watched(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    # A long poll of an empty queue would take a second of each quiet tick.
    monkeypatch.setattr(events_module, "_WAIT_SECONDS", 0)
    # On a busy machine a call can take long, and these tests count all of them.
    monkeypatch.setattr(sensor_module, "EVENTS_BUDGET_SECONDS", 60.0)
    seconds = dict.fromkeys(["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"], 10)
    local_aws.put_settings({"clock": "manual", "seconds": seconds})
    url = local_aws.client("sqs").create_queue(QueueName="states")["QueueUrl"]
    events = local_aws.client("events")
    events.put_rule(Name="states", EventPattern=json.dumps(PATTERN))
    events.put_targets(Rule="states", Targets=[{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:states"}])
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(Bench.create(local_aws, instance, event_queue_url=url))


def test_thirty_jobs_cost_one_list_when_something_happens_and_none_when_nothing_does(watched: Watched) -> None:
    """A quiet tick is one ReceiveMessage; one with events adds one List; there is never a Get."""
    arns = watched.jobs(30)
    _, first = watched.tick()
    assert first["ListModelInvocationJobs"] == 1
    result, quiet = watched.tick()
    assert (result.asset_events, quiet) == ([], {"ReceiveMessage": 1})
    watched.bench.aws.advance(100)
    result, busy = watched.tick()
    assert len(result.asset_events) == 30
    assert {event.metadata["status"].value for event in result.asset_events} == {"Completed"}
    # Four changes of thirty jobs, ten a call, and a call that finds no more.
    assert busy == {"ReceiveMessage": 13, "DeleteMessageBatch": 12, "ListModelInvocationJobs": 1}
    assert all(has_finished_notice(watched.bench.instance, arn) for arn in arns)


def test_lost_events_are_made_up_for_by_the_sweep(watched: Watched) -> None:
    """With every event dropped, finished jobs are found, reported and told within six ticks, with one List."""
    arns = watched.jobs(3)
    watched.tick()
    watched.bench.aws.put_settings({"event_faults": {"drop": 1.0}})
    watched.bench.aws.advance(100)
    lists = 0
    for _ in range(TICKS_PER_SWEEP):
        result, calls = watched.tick()
        lists += calls.get("ListModelInvocationJobs", 0)
    assert lists == 1
    assert {event.metadata["status"].value for event in result.asset_events} == {"Completed"}
    assert len(result.asset_events) == 3
    assert all(has_finished_notice(watched.bench.instance, arn) for arn in arns)


def test_doubled_events_change_nothing(watched: Watched) -> None:
    """Every event twice gives each observation once, and the second copy leads to no sweep of its own."""
    watched.bench.aws.put_settings({"event_faults": {"twice": 1.0}})
    watched.jobs(3)
    watched.tick()
    watched.bench.aws.advance(100)
    result, calls = watched.tick()
    assert len(result.asset_events) == 3
    assert calls["ListModelInvocationJobs"] == 1
    queue = watched.bench.jobs.event_queue_url
    detail = {"batchJobArn": make_job(watched.bench, 7), "status": "Completed"}
    watched.bench.aws.client("sqs").send_message(
        QueueUrl=queue, MessageBody=json.dumps({"detail-type": "Batch Inference Job State Change", "detail": detail})
    )
    result, calls = watched.tick()
    assert result.asset_events == []
    assert "ListModelInvocationJobs" not in calls


def test_an_early_event_after_a_late_one_still_leads_to_a_sweep(watched: Watched) -> None:
    """Events out of order do not hide each other: a job's last message need not be its last status."""
    [arn] = watched.jobs(1)
    watched.tick()
    watched.bench.aws.put_settings({"event_faults": {"drop": 1.0}})
    watched.bench.aws.advance(100)
    for status in ("Completed", "Submitted"):
        body = {"detail-type": "Batch Inference Job State Change", "detail": {"batchJobArn": arn, "status": status}}
        watched.bench.aws.client("sqs").send_message(
            QueueUrl=watched.bench.jobs.event_queue_url, MessageBody=json.dumps(body)
        )
    assert len(watched.tick()[0].asset_events) == 1


def test_a_job_that_is_new_is_looked_for_without_an_event(watched: Watched) -> None:
    """A run that attached to a job long after its last event is reported in the next tick."""
    watched.jobs(1)
    watched.tick()
    arn = make_job(watched.bench, 5)
    watched.tick()
    make_run(watched.bench.instance, DagsterRunStatus.STARTED, **chunk_tags(5, arn))
    result, _ = watched.tick()
    assert [event.partition for event in result.asset_events] == ["demo-00005"]


def test_a_queue_that_cannot_be_read_leaves_the_sweep(watched: Watched) -> None:
    """Without its queue the sensor sweeps each tick, as it does if none is configured."""
    watched.jobs(1)
    watched.tick()
    watched.bench.aws.client("sqs").delete_queue(QueueUrl=watched.bench.jobs.event_queue_url)
    assert watched.tick()[1]["ListModelInvocationJobs"] == 1
    assert watched.tick()[1]["ListModelInvocationJobs"] == 1


def test_an_event_reaches_the_run_also_where_the_list_fails(watched: Watched) -> None:
    """The run whose job has finished is told by the event itself; it asks the service, and needs no list."""
    (arn,) = watched.jobs(1)
    watched.tick()
    watched.bench.aws.advance(100)
    watched.bench.aws.put_settings({"api_faults": [{"operation": "ListModelInvocationJobs", "code": "AccessDenied"}]})
    context = dg.build_sensor_context(
        instance=watched.bench.instance,
        cursor=watched.cursor,
        resources={"jobs": watched.bench.jobs, "storage": watched.bench.storage},
    )
    assert isinstance(sensor_module.job_status_sensor(context), dg.SkipReason)
    assert has_finished_notice(watched.bench.instance, arn)


def test_a_cancelled_runs_job_is_stopped_without_waiting_for_an_event(watched: Watched) -> None:
    """A job whose run was cancelled without a process is looked at, and stopped, in the next tick."""
    watched.jobs(1)
    watched.tick()
    arn = make_job(watched.bench, 4)
    watched.tick()
    make_run(watched.bench.instance, DagsterRunStatus.CANCELED, **chunk_tags(4, arn))
    assert watched.tick()[1]["StopModelInvocationJob"] == 1
