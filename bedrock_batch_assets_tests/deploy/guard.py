"""IAM in front of the stand-in: a call goes through if a policy allows each action that it needs, on its resource.

The stand-in itself allows everything. So the guard looks at each call before it is sent, and answers as AWS does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_batch_assets.aws.clients import AwsClients

ACCOUNT, REGION = "123456789012", "us-east-1"
_CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/platform/session"
_PROFILE = re.compile(r"(us|eu|apac|jp|au|ca|global)\..+")
# The IAM action of each operation whose name is another one (Service Authorization Reference, "Amazon S3" and "Amazon
# SQS"; Amazon S3 User Guide, "Multipart upload API and permissions").
_ACTIONS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "Converse": "bedrock:InvokeModel",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
}
_PREFIXES = {"bedrock-runtime": "bedrock", "service-quotas": "servicequotas"}
_OF_BUCKETS = {"s3:ListBucket", "s3:GetEncryptionConfiguration"}


@dataclass(frozen=True)
class Need:
    """An action on a resource."""

    action: str
    resource: str


@dataclass
class Guard:
    """The statements of one policy.

    Attributes:
        statements: By their Sid.
        needs: Everything that was asked for, allowed or not.
        used: The Sids that something was allowed by.
    """

    statements: Mapping[str, Mapping[str, Any]]
    needs: list[Need] = field(default_factory=list)
    denied: list[Need] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Guard every client that the platform makes from now on."""
        make = AwsClients.client
        guarded: list[Any] = []

        def client(connection: AwsClients, service: str) -> Any:
            made = make(connection, service)
            if not any(made is other for other in guarded):
                guarded.append(made)
                made.meta.events.register("provide-client-params", self._check)
            return made

        monkeypatch.setattr(AwsClients, "client", client)

    def _check(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        for need in needs_of(service, model.name, params):
            self.needs.append(need)
            allowing = {sid for sid, statement in self.statements.items() if _allows(statement, need)}
            if not allowing:
                self.denied.append(need)
                code = "AccessDenied" if service in {"s3", "sqs"} else "AccessDeniedException"
                message = (
                    f"User: {_CALLER} is not authorized to perform: {need.action} on resource: {need.resource} "
                    f"because no identity-based policy allows the {need.action} action"
                )
                answer: Any = {
                    "Error": {"Code": code, "Message": message},
                    "ResponseMetadata": {"HTTPStatusCode": 403},
                }
                raise ClientError(answer, model.name)
            self.used |= allowing


def needs_of(service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Need]:
    """What a call needs."""
    action = _ACTIONS.get(operation, f"{_PREFIXES.get(service, service)}:{operation}")
    match service:
        case "s3":
            yield from _s3_needs(action, params)
        case "bedrock" if operation == "CreateModelInvocationJob":
            yield Need(action, _model_arn(params["modelId"]))
            yield Need(action, _job_arn("*"))
            yield Need("iam:PassRole", params["roleArn"])
            if params.get("tags"):
                yield Need("bedrock:TagResource", _job_arn("*"))
        case "bedrock" if "jobIdentifier" in params:
            yield Need(action, params["jobIdentifier"])
        case "bedrock-runtime":
            yield Need(action, _model_arn(params["modelId"]))
        case "sts":
            # GetCallerIdentity needs no permission (AWS STS API Reference).
            return
        case "iam":
            yield Need(action, f"arn:aws:iam::{ACCOUNT}:role/{params['RoleName']}")
        case "cloudformation":
            yield Need(action, f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{params['StackName']}/id")
        case "sqs":
            yield Need(action, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{params['QueueUrl'].rpartition('/')[2]}")
        case _:
            yield Need(action, "*")


def _s3_needs(action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if "Delete" in params:
        yield from (Need(action, f"{bucket}/{item['Key']}") for item in params["Delete"]["Objects"])
    elif action in _OF_BUCKETS:
        yield Need(action, bucket)
    else:
        yield Need(action, f"{bucket}/{params['Key']}")
    source = params.get("CopySource")
    if source is not None:
        yield Need("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")


def _model_arn(model_id: str) -> str:
    if model_id.startswith("arn:"):
        return model_id
    if _PROFILE.fullmatch(model_id):
        return f"arn:aws:bedrock:{REGION}:{ACCOUNT}:inference-profile/{model_id}"
    return f"arn:aws:bedrock:{REGION}::foundation-model/{model_id}"


def _job_arn(job: str) -> str:
    return f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{job}"


def _allows(statement: Mapping[str, Any], need: Need) -> bool:
    return any(fnmatchcase(need.action, action) for action in _list(statement["Action"])) and any(
        fnmatchcase(need.resource, resource) for resource in _list(statement["Resource"])
    )


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
