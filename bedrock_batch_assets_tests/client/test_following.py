"""A batch is followed through what passes: servers that are replaced, and databases that are away."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_batch_assets.client import batches as module
from bedrock_batch_assets.client.batch_status import BatchState, BatchStatus
from bedrock_batch_assets.client.batches import Batches, BatchFailedError
from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError, Webserver
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.storage.resource import BatchStorage

RUNNING = BatchStatus("demo", BatchState.running, version="v", input_run="run-1", rows=3)
DONE = BatchStatus("demo", BatchState.done, version="v", input_run="run-1", rows=3, rows_done=3)


def refused(code: str, status: int) -> ClientError:
    """An error of S3."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "ListObjectsV2")


THROTTLED = refused("ThrottlingException", 429)
DENIED = refused("NoSuchBucket", 404)


class Followed:
    """Batches whose looks come from a script, on a clock that sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: Iterator[BatchStatus | Exception]) -> None:
        self.time = 0.0
        self._looks = looks
        self.batches = Batches(
            Webserver("http://127.0.0.1:1"), BatchStorage(bucket="b"), BedrockBatchJobs(), sleep=self._sleep,
            now=lambda: self.time,
        )  # fmt: skip
        monkeypatch.setattr(self.batches, "_step", self._step)

    def _sleep(self, seconds: float) -> None:
        self.time += seconds

    def _step(self, batch: str, run_id: str) -> tuple[BatchStatus, str]:
        del batch
        look = next(self._looks)
        if isinstance(look, Exception):
            raise look
        return look, run_id


def until(seconds: float, error: Exception, followed: Callable[[], Followed]) -> Iterator[BatchStatus | Exception]:
    """Running, then nothing but the error for so long, then done."""
    yield RUNNING
    while followed().time < seconds:
        yield error
    yield DONE


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("no webserver"),
        DagsterRefusedError("Dagster says: (psycopg2.OperationalError) connection refused"),
        DagsterRefusedError("Dagster has not loaded the assets at the moment"),
        THROTTLED,
    ],
)
def test_minutes_without_an_answer_are_waited_through(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Nine minutes of errors between two good looks end as the batch does."""
    made: list[Followed] = []
    followed = Followed(monkeypatch, until(540, error, lambda: made[0]))
    made.append(followed)
    assert [status.state for status in followed.batches.follow("demo", "run-1")] == [
        BatchState.running,
        BatchState.done,
    ]


def test_an_error_that_stays_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten minutes the last error is what the person is told; one that cannot pass is told at once."""
    made: list[Followed] = []
    followed = Followed(monkeypatch, until(10_000, UnreachableError("no webserver"), lambda: made[0]))
    made.append(followed)
    with pytest.raises(UnreachableError, match="no webserver"):
        list(followed.batches.follow("demo", "run-1"))
    assert 600 < followed.time < 700
    for error in (DENIED, BatchFailedError("it failed")):
        followed = Followed(monkeypatch, iter([RUNNING, error]))
        with pytest.raises(type(error)):
            list(followed.batches.follow("demo", "run-1"))


def test_an_input_that_dagster_does_not_show_is_not_another_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the assets are not loaded, the run that read the input is not known: that is nobody else's launch."""
    batches = Batches(Webserver("http://127.0.0.1:1"), BatchStorage(bucket="b"), BedrockBatchJobs())
    run: Any = type("Run", (), {"active": False, "retried_as": None, "status": "SUCCESS"})
    monkeypatch.setattr(batches.webserver, "run", lambda _: run)
    monkeypatch.setattr(batches, "facts", lambda _: None)
    unknown = BatchStatus("demo", BatchState.waiting, version="v", input_run=None)
    monkeypatch.setattr(module, "batch_status", lambda _: unknown)
    with pytest.raises(DagsterRefusedError, match="does not show the input"):
        batches._step("demo", "run-1")
    other = BatchStatus("demo", BatchState.waiting, version="v", input_run="run-2")
    monkeypatch.setattr(module, "batch_status", lambda _: other)
    with pytest.raises(BatchFailedError, match="launched again by run run-2"):
        batches._step("demo", "run-1")
