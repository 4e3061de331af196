"""The errors that only S3 has, explained for a person. `aws/errors.py` explains all others."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.errors import ConfigurationError


class ObjectNotFoundError(ConfigurationError):
    """The bucket exists, and has no such object."""


class BucketNotFoundError(ConfigurationError):
    """The bucket does not exist."""


class ObjectChangedError(ConfigurationError):
    """The object was replaced while it was being read."""


# HEAD answers carry no body, so botocore reports the bare status there; GET and PUT carry S3's own code
# (Amazon S3 API Reference, "List of error codes").
_MISSING_OBJECT = frozenset({"404", "NoSuchKey", "NotFound"})
_REPLACED = frozenset({"412", "PreconditionFailed"})
_OTHER_REGION = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


@contextmanager
def s3_errors_explained(action: str, bucket: str, key: str = "") -> Iterator[None]:
    """Turn boto3's errors inside the block into errors that a person can act on.

    Errors that pass by themselves (throttling, 5xx, a broken connection) are left as they are, so that the run's
    retry deals with them.

    Args:
        action: The IAM action at work, e.g. `s3:GetObject`; it is named if access is denied.
        bucket: The bucket at work.
        key: The key or prefix at work; empty for the whole bucket.

    Raises:
        ObjectNotFoundError: The object is missing.
        BucketNotFoundError: The bucket is missing.
        ObjectChangedError: The object is no longer the one that was opened.
        AccessDeniedError: The action is not allowed.
        UnreachableServiceError: S3 cannot be reached.
        ConfigurationError: Something else is wrong with credentials, Region, key or bucket.
    """
    with errors_explained(action, f"s3://{bucket}/{key}", own=partial(_explain, action, bucket, key)):
        yield


def _explain(action: str, bucket: str, key: str, code: str) -> ConfigurationError | None:
    uri = f"s3://{bucket}/{key}"
    if code == "NoSuchBucket":
        return BucketNotFoundError(f"The bucket {bucket!r} does not exist ({action} on {uri}): check its name.")
    if code in _MISSING_OBJECT:
        return ObjectNotFoundError(f"{uri} does not exist ({action}): check the bucket and the key.")
    if code in _OTHER_REGION:
        return ConfigurationError(
            f"The bucket {bucket!r} is in another region ({action} on {uri}): set AWS_REGION to the bucket's region."
        )
    if code in _REPLACED:
        return ObjectChangedError(f"{uri} was replaced while it was being read: start again.")
    if code.startswith("KMS."):
        return ConfigurationError(
            f"The KMS key of {uri} cannot be used ({code}) for {action}: enable it and allow its use."
        )
    if code in {"InvalidBucketName", "InvalidObjectState"}:
        reason = "its name is not a bucket's" if code == "InvalidBucketName" else "it is archived: restore it first"
        return ConfigurationError(f"{uri} cannot be used for {action}: {reason}.")
    return None
