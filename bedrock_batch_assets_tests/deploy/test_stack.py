"""`deploy/data.yaml`, deployed to the stand-in: nothing but its outputs is needed for a batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dotenv import dotenv_values

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.client.stack import stack_environment
from bedrock_batch_assets.command_line import cli
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.events import drain_events
from bedrock_batch_assets.resources import default_resources
from bedrock_batch_assets_tests.deploy.template import STACK, deploy, read_template
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def environment(local_aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The stack's own environment: what `bedrock-batch env` prints, read as Dagster reads a .env file."""
    deploy(local_aws)
    printed = CliRunner().invoke(cli, ["env", STACK], catch_exceptions=False)
    assert printed.exit_code == 0, printed.output
    file = tmp_path / ".env"
    file.write_text(printed.output)
    variables = {name: value for name, value in dotenv_values(file).items() if value is not None}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield variables
    local_aws.client("cloudformation").delete_stack(StackName=STACK)


def bench_of(aws: LocalAws, instance: dg.DagsterInstance) -> Bench:
    """The resources that the code location makes of the environment."""
    resources: dict[str, Any] = default_resources()
    return Bench(aws, instance, resources["storage"], resources["jobs"])


def test_a_batch_runs_on_the_outputs_alone(local_aws: LocalAws, environment: dict[str, str]) -> None:
    """Bucket, role and queue of the stack: a batch of jobs goes through, and the queue gets the jobs' events."""
    assert {"BEDROCK_BATCH_BUCKET", "BEDROCK_BATCH_ROLE_ARN", "BEDROCK_BATCH_EVENT_QUEUE_URL"} < set(environment)
    text = "topic\n" + "".join(f"topic {number}\n" for number in range(150))
    bucket = environment["BEDROCK_BATCH_BUCKET"]
    local_aws.client("s3").put_object(Bucket=bucket, Key="inputs/t.csv", Body=text.encode())
    with dg.DagsterInstance.ephemeral() as instance:
        bench = bench_of(local_aws, instance)
        bench.run("demo", s3_uri=f"s3://{bucket}/inputs/t.csv", model_id=HAIKU, prompt_id="joke_about_topic")
        summary = bench.storage.table_manifest("demo").total
        assert (summary.rows, summary.ok) == (150, 150)
        statuses: list[str] = []
        drain_events(
            bench.jobs,
            lambda events: statuses.extend(event.status for event in events),
            pytest.fail,
            deadline=float("inf"),
            max_messages=5,
        )
    assert "Completed" in statuses


def test_the_bucket_is_encrypted(local_aws: LocalAws, environment: dict[str, str]) -> None:
    """What is written without a key of one's own is encrypted all the same."""
    rules = local_aws.client("s3").get_bucket_encryption(Bucket=environment["BEDROCK_BATCH_BUCKET"])
    default = rules["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    assert default["SSEAlgorithm"] == "AES256"


def test_the_bucket_is_private_and_keeps_what_was_paid_for() -> None:
    """The stand-in does not take these settings: no public access, TLS alone, and nothing expires that was paid for."""
    resources = read_template()["Resources"]
    bucket = resources["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    expiring = [rule for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
    assert [rule["Prefix"] for rule in expiring] == ["batch_inputs_json/", "batch_parked_runs/"]
    assert resources["Bucket"]["DeletionPolicy"] == "Retain"
    [statement] = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}


def test_stacks_that_are_not_ours_are_refused(local_aws: LocalAws) -> None:
    """A stack that is missing, and one of something else, are one clear error each."""
    connection = AwsClients()
    with pytest.raises(ConfigurationError, match="There is no stack 'nothing' in us-east-1"):
        stack_environment("nothing", connection)
    template = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}, "Outputs": {"Other": {"Value": "1"}}}'
    local_aws.client("cloudformation").create_stack(StackName="other", TemplateBody=template)
    with pytest.raises(ConfigurationError, match="no output for BEDROCK_BATCH_BUCKET"):
        stack_environment("other", connection)
