"""Cancelling a batch, look by look: what is asked to end, and when nothing more of it will begin."""

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from bedrock_batch_assets.client.cancellation import SETTLE_SECONDS, YOUNG_INPUT_SECONDS, BatchEnding
from bedrock_batch_assets.client.webserver import Backfill, Materialization, Run, Webserver
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG

WILL_RETRY = {"dagster/will_retry": "true"}


class Dagster:
    """What a webserver answers, set by the test, and what it was asked to end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.found_runs: list[Run] = []
        self.found_backfills: list[Backfill] = []
        self.input_age: float | None = None
        self.terminated: list[str] = []
        self.cancelled: list[str] = []

    def runs(self, _batch: str) -> list[Run]:
        return self.found_runs

    def backfills(self, _since: float) -> list[Backfill]:
        return self.found_backfills

    def materializations(self, _asset: str, keys: Sequence[str]) -> dict[str, Materialization]:
        if self.input_age is None:
            return {}
        return {key: Materialization(key, "r", time.time() - self.input_age, "v") for key in keys}

    def terminate_runs(self, ids: Sequence[str]) -> None:
        self.terminated += ids

    def cancel_backfill(self, backfill: str) -> None:
        self.cancelled.append(backfill)

    def ending(self) -> BatchEnding:
        """A cancellation that sees this Dagster; each job of its Bedrock is stopped."""

        class Jobs:
            def get(self, arn: str) -> JobState:
                return JobState.from_response({"jobArn": arn, "status": "Stopped", **_REST})

        return BatchEnding("demo", cast("Webserver", self), cast("BedrockBatchJobs", Jobs()), now=lambda: self.seconds)


_REST: dict[str, Any] = {
    "modelId": "m",
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://data/o/"}},
}


def is_over_at(ending: BatchEnding, dagster: Dagster, seconds: float) -> bool:
    """Whether a look at that time finds that the batch has ended."""
    dagster.seconds = seconds
    ending.look()
    return ending.is_over


def run(name: str, status: str, **tags: str) -> Run:
    return Run(name, status, tags={"dagster/partition": f"demo-{name}", **tags}, created_at=1.0)


def backfill(status: str) -> Backfill:
    return Backfill("b", status, {BATCH_TAG: "demo"})


def test_what_goes_on_is_asked_to_end_and_told_once_it_has() -> None:
    """Runs and backfills in progress are asked, those that end already are not, and a job's state comes at the end."""
    dagster = Dagster()
    dagster.found_backfills = [backfill("REQUESTED"), Backfill("other", "REQUESTED", {BATCH_TAG: "another"})]
    dagster.found_runs = [
        run("a", "STARTED", **{JOB_ARN_TAG: "arn:a"}),
        run("b", "CANCELING"),
        run("c", "FAILURE", **WILL_RETRY),
        run("d", "SUCCESS"),
    ]
    ending = dagster.ending()
    first = ending.look()
    assert (dagster.cancelled, dagster.terminated) == (["b"], ["a"])
    assert (list(first.runs), first.jobs) == ([], {})
    assert list(first.left) == ["backfill b", "run a", "run b", "run c"]

    dagster.found_backfills = [backfill("CANCELING")]
    dagster.found_runs = [run("a", "CANCELED", **{JOB_ARN_TAG: "arn:a"}), run("b", "CANCELED"), run("c", "FAILURE")]
    second = ending.look()
    assert (dagster.cancelled, dagster.terminated) == (["b"], ["a"])
    assert (list(second.runs), second.jobs, list(second.left)) == (["a", "b", "c"], {}, ["backfill b"])

    dagster.found_backfills = [backfill("CANCELED")]
    last = ending.look()
    assert (list(last.backfills), list(last.runs), last.jobs) == (["b"], ["a", "b", "c"], {"arn:a": "Stopped"})
    assert not last.left


@pytest.mark.parametrize(
    ("input_age", "asked_since", "quiet_seconds"),
    [
        (None, False, 0.0),
        (YOUNG_INPUT_SECONDS + 1, False, 0.0),
        (YOUNG_INPUT_SECONDS / 2, True, 0.0),
        (YOUNG_INPUT_SECONDS / 2, False, SETTLE_SECONDS),
    ],
    ids=["no input", "old input", "chunks were asked for", "young input"],
)
def test_a_batch_whose_chunks_may_still_be_asked_for_is_watched(
    input_age: float | None, asked_since: bool, quiet_seconds: float
) -> None:
    """Quiet counts as the end at once, unless the sensor may be about to ask for the chunks of a young input."""
    dagster = Dagster()
    dagster.input_age = input_age
    if asked_since:
        dagster.found_runs = [Run("a", "CANCELED", tags={"dagster/partition": "demo-00000"}, created_at=time.time())]
    ending = dagster.ending()
    moments = [0.0, max(quiet_seconds - 0.1, 0.0), quiet_seconds]
    assert [is_over_at(ending, dagster, moment) for moment in moments] == [quiet_seconds == 0] * 2 + [True]


def test_a_run_that_begins_while_it_is_quiet_begins_the_wait_anew() -> None:
    """What the sensor asked for in between is ended as well, and the batch is watched as long again."""
    dagster = Dagster()
    dagster.input_age = 1.0
    ending = dagster.ending()
    assert not is_over_at(ending, dagster, 0)
    dagster.found_runs = [run("late", "QUEUED")]
    assert not is_over_at(ending, dagster, SETTLE_SECONDS - 1)
    assert dagster.terminated == ["late"]
    dagster.found_runs = [run("late", "CANCELED")]
    assert not is_over_at(ending, dagster, SETTLE_SECONDS + 1)
    assert is_over_at(ending, dagster, 2 * SETTLE_SECONDS + 1)
    assert list(ending.look().runs) == ["late"]
