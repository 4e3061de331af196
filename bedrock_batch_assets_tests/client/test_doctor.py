"""`bedrock-batch doctor`: what is there is ok, and what is missing is a problem that says what to do."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bedrock_batch_assets.command_line import cli
from bedrock_batch_assets.local.local_platform import free_port
from bedrock_batch_assets_tests.deploy.template import STACK, deploy
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

# Nothing listens there.
NOWHERE = f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def account(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """An account with the stack, which the environment names."""
    deploy(local_aws)
    outputs = json.loads(invoke("env", STACK, "--json").output)
    for name, value in outputs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", "")
    yield local_aws
    local_aws.client("cloudformation").delete_stack(StackName=STACK)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--url", NOWHERE, *arguments], catch_exceptions=False)


def findings() -> dict[str, tuple[str, str]]:
    found: list[dict[str, Any]] = json.loads(invoke("doctor", "--json").output)
    return {item["topic"]: (item["state"], item["text"]) for item in found}


def test_the_stack_lacks_nothing_and_dagster_is_missed(account: LocalAws) -> None:
    """All that the stack makes is ok. Without a webserver, that is the one problem, and the exit code says so."""
    found = findings()
    states = {topic: state for topic, (state, _) in found.items()}
    for topic in ("region", "identity", "bucket", "encryption", "role", "models", "event queue"):
        assert states[topic] == "ok", found[topic]
    assert [topic for topic, state in states.items() if state == "problem"] == ["dagster"]
    assert "make dev" in found["dagster"][1]
    shown = invoke("doctor")
    assert shown.exit_code == 3
    assert "problem" in shown.output


def test_a_bucket_that_is_not_there_and_a_role_that_bedrock_cannot_assume(
    account: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a problem of its own that names what to change; the rest is examined all the same."""
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Statement": [statement]}
    role = account.client("iam").create_role(RoleName="other", AssumeRolePolicyDocument=json.dumps(document))["Role"]
    monkeypatch.setenv("BEDROCK_BATCH_ROLE_ARN", role["Arn"])
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", "nowhere")
    found = findings()
    assert found["bucket"][0] == found["role"][0] == "problem"
    assert "'nowhere'" in found["bucket"][1]
    assert "trust policy" in found["role"][1]
    assert found["models"][0] == "ok"


def test_old_prices_are_a_problem(account: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of last year is said to be old; one of today is ok."""
    for days, state in ((400, "problem"), (0, "ok")):
        table = {"as_of": (date.today() - timedelta(days=days)).isoformat(), "source": "a test", "models": {}}
        (tmp_path / "prices.json").write_text(json.dumps(table))
        monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(tmp_path / "prices.json"))
        assert findings()["prices"][0] == state
