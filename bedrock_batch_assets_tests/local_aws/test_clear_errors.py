"""Errors as AWS words them: for what the stand-in does not have, for its own faults, and for odd input."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_batch_assets.local_aws.http_messages import read_request
from bedrock_batch_assets.local_aws.service import Service
from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, Ready, messages_body, records
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

LACKING: dict[str, Callable[[LocalAws], Any]] = {
    "bedrock": lambda aws: aws.client("bedrock").list_evaluation_jobs(),
    "guardrails": lambda aws: aws.client("bedrock").create_guardrail(
        name="x", blockedInputMessaging="a", blockedOutputsMessaging="b"
    ),
    "runtime": lambda aws: aws.client("bedrock-runtime").list_async_invokes(),
    "json": lambda aws: aws.client("service-quotas").list_service_quotas(ServiceCode="bedrock"),
    "rest": lambda aws: aws.client("xray").get_groups(),
}


def output_lines(ready: Ready) -> list[bytes]:
    """The lines of all outputs."""
    files = ready.aws.read_outputs("s3://data/out/")
    return [line for name, data in files.items() if name.endswith(".jsonl.out") for line in data.splitlines()]


@pytest.mark.parametrize("name", list(LACKING))
def test_an_operation_that_is_lacking_says_so(local_aws: LocalAws, name: str) -> None:
    """boto3 raises one ClientError with a code, whose message names the operation and holds no trace or path."""
    with pytest.raises(ClientError) as caught:
        LACKING[name](local_aws)
    error = caught.value.response["Error"]
    assert error["Code"] == "UnknownOperationException"
    assert "The local AWS does not have" in error["Message"]
    assert "Traceback" not in str(caught.value)


def test_a_fault_of_the_stand_in_is_an_error_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told which operation failed; the trace is for the log alone."""
    service = Service()
    monkeypatch.setattr(service, "_answer", lambda *_: 1 / 0)
    body = b""
    answers: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/foundation-models",
        "wsgi.input": io.BytesIO(body),
    }
    assert read_request(environ, body).raw_path == "/foundation-models"
    [text] = service(environ, lambda status, _: answers.append(status))
    assert answers[0].startswith("500")
    assert json.loads(text)["__type"] == "InternalServerException"
    assert b"ListFoundationModels" in text
    assert b"Traceback" not in text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("max-keys=-1", "maxKeys must be an integer"),
        ("max-keys=many", "maxKeys must be an integer"),
        ("max-keys=99999999999", "maxKeys must be an integer"),
        ("continuation-token=%21%21", "continuation token provided is incorrect"),
        ("continuation-token=", "continuation token provided is incorrect"),
    ],
)
def test_a_listing_with_odd_parameters_is_refused(ready: Ready, query: str, message: str) -> None:
    """S3 answers InvalidArgument, in its XML."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{ready.aws.endpoint_url}/data?list-type=2&{query}")
    text = caught.value.read().decode()
    assert caught.value.code == 400
    assert "<Code>InvalidArgument</Code>" in text
    assert message in text


def test_a_listing_of_no_keys_is_whole(ready: Ready) -> None:
    """`max-keys=0` gives an empty page and no further one."""
    page = ready.aws.client("s3").list_objects_v2(Bucket="data", MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"], page.get("NextContinuationToken")) == (0, False, None)


def test_blank_text_is_refused_in_a_conversation(local_aws: LocalAws) -> None:
    """Converse names the message and the block."""
    content: Any = [{"text": "hello"}, {"text": " \n"}]
    with pytest.raises(ClientError, match=r"messages\.0\.content\.1 is blank"):
        local_aws.client("bedrock-runtime").converse(modelId=HAIKU, messages=[{"role": "user", "content": content}])
    assert local_aws.ledger() == []


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "<s>[INST] hi [/INST]", "max_tokens": 20},
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20},
    ],
)
def test_mistral_large_takes_both_of_its_documented_bodies(local_aws: LocalAws, body: dict[str, Any]) -> None:
    """A prompt is completed, and a conversation is gone on with."""
    client = local_aws.client("bedrock-runtime")
    answer = client.invoke_model(modelId="mistral.mistral-large-2402-v1:0", body=json.dumps(body))
    output = json.loads(answer["body"].read())
    assert output["outputs"][0]["text"] if "prompt" in body else output["choices"][0]["message"]["content"]


def test_inference_profiles_come_in_pages(local_aws: LocalAws) -> None:
    """Pages of any size hold all profiles, each once; a token that is none is refused."""
    client = local_aws.client("bedrock")
    everything = [item["inferenceProfileId"] for item in client.list_inference_profiles()["inferenceProfileSummaries"]]
    pages = list(client.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 7}))
    sizes = [len(page["inferenceProfileSummaries"]) for page in pages]
    assert sizes[:-1] == [7] * (len(sizes) - 1)
    paged = [item["inferenceProfileId"] for page in pages for item in page["inferenceProfileSummaries"]]
    assert paged == everything
    with pytest.raises(ClientError, match="nextToken is invalid"):
        client.list_inference_profiles(nextToken="x")
    with pytest.raises(ClientError, match="validation error"):
        client.list_inference_profiles(typeEquals="OTHER")


def test_tags_of_a_job_can_be_changed(ready: Ready) -> None:
    """Tags that a job was made with are listed, replaced and removed."""
    client = ready.aws.client("bedrock")
    arn = ready.submit(tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    client.tag_resource(resourceARN=arn, tags=[{"key": "b", "value": "3"}, {"key": "c", "value": "4"}])
    client.untag_resource(resourceARN=arn, tagKeys=["a"])
    tags = client.list_tags_for_resource(resourceARN=arn)["tags"]
    assert {tag["key"]: tag["value"] for tag in tags} == {"b": "3", "c": "4"}


def test_an_odd_record_is_an_error_of_its_own(ready: Ready) -> None:
    """A number beyond all bounds is found when the record's turn comes: it has the service's message."""
    lines = [json.dumps(record).encode() for record in records(100)]
    lines[7] = b'{"recordId":"odd","modelInput":{"max_tokens":1e999}}'
    ready.aws.client("s3").put_object(Bucket="data", Key="odd/rows.jsonl", Body=b"\n".join(lines))
    job = ready.aws.wait_for_job(ready.submit(uri="s3://data/odd/"))
    assert job["status"] == "Completed"
    errors = [
        json.loads(line[line.rindex(b'"error":') + 8 : -1]) for line in output_lines(ready) if b'"error":' in line
    ]
    assert errors == [
        {"errorCode": 400, "errorMessage": "Malformed input request, please reformat your input and try again."}
    ]


BROKEN = {
    "half a surrogate pair": (b'{"messages":"\\ud800"}', "not a JSON object with a modelInput"),
    "deep nesting": (b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "not a JSON object with a modelInput"),
    "bytes": (b'{"a":"\xff"}', "not UTF-8"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_record_that_cannot_be_read_fails_the_job(ready: Ready, name: str) -> None:
    """The validation names the record's number and what is wrong, in words of its own."""
    body, reason = BROKEN[name]
    lines = [json.dumps(record).encode() for record in records(100)]
    lines[3] = b'{"recordId":"odd","modelInput":' + body + b"}"
    ready.aws.client("s3").put_object(Bucket="data", Key="odd/rows.jsonl", Body=b"\n".join(lines))
    job = ready.aws.wait_for_job(ready.submit(uri="s3://data/odd/"))
    assert job["status"] == "Failed"
    assert job["message"].endswith(f"has a malformed record 4 in odd/rows.jsonl: {reason}")


SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}, "score": {"type": "integer"}}}
STRUCTURED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "anthropic": (
        HAIKU,
        "InvokeModel",
        messages_body("hi", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    ),
    "converse": (
        "amazon.nova-lite-v1:0",
        "Converse",
        {
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "outputConfig": {
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA)}}}
            },
        },
    ),
    "openai": (
        "openai.gpt-oss-20b-1:0",
        "InvokeModel",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
    ),
}


@pytest.mark.parametrize("is_accepted", [False, True])
@pytest.mark.parametrize("name", list(STRUCTURED))
def test_structured_output_in_batch_is_a_setting(ready: Ready, name: str, is_accepted: bool) -> None:
    """Refused, it is each record's error; accepted, each answer is JSON that fits the schema."""
    model_id, invocation_type, body = STRUCTURED[name]
    ready.aws.put_settings({"batch_structured_output": "accept" if is_accepted else "refuse"})
    uri = ready.aws.put_records("data", "s/rows.jsonl", [{"recordId": f"r{i}", "modelInput": body} for i in range(100)])
    ready.aws.wait_for_job(ready.submit(model_id, uri, modelInvocationType=invocation_type))
    lines = [json.loads(line) for line in output_lines(ready)]
    if not is_accepted:
        assert all("Extra inputs are not permitted" in line["error"]["errorMessage"] for line in lines)
        return
    texts: dict[str, Callable[[Any], str]] = {
        "anthropic": lambda output: output["content"][0]["text"],
        "converse": lambda output: output["output"]["message"]["content"][0]["text"],
        "openai": lambda output: output["choices"][0]["message"]["content"].rpartition("</reasoning>")[2],
    }
    for line in lines:
        answer = json.loads(texts[name](line["modelOutput"]))
        assert answer["label"] in {"a", "b"}
        assert isinstance(answer["score"], int)


@pytest.mark.parametrize("is_accepted", [False, True])
def test_tools_in_batch_are_a_setting(ready: Ready, is_accepted: bool) -> None:
    """An InvokeModel record with a tool is refused, or answered with a call of the tool."""
    ready.aws.put_settings({"batch_tools": "accept" if is_accepted else "refuse"})
    tool = {"name": "grade", "input_schema": SCHEMA}
    body = messages_body("hi", tools=[tool], tool_choice={"type": "tool", "name": "grade"})
    uri = ready.aws.put_records("data", "t/rows.jsonl", [{"recordId": f"r{i}", "modelInput": body} for i in range(100)])
    ready.aws.wait_for_job(ready.submit(uri=uri))
    line = json.loads(output_lines(ready)[0])
    if is_accepted:
        assert line["modelOutput"]["content"][0]["name"] == "grade"
        assert line["modelOutput"]["stop_reason"] == "tool_use"
    else:
        assert "not supported in batch" in line["error"]["errorMessage"]
