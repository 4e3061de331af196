"""Finding or asking for the one job: over HTTP, against the stand-in's own ledger and faults."""

from typing import Any

import pytest

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.jobs.ownership import JobOrder, JobRefusedError, find_or_create
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU
from bedrock_batch_assets_tests.service_model import violations


class Desk:
    """A bucket with records, a role, and orders for jobs on them."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        aws.create_bucket("data")
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 10,
            "messages": [{"role": "user", "content": "hi"}],
        }
        records = [{"recordId": f"r{index:010d}", "modelInput": body} for index in range(100)]
        aws.put_records("data", "in/demo-00000/demo-00000.jsonl", records)
        self.jobs = BedrockBatchJobs(role_arn=aws.create_role(), max_attempts=1)
        self.troubles: list[str] = []
        self.sleeps: list[float] = []

    def order(self, wave: int = 0, model_id: str = HAIKU) -> JobOrder:
        return JobOrder(
            name=JobName("demo-00000", content_digest("x"), wave),
            model_id=model_id,
            invocation_type="InvokeModel",
            input_uri="s3://data/in/demo-00000/",
            output_uri="s3://data/out/demo-00000/",
        )

    def ask(self, order: JobOrder | None = None) -> tuple[str, bool]:
        clock = Clock(sleep=self.sleeps.append, random=lambda: 0.5)
        return find_or_create(self.jobs, order or self.order(), on_trouble=self.troubles.append, clock=clock)


@pytest.fixture
def desk(local_aws: LocalAws) -> Desk:
    return Desk(local_aws)


def test_asking_twice_gives_one_job(desk: Desk) -> None:
    """The second question finds the first one's job, also from another process with no memory of it."""
    first = desk.ask()
    second = desk.ask()
    assert (first[1], second[1]) == (True, False)
    assert first[0] == second[0]
    assert len(desk.aws.jobs()) == 1


def test_every_parameter_fits_botocores_model_patterns_included(desk: Desk) -> None:
    """What is sent to Create is valid by the service model, with KMS, VPC and tags, which boto3 does not check."""
    sent: list[dict[str, Any]] = []
    desk.jobs = BedrockBatchJobs(
        role_arn=desk.jobs.role_arn,
        output_kms_key_id="arn:aws:kms:us-east-1:123456789012:key/0c2f6b7e-7c52-4bbd-9a0f-0a1b2c3d4e5f",
        subnet_ids=["subnet-0123456789abcdef0"],
        security_group_ids=["sg-0123456789abcdef0"],
        job_tags={"team": "data platform"},
    )
    desk.jobs.bedrock.meta.events.register(
        "provide-client-params.bedrock.CreateModelInvocationJob", lambda params, **_: sent.append(dict(params))
    )
    desk.ask()
    (parameters,) = sent
    assert violations("CreateModelInvocationJob", parameters) == []
    assert parameters["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == desk.jobs.output_kms_key_id
    assert parameters["vpcConfig"] == {
        "subnetIds": ["subnet-0123456789abcdef0"],
        "securityGroupIds": ["sg-0123456789abcdef0"],
    }
    assert {"key": "team", "value": "data platform"} in parameters["tags"]


def test_a_create_that_was_accepted_and_never_answered_is_found_again(desk: Desk) -> None:
    """The connection breaks after the service took the job: the next try finds it and makes no second one."""
    desk.aws.put_settings(
        {"api_faults": [{"operation": "CreateModelInvocationJob", "code": "drop", "when": "after", "count": 1}]}
    )
    _, created = desk.ask()
    assert not created
    assert len(desk.aws.jobs()) == 1


@pytest.mark.parametrize("answer", ["return", "conflict"])
def test_a_repeated_token_is_the_same_job_whatever_the_service_answers(desk: Desk, answer: str) -> None:
    """If the list does not show the job yet, the token finds it: by its ARN, or by a conflict and another look."""
    arn, _ = desk.ask()
    desk.aws.put_settings({"repeated_token": answer})
    looks = 0
    find_family = desk.jobs.find_family

    def late(name: JobName) -> Any:
        nonlocal looks
        looks += 1
        return {} if looks == 1 else find_family(name)

    object.__setattr__(desk.jobs, "find_family", late)
    assert desk.ask()[0] == arn
    assert len(desk.aws.jobs()) == 1


def test_a_full_quota_is_waited_for(desk: Desk) -> None:
    """While others hold all places in flight it waits and says so once, and then gets its job."""
    desk.aws.put_settings(
        {"api_faults": [{"operation": "CreateModelInvocationJob", "code": "ServiceQuotaExceededException", "count": 3}]}
    )
    _, created = desk.ask()
    assert created
    assert len(desk.troubles) == 1
    assert desk.sleeps == sorted(desk.sleeps)
    assert len(desk.sleeps) == 3


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "InternalServerException", "expired", "UnrecognizedClientException"]
)
def test_throttling_server_errors_and_expired_credentials_are_waited_out(desk: Desk, code: str) -> None:
    """Passing errors and refused credentials of List and Create delay the job and do not double it."""
    desk.aws.put_settings(
        {
            "api_faults": [
                {"operation": "CreateModelInvocationJob", "code": code, "count": 2},
                {"operation": "ListModelInvocationJobs", "code": code, "count": 2},
            ]
        }
    )
    assert desk.ask()[1]
    assert len(desk.aws.jobs()) == 1


def test_a_denied_permission_is_one_clear_error(desk: Desk) -> None:
    """Access denied names the action and the model, at once and after one call."""
    desk.aws.put_settings({"api_faults": [{"operation": "CreateModelInvocationJob", "code": "AccessDeniedException"}]})
    with pytest.raises(ConfigurationError, match="bedrock:CreateModelInvocationJob.*" + HAIKU):
        desk.ask()
    assert desk.aws.calls()["CreateModelInvocationJob"] == 1
    assert desk.sleeps == []


def test_a_model_that_is_not_batched_is_refused_with_the_services_words(desk: Desk) -> None:
    """A refusal that trying again does not change names the job, the model and the service's reason."""
    with pytest.raises(JobRefusedError, match="not supported for the requested model"):
        desk.ask(desk.order(model_id="cohere.embed-english-v3"))
    assert desk.aws.calls()["CreateModelInvocationJob"] == 1


def test_without_a_role_it_says_what_to_set(desk: Desk) -> None:
    """No configured role is an error that names the variable, before anything is asked of the service."""
    desk.jobs = BedrockBatchJobs()
    with pytest.raises(ConfigurationError, match="BEDROCK_BATCH_ROLE_ARN"):
        desk.ask()


def test_families_are_told_apart_by_whole_names(desk: Desk) -> None:
    """A job whose name merely contains the family is not of the family, and waves come in order."""
    desk.ask(desk.order(wave=2))
    desk.ask(desk.order())
    name = desk.order().name
    desk.aws.submit("s3://data/in/demo-00000/", desk.jobs.role_arn, HAIKU, jobName=f"other-{name}")
    assert [found.wave for found in desk.jobs.find_family(name)] == [0, 2]


def test_stopping_an_ended_job_is_no_error(desk: Desk) -> None:
    """Stop says whether there was something to stop."""
    arn, _ = desk.ask()
    desk.aws.wait_for_status("Completed")
    assert desk.jobs.stop(arn) is False
