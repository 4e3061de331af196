"""The policies of `deploy/data.yaml`: enough for everything that the platform does, and nothing in them is surplus."""

import ast
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.client.doctor import Examination
from bedrock_batch_assets.client.downloads import plan_download, run_download
from bedrock_batch_assets.client.models import list_models
from bedrock_batch_assets.client.stack import stack_environment
from bedrock_batch_assets.client.webserver import Webserver
from bedrock_batch_assets.cost.price_list import read_prices
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.events import drain_events
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.local.local_platform import free_port
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.deploy.guard import ACCOUNT, REGION, Guard
from bedrock_batch_assets_tests.deploy.template import STACK, deploy, read_template
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

ROWS, ROWS_PER_JOB = 220, 110
JOB = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/abcdefghijkl"


def sids(policy: str) -> list[str]:
    document = read_template()["Resources"][policy]["Properties"]["PolicyDocument"]
    return [statement["Sid"] for statement in document["Statement"]]


def statements(aws: LocalAws, arn: str) -> dict[str, dict[str, Any]]:
    """The statements of a deployed policy, with the names of the stack's resources in them."""
    iam = aws.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return {statement["Sid"]: statement for statement in document["Statement"]}


class Account:
    """An account with the stack in it, and everything that the platform does there."""

    def __init__(self, aws: LocalAws, instance: dg.DagsterInstance) -> None:
        self.ids = deploy(aws)
        self.environment = stack_environment(STACK, AwsClients())
        self.aws = aws
        storage = BatchStorage(bucket=self.environment["BEDROCK_BATCH_BUCKET"])
        jobs = BedrockBatchJobs(
            role_arn=self.environment["BEDROCK_BATCH_ROLE_ARN"],
            event_queue_url=self.environment["BEDROCK_BATCH_EVENT_QUEUE_URL"],
            max_poll_seconds=0.05,
        )
        self.bench = Bench(aws, instance, storage, jobs)
        # What was shown to a person on the way.
        self.said: list[str] = []

    def put(self, rows: int) -> str:
        bucket = self.bench.storage.bucket
        text = "topic\n" + "".join(f"topic {number}\n" for number in range(rows))
        self.aws.client("s3").put_object(Bucket=bucket, Key="inputs/t.csv", Body=text.encode())
        return f"s3://{bucket}/inputs/t.csv"

    def work(self) -> None:
        """Two jobs, a wave on demand for records that failed, a table, a smaller input, a stop, and the events."""
        faults = {"error": 0.1, "permanent": False, "error_code": "ThrottlingException"}
        self.aws.put_settings({"record_faults": faults})
        request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": ROWS_PER_JOB}
        for rows in (ROWS, ROWS_PER_JOB):
            with self._noted():
                self.bench.run("demo", s3_uri=self.put(rows), **request)
        with self._noted():
            self.bench.jobs.stop(JOB)
        with self._noted():
            drain_events(self.bench.jobs, lambda _: None, pytest.fail, deadline=float("inf"), max_messages=5)

    def command_line(self, folder: Path) -> None:
        """Look at a batch, fetch it, delete its data, list models, read the stack, examine the account."""
        storage = self.bench.storage
        with self._noted():
            storage.batch_manifest("demo")
        with self._noted():
            list(self.bench.jobs.list(name_contains="demo"))
        with self._noted():
            plan = plan_download(storage, "demo", folder)
            run_download(plan, storage.objects, on_bytes=lambda _: None)
        with self._noted():
            list_models(AwsClients(), Processors(), every=True)
        with self._noted():
            read_prices(AwsClients(), date(2026, 11, 26))
        with self._noted():
            stack_environment(STACK, AwsClients())
        with self._noted():
            storage.objects.delete_prefix(storage.layout.results_folder("demo"))
        nowhere = Webserver(f"http://127.0.0.1:{free_port()}")
        examination = Examination(nowhere, storage, self.bench.jobs, Prices(), Processors())
        self.said += [item.text for item in examination.findings() if "not allowed" in item.text]

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except (BatchError, dg.Failure) as error:
            self.said.append(str(getattr(error, "description", None) or error))


@pytest.fixture
def account(local_aws: LocalAws) -> Iterator[Account]:
    with dg.DagsterInstance.ephemeral() as instance:
        found = Account(local_aws, instance)
        yield found
        local_aws.client("cloudformation").delete_stack(StackName=STACK)


def test_the_platform_needs_its_policy_and_nothing_else(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that it does is denied, every statement allows something, and the batch is whole."""
    guard = Guard(statements(account.aws, account.ids["PlatformPolicy"]))
    guard.install(monkeypatch)
    account.work()
    assert account.said == []
    assert guard.denied == []
    assert guard.used == set(sids("PlatformPolicy"))
    total = account.bench.storage.table_manifest("demo").total
    assert (total.rows, total.ok) == (ROWS_PER_JOB, ROWS_PER_JOB)
    assert any(need.action == "bedrock:InvokeModel" for need in guard.needs)


@pytest.mark.parametrize("sid", sids("PlatformPolicy"))
def test_without_a_statement_a_person_reads_what_is_missing(
    account: Account, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sid: str
) -> None:
    """What the asset or the log shows names the action and the resource that are not allowed."""
    allowed = statements(account.aws, account.ids["PlatformPolicy"])
    del allowed[sid]
    guard = Guard(allowed)
    guard.install(monkeypatch)
    account.work()
    need = guard.denied[0]
    shown = "\n".join(account.said) + capfd.readouterr().err
    assert need.action in shown
    assert need.resource.rpartition(":")[2].partition("/")[0].removesuffix("*") in shown


PROFILE = "us.anthropic.claude-3-haiku-20240307-v1:0"
SERVICE_ACTIONS = {
    "ListBucket": "s3:ListBucket",
    "ReadRecords": "s3:GetObject",
    "WriteAnswers": "s3:PutObject",
    "InferenceProfiles": "bedrock:InvokeModel",
}


def service_policy(aws: LocalAws, account: Account) -> dict[str, Any]:
    name = account.environment["BEDROCK_BATCH_ROLE_ARN"].rpartition("/")[2]
    found = aws.client("iam").get_role_policy(RoleName=name, PolicyName="batch-inference")
    # The stand-in answers with Python's spelling of what CloudFormation made.
    document: dict[str, Any] = ast.literal_eval(str(found["PolicyDocument"]))
    return document


@pytest.mark.parametrize("sid", [None, *SERVICE_ACTIONS])
def test_the_service_role_is_enough_and_nothing_in_it_is_surplus(account: Account, sid: str | None) -> None:
    """The service works with that role. Without any one statement the job fails, and says what is missing."""
    document = service_policy(account.aws, account)
    assert {statement["Sid"] for statement in document["Statement"]} == set(SERVICE_ACTIONS)
    kept = [statement for statement in document["Statement"] if statement["Sid"] != sid]
    name = account.environment["BEDROCK_BATCH_ROLE_ARN"].rpartition("/")[2]
    account.aws.client("iam").put_role_policy(
        RoleName=name, PolicyName="batch-inference", PolicyDocument=json.dumps({**document, "Statement": kept})
    )
    bench = account.bench
    bench.input("demo", s3_uri=account.put(ROWS_PER_JOB), model_id=PROFILE, prompt_id="joke_about_topic")
    result = bench.chunk("demo-00000")
    if sid is None:
        assert result.success
        assert [job.status for job in bench.jobs.list()] == ["Completed"]
        return
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]
    assert f"is not authorized to perform: {SERVICE_ACTIONS[sid]} on resource: arn:aws:" in said
    assert account.aws.ledger() == []


def test_the_command_line_needs_its_policy_and_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing that it does is denied, and every statement allows something."""
    account.work()
    # Clients that are there already are not guarded.
    account.bench.storage = BatchStorage(bucket=account.bench.storage.bucket)
    old = account.bench.jobs
    account.bench.jobs = BedrockBatchJobs(role_arn=old.role_arn, event_queue_url=old.event_queue_url)
    guard = Guard(statements(account.aws, account.ids["CommandLinePolicy"]))
    guard.install(monkeypatch)
    account.command_line(tmp_path)
    assert account.said == []
    assert guard.denied == []
    assert guard.used == set(sids("CommandLinePolicy"))
