"""What S3's refusals mean to a person: each becomes a sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from bedrock_batch_assets.errors import ConfigurationError


class ObjectNotFoundError(ConfigurationError):
    """The object is not there, and its bucket is."""


class BucketNotFoundError(ConfigurationError):
    """The bucket is not there."""


class AccessDeniedError(ConfigurationError):
    """The credentials are known, and the action is not allowed to them."""


class ObjectChangedError(ConfigurationError):
    """The object was replaced while it was being read."""


_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    ProfileNotFound,
    NoRegionError,
)
# HEAD answers carry no body, so botocore reports the bare status there; GET and PUT carry S3's own code
# (Amazon S3 API Reference, "List of error codes").
_MISSING_OBJECT = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"403", "AccessDenied", "AllAccessDisabled", "AccountProblem"})
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)
_OTHER_REGION = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


@contextmanager
def s3_errors_explained(action: str, bucket: str, key: str = "") -> Iterator[None]:
    """Turn boto3's errors inside the block into errors that a person can act on.

    Errors that pass by themselves (throttling, 5xx, a broken connection) are left as they are, so that the run's
    retry deals with them.

    Args:
        action: The IAM action at work, e.g. `s3:GetObject`; it is named where access is denied.
        bucket: The bucket at work.
        key: The key or prefix at work; empty for the whole bucket.

    Raises:
        ObjectNotFoundError: The object is missing.
        BucketNotFoundError: The bucket is missing.
        AccessDeniedError: The action is not allowed.
        ObjectChangedError: The object is no longer the one that was opened.
        ConfigurationError: Credentials are missing or wrong, or the endpoint cannot be reached.
    """
    try:
        yield
    except ClientError as error:
        explained = _explain(error, action, bucket, key)
        if explained is None:
            raise
        raise explained from error
    except S3UploadFailedError as error:
        # The transfer manager wraps the ClientError and keeps it as the context alone.
        cause = error.__context__
        explained = _explain(cause, action, bucket, key) if isinstance(cause, ClientError) else None
        if explained is None:
            raise
        raise explained from error
    except _NO_CREDENTIALS as error:
        raise ConfigurationError(
            f"No usable AWS credentials for {action} on {_uri(bucket, key)} ({_sentence(error)}): set AWS_PROFILE or "
            "the AWS_* variables, or give the machine a role."
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise ConfigurationError(
            f"S3 cannot be reached for {action} on {_uri(bucket, key)} ({_sentence(error)}): check the network, "
            "AWS_REGION and AWS_ENDPOINT_URL."
        ) from error


def _explain(error: ClientError, action: str, bucket: str, key: str) -> ConfigurationError | None:
    code = str(error.response.get("Error", {}).get("Code", ""))
    uri = _uri(bucket, key)
    if code == "NoSuchBucket":
        return BucketNotFoundError(f"The bucket {bucket!r} does not exist ({action} on {uri}): check its name.")
    if code in _MISSING_OBJECT:
        return ObjectNotFoundError(f"{uri} does not exist ({action}): check the bucket and the key.")
    if code in _DENIED:
        return AccessDeniedError(
            f"Access to {uri} is denied: allow {action} on it to the role or user that runs this"
            f"{', and the use of its KMS key' if 'kms' in str(error).lower() else ''}."
        )
    if code in _BAD_CREDENTIALS:
        return ConfigurationError(
            f"AWS does not accept the credentials ({code}) for {action} on {uri}: renew them, e.g. by signing in again."
        )
    if code in _OTHER_REGION:
        return ConfigurationError(
            f"The bucket {bucket!r} is in another region ({action} on {uri}): set AWS_REGION to the bucket's region."
        )
    if code in {"412", "PreconditionFailed"}:
        return ObjectChangedError(f"{uri} was replaced while it was being read: start again.")
    if code.startswith("KMS."):
        return ConfigurationError(
            f"The KMS key of {uri} cannot be used ({code}) for {action}: enable it and allow its use."
        )
    if code in {"InvalidBucketName", "InvalidObjectState"}:
        reason = "its name is not a bucket's" if code == "InvalidBucketName" else "it is archived: restore it first"
        return ConfigurationError(f"{uri} cannot be used for {action}: {reason}.")
    return None


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _sentence(error: BotoCoreError) -> str:
    return str(error).rstrip(".")
