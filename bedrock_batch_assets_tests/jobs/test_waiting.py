"""Waiting: how often it looks, and what it takes in its stride."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waiting import poll_seconds, wait_until_finished

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.sleeps.append(seconds)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self.sleep, random=lambda: 0.5)


class ScriptedBedrock:
    """Answers Get calls from a list: a status, or an exception to raise."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)

    def get_model_invocation_job(self, jobIdentifier: str) -> dict[str, Any]:  # noqa: N803
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {
            "jobArn": jobIdentifier,
            "jobName": "demo",
            "status": answer,
            "modelId": "m",
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://b/o/"}},
        }


def service_error(code: str, status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetModelInvocationJob")


def wait(*answers: str | Exception) -> tuple[JobState, list[str], list[str], FakeClock]:
    jobs = BedrockBatchJobs()
    jobs._clients["bedrock"] = ScriptedBedrock(*answers)
    time = FakeClock()
    changes: list[str] = []
    troubles: list[str] = []
    state = wait_until_finished(
        jobs,
        ARN,
        on_change=lambda state, _: changes.append(state.status),
        on_trouble=troubles.append,
        clock=time.clock(),
    )
    return state, changes, troubles, time


def test_each_status_is_told_once_and_unknown_ones_are_waited_through() -> None:
    """A status that nobody knows yet means waiting; a status seen twice is told once."""
    state, changes, _, _ = wait("Submitted", "Validating", "Validating", "Reticulating", "InProgress", "Completed")
    assert state.finished
    assert changes == ["Submitted", "Validating", "Reticulating", "InProgress", "Completed"]


@pytest.mark.parametrize("status", ["Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"])
def test_every_terminal_status_ends_the_wait(status: str) -> None:
    """Each of the service's five terminal statuses ends the wait with that status."""
    assert wait(status)[0].status == status


def test_throttling_server_errors_and_broken_connections_only_slow_it_down() -> None:
    """Passing errors are waited through, told once a row, and end nothing."""
    state, _, troubles, time = wait(
        service_error("ThrottlingException", 429),
        service_error("InternalServerException", 500),
        service_error("RequestTimeout", 400),
        service_error("throttling", 400),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        "InProgress",
        service_error("ThrottlingException", 429),
        "Completed",
    )
    assert state.status == "Completed"
    assert len(troubles) == 2
    assert time.sleeps[0] < time.sleeps[1] < time.sleeps[2]


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredToken"]
)
def test_expired_credentials_are_waited_out(code: str) -> None:
    """A token that expires while the job runs ends nothing: it is said once, however long it takes to renew it."""
    refusals = [service_error(code, 403)] * 200
    state, changes, troubles, _ = wait("InProgress", *refusals, "Completed")
    assert state.status == "Completed"
    assert changes == ["InProgress", "Completed"]
    assert len(troubles) == 1
    assert code in troubles[0]


def test_a_job_just_created_may_be_unknown_for_a_while() -> None:
    """Not found right after Create is waited through, within the grace period."""
    assert wait(service_error("ResourceNotFoundException", 404), "Completed")[0].status == "Completed"


def test_a_job_that_stays_unknown_is_an_error() -> None:
    """Not found beyond the grace period is raised, not waited for until the end of days."""
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        wait(*[service_error("ResourceNotFoundException", 404)] * 50)


def test_a_denied_permission_ends_the_wait_at_once() -> None:
    """Access denied is one clear error that names the action, and not a retry storm."""
    with pytest.raises(ConfigurationError, match="bedrock:GetModelInvocationJob"):
        wait("InProgress", service_error("AccessDeniedException", 403), "Completed")


def test_looks_get_rarer_the_longer_a_job_runs() -> None:
    """A job of seconds is looked at every second, one of hours once a minute, and never more than 6 % too late."""
    assert poll_seconds(0, 60, 0.5) == pytest.approx(1.0)
    assert poll_seconds(10 * 3600, 60, 0.5) == pytest.approx(60.0)
    for waited in (30, 300, 1000):
        assert poll_seconds(waited, 60, 1.0) <= max(1.2, waited * 0.0601)


@pytest.mark.parametrize(("told_at", "seen_at"), [(2_005.0, 2_006.0), (float("inf"), 2_060.0)])
def test_word_that_the_job_has_finished_ends_the_sleep(told_at: float, seen_at: float) -> None:
    """A run asleep for a minute looks within two seconds of the word; without any it sleeps its minute."""
    time = FakeClock()
    looks: list[float] = []

    class Slow(ScriptedBedrock):
        def get_model_invocation_job(self, jobIdentifier: str) -> dict[str, Any]:  # noqa: N803
            looks.append(time.time)
            return super().get_model_invocation_job(jobIdentifier)

    jobs = BedrockBatchJobs()
    jobs._clients["bedrock"] = Slow("InProgress", "InProgress", "Completed")
    wait_until_finished(
        jobs,
        ARN,
        # The first look takes so long that the job counts as an old one.
        on_change=lambda *_: setattr(time, "time", 2_000.0),
        on_trouble=print,
        clock=time.clock(),
        has_finished_notice=lambda: told_at <= time.time < told_at + 3,
    )
    assert looks[1] == pytest.approx(seen_at)


def test_wrong_word_costs_one_look_a_poll() -> None:
    """Word that stays wrong doubles the looks at most; it does not make a run ask again and again."""
    statuses = ["InProgress"] * 20 + ["Completed"]
    time = FakeClock()
    jobs = BedrockBatchJobs()
    jobs._clients["bedrock"] = ScriptedBedrock(*statuses)
    wait_until_finished(
        jobs,
        ARN,
        on_change=lambda state, _: setattr(time, "time", 2_000.0) if not state.finished else None,
        on_trouble=print,
        clock=time.clock(),
        has_finished_notice=lambda: True,
    )
    assert time.time > 2_000 + 10 * 60
