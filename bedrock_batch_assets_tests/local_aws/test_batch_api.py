import http.client
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import botocore.session
import msgspec
import pytest

from bedrock_batch_assets.local_aws.service import Service
from bedrock_batch_assets.local_aws.settings import Settings, changed
from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, TITAN, Ready
from bedrock_batch_assets_tests.local_aws_fixture import refused

ACCOUNT = "123456789012"


def input_at(uri: str, **more: str) -> dict[str, Any]:
    return {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri, **more}}}


def output_at(uri: str, **more: str) -> dict[str, Any]:
    return {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": uri, **more}}}


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"jobName": "with_underscore"}, "jobName"),
        ({"jobName": "with space"}, "jobName"),
        ({"jobName": "-leading"}, "jobName"),
        ({"jobName": "a" * 64}, "jobName"),
        ({"jobName": ""}, "jobName"),
        ({"jobName": "a" + "-" * 50 + "_"}, "jobName"),
        ({"jobName": None}, "jobName"),
        ({"roleArn": "arn:aws:iam::123456789012:user/x"}, "roleArn"),
        ({"roleArn": "BatchRole"}, "roleArn"),
        ({"modelId": "us.deepseek.v3.2"}, "modelId"),
        ({"modelId": f"arn:aws:bedrock:us-east-1:{ACCOUNT}:provisioned-model/abcdefghijkl"}, "modelId"),
        ({"modelId": "a b"}, "modelId"),
        ({"clientRequestToken": "with_underscore"}, "clientRequestToken"),
        ({"timeoutDurationInHours": 23}, "timeoutDurationInHours"),
        ({"timeoutDurationInHours": 169}, "timeoutDurationInHours"),
        ({"timeoutDurationInHours": "24"}, "timeoutDurationInHours"),
        ({"modelInvocationType": "Chat"}, "modelInvocationType"),
        ({"tags": [{"key": "k", "value": "ü€"}]}, "tags.1.member.value"),
        ({"tags": [{"key": "", "value": "v"}]}, "tags.1.member.key"),
        ({"vpcConfig": {"subnetIds": [], "securityGroupIds": ["sg-1"]}}, "vpcConfig.subnetIds"),
        ({"vpcConfig": {"subnetIds": ["subnet-1"]}}, "vpcConfig.securityGroupIds"),
        ({"vpcConfig": {"subnetIds": ["subnet-1"] * 17, "securityGroupIds": ["sg-1"]}}, "vpcConfig.subnetIds"),
        (input_at("s3://data/dt=2024-01-01/"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("s3://data/a:b/"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("s3://data/a|b/"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("s3://data/a b"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("s3://data//in"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("https://data/in"), "inputDataConfig.s3InputDataConfig.s3Uri"),
        (input_at("s3://data/in", s3InputFormat="CSV"), "inputDataConfig.s3InputDataConfig.s3InputFormat"),
        (input_at("s3://data/in", s3BucketOwner="me"), "inputDataConfig.s3InputDataConfig.s3BucketOwner"),
        ({"inputDataConfig": {}}, "inputDataConfig"),
        ({"inputDataConfig": {"s3InputDataConfig": {}}}, "inputDataConfig.s3InputDataConfig.s3Uri"),
        (output_at("s3://data/a+b/"), "outputDataConfig.s3OutputDataConfig.s3Uri"),
        (output_at("s3://data/out", s3EncryptionKeyId="k"), "outputDataConfig.s3OutputDataConfig.s3EncryptionKeyId"),
    ],
)
def test_create_refuses_what_the_service_model_does_not_allow(
    ready: Ready, parameters: dict[str, Any], place: str
) -> None:
    """A parameter outside its documented pattern, enum, type or size is a ValidationException that names it."""
    with refused("ValidationException", f"at '{place}'", status=400):
        ready.submit(**parameters)
    assert ready.aws.jobs() == []


def test_get_answers_with_every_field(slow: Ready) -> None:
    """Get gives back the request, with the model id as an ARN, defaults filled in, and counts of zero."""
    vpc = {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    arn = slow.submit(
        jobName="all-fields", clientRequestToken="token-1", timeoutDurationInHours=48, vpcConfig=vpc,
        tags=[{"key": "team", "value": "a b"}], modelInvocationType="InvokeModel",
    )  # fmt: skip
    job = slow.aws.job(arn)
    assert job["jobArn"] == arn
    assert len(arn.rpartition("/")[2]) == 12
    assert job["jobName"] == "all-fields"
    assert job["clientRequestToken"] == "token-1"
    assert job["modelId"] == f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"
    assert job["status"] == "Submitted"
    assert job["vpcConfig"] == vpc
    assert job["timeoutDurationInHours"] == 48
    assert job["jobExpirationTime"] - job["submitTime"] == timedelta(hours=48)
    assert job["modelInvocationType"] == "InvokeModel"
    assert job["inputDataConfig"] == {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": slow.uri}}
    assert job["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}}
    for count in ("total", "processed", "success", "error"):
        assert job[f"{count}RecordCount"] == 0
    assert "endTime" not in job
    tags = slow.aws.client("bedrock").list_tags_for_resource(resourceARN=arn)["tags"]
    assert tags == [{"key": "team", "value": "a b"}]


def test_get_and_list_describe_a_job_alike(slow: Ready) -> None:
    """A summary has the same fields as Get's answer."""
    job = slow.aws.job(slow.submit())
    job.pop("ResponseMetadata")
    assert slow.aws.client("bedrock").list_model_invocation_jobs()["invocationJobSummaries"] == [job]


def test_get_takes_the_full_arn_only(ready: Ready) -> None:
    """The 12 characters alone are refused though the pattern allows them, as the live service does."""
    arn = ready.submit()
    bedrock = ready.aws.client("bedrock")
    for call in (bedrock.get_model_invocation_job, bedrock.stop_model_invocation_job):
        with refused("ValidationException", "The provided ARN is invalid", status=400):
            call(jobIdentifier=arn.rpartition("/")[2])
        with refused("ValidationException", "jobIdentifier"):
            call(jobIdentifier=f"{arn}x")
        with refused("ResourceNotFoundException", status=404):
            call(jobIdentifier=arn.rpartition("/")[0] + "/000000000000")


def test_the_arn_is_encoded_once_in_the_path(ready: Ready) -> None:
    """An ARN with a bare slash in the path is no operation; encoded, it is found."""
    arn = ready.submit()
    statuses = []
    for path in (arn, quote(arn, safe=""), quote(quote(arn, safe=""), safe="")):
        connection = http.client.HTTPConnection(ready.aws.endpoint_url.removeprefix("http://"))
        connection.request("GET", f"/model-invocation-job/{path}")
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses == [404, 200, 400]


def test_an_empty_page_of_the_book(ready: Ready) -> None:
    """List of no jobs is an empty list without a token."""
    answer = ready.aws.client("bedrock").list_model_invocation_jobs()
    assert answer["invocationJobSummaries"] == []
    assert "nextToken" not in answer


def test_list_pages_give_each_job_once_also_while_jobs_come_in(slow: Ready) -> None:
    """Pages from newest to oldest cover the jobs there were at the first page, whatever is submitted meanwhile."""
    for index in range(7):
        slow.submit(jobName=f"job-{index}")
    bedrock = slow.aws.client("bedrock")
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = bedrock.list_model_invocation_jobs(maxResults=3, **token)
        names += [job["jobName"] for job in answer["invocationJobSummaries"]]
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
        slow.submit(jobName=f"later-{len(names)}")
    assert names == [f"job-{index}" for index in reversed(range(7))]


def test_list_through_the_paginator_in_ascending_order(slow: Ready) -> None:
    """boto3's own paginator works, and sortOrder is followed."""
    for index in range(5):
        slow.submit(jobName=f"job-{index}")
    pages = slow.aws.client("bedrock").get_paginator("list_model_invocation_jobs").paginate(
        sortBy="CreationTime", sortOrder="Ascending", maxResults=2
    )  # fmt: skip
    sizes, names = [], []
    for page in pages:
        sizes.append(len(page["invocationJobSummaries"]))
        names += [job["jobName"] for job in page["invocationJobSummaries"]]
    assert sizes == [2, 2, 1]
    assert names == [f"job-{index}" for index in range(5)]


def test_list_filters(slow: Ready) -> None:
    """Name, status and times each narrow the list down, and times are exclusive."""
    first, second = slow.submit(jobName="demo-a-1"), slow.submit(jobName="demo-b-1")
    slow.aws.advance(15)
    third = slow.submit(jobName="other-a")
    bedrock = slow.aws.client("bedrock")

    def listed(**filters: Any) -> set[str]:
        summaries = bedrock.list_model_invocation_jobs(**filters)["invocationJobSummaries"]
        return {job["jobArn"] for job in summaries}

    middle = slow.aws.job(third)["submitTime"] - timedelta(seconds=5)
    assert listed(nameContains="demo") == {first, second}
    assert listed(nameContains="a") == {first, third}
    assert listed(statusEquals="Validating") == {first, second}
    assert listed(statusEquals="Submitted") == {third}
    assert listed(statusEquals="Failed") == set()
    assert listed(submitTimeAfter=middle) == {third}
    assert listed(submitTimeBefore=middle) == {first, second}
    assert listed(submitTimeBefore=middle, nameContains="b-1") == {second}
    assert listed(submitTimeAfter=datetime.now(UTC) + timedelta(days=1)) == set()


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"maxResults": 0}, "maxResults"),
        ({"maxResults": 1001}, "maxResults"),
        ({"statusEquals": "Running"}, "statusEquals"),
        ({"nameContains": "a_b"}, "nameContains"),
        ({"sortOrder": "Up"}, "sortOrder"),
        ({"nextToken": "bm9uZQ=="}, "nextToken"),
    ],
)
def test_list_refuses_wrong_parameters(ready: Ready, query: dict[str, Any], place: str) -> None:
    """A query parameter that does not fit is a ValidationException that names it."""
    with refused("ValidationException", place):
        ready.aws.client("bedrock").list_model_invocation_jobs(**query)


def test_a_token_belongs_to_its_filters(slow: Ready) -> None:
    """A nextToken is refused with other filters than those it came from."""
    for _ in range(2):
        slow.submit()
    bedrock = slow.aws.client("bedrock")
    token = bedrock.list_model_invocation_jobs(maxResults=1)["nextToken"]
    with refused("ValidationException", "nextToken"):
        bedrock.list_model_invocation_jobs(maxResults=1, nextToken=token, nameContains="job")


def test_a_repeated_token_gives_the_first_job(slow: Ready) -> None:
    """The same clientRequestToken and parameters make one job, also if the quota is used up by then."""
    slow.aws.put_settings({"max_jobs_in_flight": 1})
    arn = slow.submit(clientRequestToken="token-1")
    assert slow.submit(clientRequestToken="token-1") == arn
    assert len(slow.aws.jobs()) == 1
    with refused("ConflictException", "other parameters", status=400):
        slow.submit(clientRequestToken="token-1", jobName="other")


def test_a_repeated_token_can_be_a_conflict(slow: Ready) -> None:
    """With repeated_token set to conflict the second request is refused, and still there is one job."""
    slow.aws.put_settings({"repeated_token": "conflict"})
    slow.submit(clientRequestToken="token-1")
    with refused("ConflictException"):
        slow.submit(clientRequestToken="token-1")
    assert len(slow.aws.jobs()) == 1


def test_the_quota_counts_jobs_of_a_model_that_have_not_ended(slow: Ready) -> None:
    """A job over the limit is refused; other models are counted apart; a job that ended makes room."""
    slow.aws.put_settings({"max_jobs_in_flight": 2})
    slow.submit()
    slow.submit(f"us.{HAIKU}")
    with refused("ServiceQuotaExceededException", status=400):
        slow.submit()
    slow.submit(TITAN)
    slow.aws.advance(100)
    slow.submit()
    assert slow.aws.max_in_flight() == {HAIKU: 2, TITAN: 1}


def test_calls_over_the_rate_are_throttled(ready: Ready) -> None:
    """Calls over the rate of their operation get ThrottlingException; others do not."""
    ready.aws.put_settings({"request_rates": {"ListModelInvocationJobs": 0.001}})
    bedrock = ready.aws.client("bedrock", retries=False)
    bedrock.list_model_invocation_jobs()
    with refused("ThrottlingException", status=429):
        bedrock.list_model_invocation_jobs()
    ready.submit()


@pytest.mark.parametrize(
    ("role", "code", "message"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/Missing", "AccessDeniedException", "iam:PassRole"),
        ("arn:aws:iam::999999999999:role/BatchRole", "AccessDeniedException", "Cross-account pass role"),
        (f"arn:aws:iam::{ACCOUNT}:role/ForLambda", "ValidationException", "trust policy"),
    ],
)
def test_the_role_must_be_one_that_bedrock_may_take_on(ready: Ready, role: str, code: str, message: str) -> None:
    """A role that is missing, of another account, or that does not trust Bedrock, is refused."""
    ready.aws.create_role("ForLambda", "lambda.amazonaws.com")
    with refused(code, message):
        ready.submit(roleArn=role)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (input_at("s3://no-such-bucket/in/"), "Could not validate ListBucket permissions"),
        (output_at("s3://no-such-bucket/out/"), "Could not validate ListBucket permissions"),
        (input_at("s3://data/in/", s3BucketOwner="999999999999"), "Could not validate ListBucket permissions"),
        (input_at("s3://data/nothing/"), "Could not validate GetObject permissions"),
        (input_at("s3://data/in/row"), "Could not validate GetObject permissions"),
    ],
)
def test_buckets_and_input_must_be_there(ready: Ready, parameters: dict[str, Any], message: str) -> None:
    """A missing bucket or input is refused at Create."""
    with refused("ValidationException", message):
        ready.submit(**parameters)


@pytest.mark.parametrize(
    ("model_id", "message"),
    [
        ("amazon.titan-embed-text-v1", "Batch inference is not supported for the requested model"),
        ("cohere.embed-english-v3", "Batch inference is not supported for the requested model"),
        ("us.anthropic.claude-opus-4-7", "Batch inference is not supported for the requested model"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "The provided ARN is invalid for the service region"),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "The provided ARN is invalid for the service region"),
        ("us.qwen.qwen3-32b-v1:0", "model identifier is invalid"),
        ("anthropic.claude-99", "model identifier is invalid"),
        (f"arn:aws:bedrock:eu-west-1::foundation-model/{HAIKU}", "The provided ARN is invalid for the service region"),
        (f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/none", "model identifier is invalid"),
    ],
)
def test_models_that_cannot_be_used(ready: Ready, model_id: str, message: str) -> None:
    """Models without batch, ids of the wrong kind, and unknown ids are refused."""
    with refused("ValidationException", message):
        ready.submit(model_id)


@pytest.mark.parametrize(
    ("model_id", "arn"),
    [
        ("us.amazon.nova-2-lite-v1:0", f"{ACCOUNT}:inference-profile/us.amazon.nova-2-lite-v1:0"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", None),
        ("amazon.nova-lite-v1:0:300k", ":foundation-model/amazon.nova-lite-v1:0:300k"),
        ("deepseek.v3.2", ":foundation-model/deepseek.v3.2"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}", f":foundation-model/{HAIKU}"),
        (f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{HAIKU}", None),
        (f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abc123", None),
        (f"arn:aws:bedrock:us-east-1:{ACCOUNT}:custom-model/amazon.titan-embed-image-v1:0/abcdefghijkl", None),
    ],
)
def test_every_form_of_a_model_id_is_resolved(slow: Ready, model_id: str, arn: str | None) -> None:
    """Get answers with the model's full ARN in each case; an ARN is kept as it is."""
    slow.aws.put_settings({"application_profiles": {"abc123": f"us.{HAIKU}"}})
    got = slow.aws.job(slow.submit(model_id))["modelId"]
    if arn is not None:
        assert got == f"arn:aws:bedrock:us-east-1:{arn}"
    elif model_id.startswith("arn:"):
        assert got == model_id
    else:
        assert got == f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/{model_id}"


def test_a_job_can_be_invisible_right_after_create(slow: Ready) -> None:
    """For as long as set, Get answers ResourceNotFoundException for a new job."""
    slow.aws.put_settings({"read_after_create_seconds": 3})
    arn = slow.submit()
    with refused("ResourceNotFoundException", status=404):
        slow.aws.job(arn)
    slow.aws.advance(3)
    assert slow.aws.job(arn)["status"] == "Submitted"


@pytest.mark.parametrize("code", ["ConflictException", "ValidationException"])
def test_stop_of_an_ended_job_is_refused(slow: Ready, code: str) -> None:
    """Stopping a job that has ended gives the error that is set, and leaves the job as it is."""
    slow.aws.put_settings({"stop_ended_job": code})
    arn = slow.submit()
    slow.aws.advance(100)
    with refused(code, status=400):
        slow.aws.client("bedrock").stop_model_invocation_job(jobIdentifier=arn)
    assert slow.aws.job(arn)["status"] == "Completed"


def test_regions_are_apart(ready: Ready) -> None:
    """A job of one Region is neither listed nor found in another."""
    arn = ready.submit()
    session = botocore.session.get_session()
    other: Any = session.create_client(
        "bedrock", region_name="us-west-2", endpoint_url=ready.aws.endpoint_url, aws_access_key_id="local",
        aws_secret_access_key="local",
    )  # fmt: skip
    assert other.list_model_invocation_jobs()["invocationJobSummaries"] == []
    with refused("ValidationException", "The provided ARN is invalid"):
        other.get_model_invocation_job(jobIdentifier=arn)


def test_two_thousand_jobs_fit_into_two_pages() -> None:
    """With 2,000 jobs in its books a page of 1,000 comes at once (it takes some milliseconds; the bound is loose)."""
    service = Service(changed(Settings(), {"clock": "manual", "max_jobs_in_flight": 5000}))
    service.account.create_bucket("data", "us-east-1")
    service.account.write("data", "in/rows.jsonl", b"{}")
    request = {
        "roleArn": service.account.create_role("BatchRole"),
        "modelId": HAIKU,
        **input_at("s3://data/in/"),
        **output_at("s3://data/out/"),
    }
    for index in range(2000):
        service.batch.create("us-east-1", {"jobName": f"job-{index}", **request})
    started = time.perf_counter()
    first = service.batch.list_jobs("us-east-1", {"maxResults": "1000"})
    second = service.batch.list_jobs("us-east-1", {"maxResults": "1000", "nextToken": first["nextToken"]})
    text = msgspec.json.encode([first, second])
    assert time.perf_counter() - started < 5
    names = {job["jobName"] for page in json.loads(text) for job in page["invocationJobSummaries"]}
    assert len(names) == 2000
    assert "nextToken" not in second
