"""Runs as ECS tasks that park, under Dagster's own launcher and daemon, on Postgres, by the instance file itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bedrock_batch_assets_tests.deploy.template import read_template
from bedrock_batch_assets_tests.hosting.recoveries import CHUNKS, STEPS, Recovery, instance_for, recover
from bedrock_batch_assets_tests.hosting.services import Services
from bedrock_batch_assets_tests.postgres import Postgres

OUTAGE_SECONDS = 10.0
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Played:
    """What came of it, and the calls of ECS."""

    recovery: Recovery
    calls: dict[str, int]


@pytest.fixture(scope="module")
def played(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    launcher = "ecs-parked"
    settings = {"instance": instance_for(launcher), "aws_settings": {"seconds": STEPS}}
    with (
        pytest.MonkeyPatch.context() as patch,
        Services(tmp_path_factory.mktemp("ecs"), postgres_server, launcher, **settings) as services,
    ):
        for name, value in services.environment.items():
            patch.setenv(name, value)
        recovery = recover(services, postgres_server, outage_seconds=OUTAGE_SECONDS, again=False)
        yield Played(recovery, dict(services.ecs.calls))


def test_each_event_is_recovered_from(played: Played) -> None:
    """A killed task, a cancelled run, a database that is away, a new version: all go on within minutes, by themselves.

    The chunk whose run was cancelled stays so, and the others have their parts.
    """
    assert played.recovery.seconds.keys() == {"kill", "cancel", "outage", "redeploy"}
    assert played.recovery.states == ["SUCCESS", "CANCELED", *["SUCCESS"] * (CHUNKS - 2)]


def test_nothing_is_paid_twice(played: Played) -> None:
    """By the stand-in's ledger, no record was paid for a second time."""
    assert played.recovery.paid_twice == 0


def test_runs_wait_without_a_task(played: Played) -> None:
    """Each chunk's run has a task of its own, and a second one only to end; the fixture saw none while the jobs ran.

    The input's run is one more, and so is that after the kill; the first call makes the task that Dagster is in.
    """
    assert played.calls["RunTask"] - 1 <= 1 + CHUNKS + (CHUNKS - 1) + 1


def test_the_tasks_role_allows_what_the_launcher_calls(played: Played) -> None:
    """Each operation of ECS and EC2 is in LauncherPolicy of hosting.yaml, and none of these is there for nothing."""
    made_by_the_test = {"CreateCluster", "RegisterTaskDefinition", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups"}
    called = {name if ":" in name else f"ecs:{name}" for name in played.calls.keys() - made_by_the_test}
    policy = read_template("hosting.yaml")["Resources"]["LauncherPolicy"]["Properties"]["PolicyDocument"]
    allowed: set[str] = set()
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert called <= allowed
    # Tags are part of RunTask, and the role is passed with it. A parked run has no task to stop; a test of the launcher
    # stops one. Logs are read if a task that failed has a log group.
    assert allowed - called == {"ecs:StopTask", "ecs:TagResource", "iam:PassRole", "logs:GetLogEvents"}
