import time

import pytest

from bedrock_batch_assets.local_aws import parameters
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.http_messages import Request, read_request
from bedrock_batch_assets.local_aws.operations import operation_of, service_of


@pytest.mark.parametrize("name", ["a", "A1", "a-b", "a--b-", "a.b+c", "a" * 63, "a" + "-" * 62, "1.2.3"])
def test_job_names_that_fit(name: str) -> None:
    """Names that the documented pattern takes are taken."""
    parameters.check("bedrock", "ListModelInvocationJobs", {"nameContains": name})


def test_a_bad_job_name_is_refused_at_once() -> None:
    """The documented pattern takes forever on many dashes; the check does not."""
    started = time.perf_counter()
    with pytest.raises(ServiceError, match="regular expression"):
        parameters.check("bedrock", "ListModelInvocationJobs", {"nameContains": "a" + "-" * 60 + "_"})
    assert time.perf_counter() - started < 5


def test_all_violations_are_named() -> None:
    """The message counts and names each of them."""
    with pytest.raises(ServiceError) as raised:
        parameters.check("bedrock", "ListModelInvocationJobs", {"maxResults": 0, "sortOrder": "Up", "unknown": 1})
    assert raised.value.message.startswith("2 validation errors detected: ")
    assert "'maxResults'" in raised.value.message
    assert "'sortOrder'" in raised.value.message


def test_types_are_checked() -> None:
    """A list, structure, string or integer of another type is refused."""
    request = {
        "jobName": 1,
        "roleArn": [],
        "modelId": {},
        "inputDataConfig": "x",
        "outputDataConfig": [],
        "tags": "a=b",
    }
    with pytest.raises(ServiceError, match="6 validation errors"):
        parameters.check("bedrock", "CreateModelInvocationJob", request)


@pytest.mark.parametrize(
    ("method", "path", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("GET", "/b?list-type=2", {}, "ListObjectsV2"),
        ("GET", "/b/", {}, "ListObjects"),
        ("GET", "/b/k/x", {}, "GetObject"),
        ("HEAD", "/b/k", {}, "HeadObject"),
        ("PUT", "/b", {}, "CreateBucket"),
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k", {"x-amz-copy-source": "b/o"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("DELETE", "/b/k", {}, "DeleteObject"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("POST", "/model-invocation-job", {}, "CreateModelInvocationJob"),
        ("GET", "/model-invocation-jobs", {}, "ListModelInvocationJobs"),
        ("POST", "/model-invocation-job/arn%3Ax%2Fy/stop", {}, "StopModelInvocationJob"),
        ("GET", "/model-invocation-job/arn:x/y", {}, "Unknown"),
        ("POST", "/model/a.b-v1%3A0/converse", {}, "Converse"),
        ("POST", "/", {"x-amz-target": "AmazonSQS.SendMessage"}, "SendMessage"),
        ("POST", "/", {"x-amz-target": "AWSEvents.PutRule"}, "PutRule"),
    ],
)
def test_requests_are_told_apart(method: str, path: str, headers: dict[str, str], operation: str) -> None:
    """Each request is counted as the operation that it is."""
    environ = {"REQUEST_METHOD": method, "RAW_URI": path}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    request = read_request(environ, b"")
    assert operation_of(service_of(request), request)[0] == operation


def test_the_signature_names_service_and_region() -> None:
    """The credential scope is read; without one it is S3 in the default Region."""
    signed = "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/bedrock/aws4_request, SignedHeaders=host"
    request = read_request({"REQUEST_METHOD": "GET", "RAW_URI": "/x?a=b%20c", "HTTP_AUTHORIZATION": signed}, b"")
    assert (request.service, request.region, request.query) == ("bedrock", "eu-west-1", {"a": "b c"})
    plain = Request("GET", "/bucket/key", {}, {}, b"")
    assert service_of(plain) == "s3"
