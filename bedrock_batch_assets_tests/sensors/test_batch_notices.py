"""Notices: one message per batch that has ended, to each target, tried again, and never the end of a batch."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.internals.dagster_internals import BACKFILL_ID_TAG
from bedrock_batch_assets.notices.notice import Notice
from bedrock_batch_assets.notices.resource import Notices
from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets.sensors.batch_notices import MAX_TICKS, Unsent, batch_notices_sensor, send_all
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

UI = "http://127.0.0.1:3000"


@dataclass
class Receiver:
    """A webhook: it answers with `status` for the first `failures` calls, and keeps what it was sent."""

    url: str = ""
    failures: int = 0
    status: int = 503
    received: list[Any] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code = 200
            if state.failures:
                state.failures -= 1
                code = state.status
            else:
                state.received.append(body)
            self.send_response(code)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        found = Bench.create(local_aws, instance)
        found.prices = Prices(path=str(packaged_file("bedrock_batch_assets/examples/prices.json")))
        yield found


class Ticks:
    """Ticks of the sensor, each with the cursor of the one before."""

    def __init__(self, bench: Bench, notices: Notices) -> None:
        self._bench = bench
        self._notices = notices
        self._cursor: str | None = None

    def tick(self) -> str:
        context = dg.build_sensor_context(
            instance=self._bench.instance, cursor=self._cursor, resources={"notices": self._notices}
        )
        result = batch_notices_sensor(context)
        assert isinstance(result, dg.SensorResult)
        self._cursor = result.cursor
        return str(result.skip_reason.skip_message if result.skip_reason else "")


def topics(bench: Bench, count: int = 120) -> str:
    return bench.put_csv("t.csv", ["topic"], [[f"topic {index}"] for index in range(count)])


def queue_for(aws: LocalAws, name: str) -> tuple[str, str]:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def messages(aws: LocalAws, url: str) -> list[Any]:
    found = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


def test_a_batch_that_is_done_is_told_once_to_each_target(bench: Bench, receiver: Receiver) -> None:
    """SNS, the webhook and EventBridge each get one message with counts, cost and link, also after more ticks."""
    aws = bench.aws
    topic = aws.client("sns").create_topic(Name="batches")["TopicArn"]
    sns_queue, sns_arn = queue_for(aws, "from-sns")
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=sns_arn)
    events_queue, events_arn = queue_for(aws, "from-events")
    events = aws.client("events")
    events.put_rule(Name="batches", EventPattern=json.dumps({"source": ["bedrock_batch_assets"]}))
    events.put_targets(Rule="batches", Targets=[{"Id": "1", "Arn": events_arn}])
    notices = Notices(sns_topic_arn=topic, webhook_url=receiver.url, event_bus_name="default", ui_url=UI)
    ticks = Ticks(bench, notices)
    ticks.tick()
    bench.run("jokes", s3_uri=topics(bench), model_id=HAIKU, prompt_id="joke_about_topic")
    assert ticks.tick() == "3 notices sent."
    assert ticks.tick() == "0 notices sent."
    (posted,) = receiver.received
    assert posted["text"].startswith("Batch jokes is done: 120 rows (120 ok), 0.00")
    assert posted["text"].endswith(f"{UI}/assets/result_table?view=partitions&partition=jokes")
    (published,) = messages(aws, sns_queue)
    assert published["Message"] == posted["text"]
    assert published["Subject"] == "Batch jokes: done"
    (event,) = messages(aws, events_queue)
    assert event["detail-type"] == "Batch State Change"
    assert (event["detail"]["batch"], event["detail"]["rows"]["ok"]) == ("jokes", 120)


@pytest.mark.parametrize(("limit", "state"), [(None, "refused"), (0.000001, "over budget")])
def test_a_refused_batch_is_told_with_the_reason(
    bench: Bench, receiver: Receiver, limit: float | None, state: str
) -> None:
    """What the asset says of the request is the message; one that may cost too much is called so."""
    ticks = Ticks(bench, Notices(webhook_url=receiver.url, ui_url=UI))
    ticks.tick()
    prompt = "joke_about_topic" if limit else "sentiment"
    bench.input("jokes", s3_uri=topics(bench), model_id=HAIKU, prompt_id=prompt, max_cost_usd=limit)
    ticks.tick()
    ticks.tick()
    (posted,) = receiver.received
    assert posted["text"].startswith(f"Batch jokes: {state}. ")
    assert ("max_cost_usd" if limit else "'text'") in posted["text"]
    assert f"{UI}/runs/" in posted["text"]


def test_a_batch_whose_chunks_failed_is_told(bench: Bench, receiver: Receiver) -> None:
    """The end of its backfill is one message with the number of failed chunks and why the first of them failed."""
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    ticks = Ticks(bench, Notices(webhook_url=receiver.url, ui_url=UI))
    ticks.tick()
    for index in range(2):
        tags = {BACKFILL_ID_TAG: "abc", "bedrock/batch": "jokes", "dagster/partition": f"jokes-0000{index}"}
        run = dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags)
        bench.instance.run_storage.add_run(run)
        event = dg.DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name=run.job_name)
        bench.instance.report_dagster_event(event, run.run_id)
    backfill: Any = PartitionBackfill(
        backfill_id="abc",
        status=BulkActionStatus("COMPLETED_FAILED"),
        from_failure=False,
        tags={"bedrock/batch": "jokes"},
        backfill_timestamp=time.time(),
        asset_selection=[],
    )
    bench.instance.add_backfill(backfill)
    ticks.tick()
    ticks.tick()
    (posted,) = receiver.received
    assert posted["text"].startswith("Batch jokes: failed. 2 chunks failed; jokes-00000: ")
    assert posted["text"].endswith(f"{UI}/runs/b/abc")


def test_what_ended_before_the_first_tick_is_not_told(bench: Bench, receiver: Receiver) -> None:
    """Turning notices on sends no messages about the past."""
    bench.run("jokes", s3_uri=topics(bench), model_id=HAIKU, prompt_id="joke_about_topic")
    ticks = Ticks(bench, Notices(webhook_url=receiver.url))
    ticks.tick()
    ticks.tick()
    assert receiver.received == []


def test_a_target_that_is_away_gets_its_notice_later(bench: Bench, receiver: Receiver) -> None:
    """A webhook that fails for a tick is tried again in the next one; the other targets are not told twice."""
    topic = bench.aws.client("sns").create_topic(Name="batches")["TopicArn"]
    queue, arn = queue_for(bench.aws, "from-sns")
    bench.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    ticks = Ticks(bench, Notices(webhook_url=receiver.url, sns_topic_arn=topic))
    ticks.tick()
    bench.run("jokes", s3_uri=topics(bench), model_id=HAIKU, prompt_id="joke_about_topic")
    # It refuses, which is not tried again within a tick.
    receiver.failures, receiver.status = 1, 403
    assert ticks.tick() == "1 notices sent."
    assert ticks.tick() == "1 notices sent."
    assert len(receiver.received) == 1
    assert len(messages(bench.aws, queue)) == 1


def test_a_passing_error_is_tried_again_at_once(receiver: Receiver) -> None:
    """Two answers of 503 cost no tick."""
    receiver.failures = 2
    notices = Notices(webhook_url=receiver.url)
    waiting = [Unsent(Notice(batch="jokes", state="done"), "webhook")]
    assert send_all(notices, waiting, pytest.fail, lambda: 0.0) == []
    assert len(receiver.received) == 1


def test_a_notice_that_nobody_takes_is_given_up_in_the_end() -> None:
    """After half an hour of tries it is dropped, with one line each time."""
    notices = Notices(webhook_url="http://127.0.0.1:9/nothing")
    waiting = [Unsent(Notice(batch="jokes", state="done"), "webhook", MAX_TICKS - 1)]
    said: list[str] = []
    assert send_all(notices, waiting, said.append, lambda: 0.0) == []
    assert "given up" in said[0]


def test_without_a_target_a_tick_does_nothing(bench: Bench) -> None:
    """The default: no query, no cursor."""
    context = dg.build_sensor_context(instance=bench.instance, resources={"notices": Notices()})
    assert isinstance(batch_notices_sensor(context), dg.SkipReason)
