"""What kind of error AWS answered with, by its code, its HTTP status, or what broke on the way."""

from typing import TYPE_CHECKING

from bedrock_batch_assets.error_codes import DENIED, passes_by_itself, plain
from bedrock_batch_assets.errors import LapsedCredentialsError, UnreachableServiceError
from bedrock_batch_assets.internals.botocore_internals import is_unreadable_answer

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


def error_code(error: "ClientError") -> str:
    """The service's error code, e.g. `ThrottlingException`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: "ClientError") -> str:
    """The service's error message."""
    return str(error.response.get("Error", {}).get("Message", ""))


def error_status(error: "ClientError") -> int:
    """The HTTP status of the service's answer; 0 if it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def unwrapped(error: Exception) -> Exception:
    """The cause of an error of boto3's transfer manager, which keeps it in `__context__` alone."""
    from boto3.exceptions import S3UploadFailedError

    inner = error.__context__
    return inner if isinstance(error, S3UploadFailedError) and isinstance(inner, Exception) else error


def is_passing(error: Exception) -> bool:
    """Whether an AWS error is likely to pass by itself: throttling, a 5xx, a broken connection or a broken answer."""
    from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError
    from botocore.exceptions import ConnectionError as AwsConnectionError

    error = unwrapped(error)
    if isinstance(error, ClientError):
        return passes_by_itself(error_code(error), error_status(error))
    return isinstance(
        error,
        AwsConnectionError | HTTPClientError | IncompleteReadError | FlexibleChecksumError | UnreachableServiceError,
    ) or is_unreadable_answer(error)


def can_be_waited_out(error: Exception) -> bool:
    """Whether a run that waits goes on waiting: the error passes by itself, or with renewed credentials."""
    return isinstance(error, LapsedCredentialsError) or is_passing(error)


def is_denied(error: "ClientError") -> bool:
    """Whether the action is not allowed."""
    return plain(error_code(error)) in DENIED
