import boto3
import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from bedrock_batch_assets.errors import (
    AccessDeniedError,
    ConfigurationError,
    CredentialsError,
    LapsedCredentialsError,
    UnreachableServiceError,
)
from bedrock_batch_assets.storage.s3_errors import (
    BucketNotFoundError,
    ObjectChangedError,
    ObjectNotFoundError,
    s3_errors_explained,
)


def client_error(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (client_error("404"), ObjectNotFoundError, "does not exist"),
        (client_error("NoSuchKey"), ObjectNotFoundError, "does not exist"),
        (client_error("NoSuchBucket"), BucketNotFoundError, "bucket 'data' does not exist"),
        (client_error("403"), AccessDeniedError, "allow s3:GetObject"),
        (client_error("AccessDenied", "not authorized to perform: kms:Decrypt"), AccessDeniedError, "KMS key"),
        (client_error("ExpiredToken"), LapsedCredentialsError, "renew them"),
        (client_error("InvalidAccessKeyId"), LapsedCredentialsError, "does not know the credentials"),
        (client_error("PermanentRedirect"), ConfigurationError, "set AWS_REGION"),
        (client_error("412"), ObjectChangedError, "replaced while it was being read"),
        (client_error("KMS.DisabledException"), ConfigurationError, "enable it"),
        (client_error("InvalidObjectState"), ConfigurationError, "archived"),
        (NoCredentialsError(), CredentialsError, "set AWS_PROFILE"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), UnreachableServiceError, "check the network"),
    ],
)
def test_refusals_name_action_place_and_remedy(error: Exception, expected: type[Exception], words: str) -> None:
    """Each refusal becomes one sentence with the action, the object and what to do, and keeps its cause."""
    with pytest.raises(expected, match=words) as caught, s3_errors_explained("s3:GetObject", "data", "in/table.csv"):
        raise error
    assert type(caught.value) is expected
    assert "s3:GetObject" in str(caught.value) or expected is ObjectChangedError
    assert "s3://data/in/table.csv" in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "503", "SomethingNew"])
def test_errors_that_pass_are_left_alone(code: str) -> None:
    """Throttling and server errors stay boto3's, so that the run is retried and nobody is told to change anything."""
    with pytest.raises(ClientError), s3_errors_explained("s3:GetObject", "data", "key"):
        raise client_error(code)


def test_a_failed_upload_is_explained_by_its_cause() -> None:
    """The transfer manager's wrapper does not hide a denial."""

    def upload() -> None:
        try:
            raise client_error("AccessDenied")
        except ClientError as error:
            raise S3UploadFailedError(f"Failed to upload: {error}")  # noqa: B904 - as boto3 does

    with pytest.raises(AccessDeniedError, match="allow s3:PutObject"), s3_errors_explained("s3:PutObject", "data", "k"):
        upload()


def test_a_closed_port_is_an_unreachable_endpoint() -> None:
    """What boto3 really raises without a server is understood."""
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ConfigurationError, match="cannot be reached"), s3_errors_explained("s3:ListBucket", "data"):
        client.head_bucket(Bucket="data")
