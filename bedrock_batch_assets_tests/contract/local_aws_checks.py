"""What the stand-in for AWS uses of moto and botocore that is not documented."""

import importlib
import json
from datetime import datetime
from typing import Any

import pytest

from bedrock_batch_assets_tests.contract.registry import checks


def _module(name: str) -> Any:
    pytest.importorskip("moto", reason="moto is not installed")
    return importlib.import_module(f"bedrock_batch_assets.local_aws.{name}")


def _moto() -> Any:
    moto = _module("moto_internals")
    moto.reset()
    return moto


@checks("moto", "account")
def _account() -> None:
    from moto.core.models import DEFAULT_ACCOUNT_ID

    assert _moto().ACCOUNT_ID == DEFAULT_ACCOUNT_ID


@checks("moto", "werkzeug_app")
def _werkzeug_app() -> None:
    moto = _moto()
    from werkzeug.test import Client

    moto.create_bucket("some-bucket", "us-east-1")
    scope = "Credential=a/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=b"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}", "Host": "localhost"}
    for app in (moto.application("s3"), moto.application_for_all()):
        answer = Client(app).get("/some-bucket", headers=headers)
        assert (answer.status_code, b"ListBucketResult" in answer.data) == (200, True)
    assert callable(moto.RequestHandler.make_environ)


@checks("moto", "moto_api_backend")
def _moto_api_backend() -> None:
    moto = _moto()
    moto.create_bucket("some-bucket", "us-east-1")
    moto.reset()
    assert not moto.has_bucket("some-bucket")


@checks("moto", "s3_backends")
def _s3_backends() -> None:
    moto = _moto()
    for _ in range(2):
        moto.create_bucket("some-bucket", "eu-west-1")
    assert list(moto.buckets()) == [("some-bucket", "eu-west-1")]
    moto.write_object("some-bucket", "folder/one", b"123", {"Content-Type": "text/csv"})
    assert moto.object_size("some-bucket", "folder/one") == 3
    assert moto.object_size("some-bucket", "folder") is None
    assert list(moto.object_sizes("some-bucket", "folder/")) == [("folder/one", 3)]
    assert moto.read_object("some-bucket", "folder/one") == b"123"
    assert moto.read_object("some-bucket", "folder/two") is None
    value, metadata = moto.contents("some-bucket")["folder/one"]
    assert value == b"123"
    assert "text/csv" in metadata.values()


@checks("moto", "versions of keys")
def _versions_of_keys() -> None:
    moto = _moto()
    moto.create_bucket("some-bucket", "us-east-1")
    for value in (b"1", b"22"):
        moto.write_object("some-bucket", "one", value, None)
    versions = moto.versions("some-bucket")
    assert isinstance(versions, dict)
    (current,) = [items[-1] for _, items in dict.items(versions)]
    assert (current.contentsize, current.storage_class) == (2, "STANDARD")
    assert current.etag
    assert isinstance(current.last_modified, datetime)


@checks("moto", "iam_backends")
def _iam_backends() -> None:
    moto = _moto()
    arn = f"arn:aws:iam::{moto.ACCOUNT_ID}:role/some-role"
    assert moto.trust_policy(arn) is None
    moto.create_role("some-role", '{"Version": "2012-10-17"}')
    assert "2012-10-17" in (moto.trust_policy(arn) or "")
    assert moto.role_policies(arn) == moto.role_policies(f"{arn}-2") == []
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'
    moto._iam().put_role_policy("some-role", "one", policy)
    assert [json.loads(text) for text in moto.role_policies(arn)] == [json.loads(policy)]


def _clients() -> tuple[Any, Any]:
    import boto3

    names = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("events", **names), boto3.client("sqs", **names)  # type: ignore[call-overload]


@checks("moto", "sqs_backends")
def _sqs_backends() -> None:
    moto = _moto()
    from moto import mock_aws

    with mock_aws():
        _, sqs = _clients()
        url = sqs.create_queue(QueueName="some-queue")["QueueUrl"]
        moto.send_to_queue(f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:some-queue", "body", None)
        assert [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]] == ["body"]
        with pytest.raises(moto.RefusedError):
            moto.send_to_queue(f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:no-queue", "body", None)


@checks("moto", "events_backends")
def _events_backends() -> None:
    moto = _moto()
    from moto import mock_aws

    with mock_aws():
        events, sqs = _clients()
        url = sqs.create_queue(QueueName="some-queue")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:some-queue"
        for name, source in (("one", "aws.bedrock"), ("two", "aws.other")):
            events.put_rule(Name=name, EventPattern=f'{{"source": ["{source}"]}}')
            target = {"Id": "1", "Arn": arn, "InputTransformer": {"InputTemplate": '"changed"'}}
            events.put_targets(Rule=name, Targets=[target])
        event = {"id": "1", "source": "aws.bedrock", "detail-type": "changed", "region": "us-east-1", "detail": {}}
        event |= {"account": moto.ACCOUNT_ID, "time": "", "resources": [], "version": "0"}
        (rule,) = moto.matching_rules("us-east-1", event)
        assert rule.name == "one"
        moto.send_to_targets(rule, rule.targets, event)
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


@checks("botocore in local AWS", "service models")
def _service_models() -> None:
    model = _module("botocore_internals").service_model("bedrock")
    assert "CreateModelInvocationJob" in model.operation_names
    operation = model.operation_model("CreateModelInvocationJob")
    assert (operation.http["method"], operation.http["requestUri"]) == ("POST", "/model-invocation-job")
    assert "jobArn" in operation.output_shape.members


@checks("botocore in local AWS", "shapes")
def _shapes() -> None:
    internals = _module("botocore_internals")
    shape = internals.service_model("bedrock").operation_model("CreateModelInvocationJob").input_shape
    assert isinstance(shape, internals.StructureShape)
    assert "roleArn" in shape.required_members
    assert shape.members["jobName"].type_name == "string"
    assert shape.members["jobName"].metadata["max"] == 63
    assert isinstance(shape.members["tags"], internals.ListShape)
    assert isinstance(shape.members["tags"].member, internals.Shape)
    copy = internals.service_model("s3").operation_model("CopyObject").input_shape
    assert copy.members["CopySource"].serialization == {"location": "header", "name": "x-amz-copy-source"}
