"""What the errors of AWS mean to a person: the one place that explains them.

Errors that pass by themselves are left as they are, so that whoever called can wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bedrock_batch_assets.aws.credential_errors import (
    SET_CREDENTIALS,
    one_line,
    refused,
    refused_without_reason,
    unusable,
)
from bedrock_batch_assets.aws.error_kinds import error_code, error_message, error_status, unwrapped
from bedrock_batch_assets.error_codes import DENIED, UNSIGNED, is_lapsed, passes_by_itself, plain
from bedrock_batch_assets.errors import (
    AccessDeniedError,
    ConfigurationError,
    CredentialsError,
    UnreachableServiceError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# The code that botocore makes up for an answer without a body.
_NO_REASON = frozenset({"", "forbidden", "bad request", "unknown", "none"})
# Parts of a denial's message, with what a person has to do about it, the most specific first (AWS Identity and Access
# Management User Guide, "Troubleshoot access denied error messages").
_REMEDIES = {
    "service control policy": "An administrator of the AWS organization has to change that policy.",
    "resource control policy": "An administrator of the AWS organization has to change that policy.",
    "vpc endpoint policy": "Change the policy of the VPC endpoint that the requests go through.",
    "permissions boundary": "Change the permissions boundary of the role or user that runs this.",
    "session policy": "Change the session policy with which the role was assumed.",
    "explicit deny in a resource-based policy": "Change the policy of the bucket or key: its deny overrides any allow.",
    "explicit deny": "Remove that deny: it overrides any allow.",
    "access to the model": "Ask for access to the model in the Bedrock console (Model access).",
}


@contextmanager
def errors_explained(
    action: str, resource: str, own: Callable[[str], ConfigurationError | None] | None = None
) -> Iterator[None]:
    """Turn boto3's errors inside the block into errors that a person can act on.

    Args:
        action: The IAM action at work, e.g. `s3:GetObject`; it is named in the error.
        resource: What it acts on.
        own: Explains error codes that only one service has; it is asked first.

    Raises:
        AccessDeniedError: The action is not allowed.
        LapsedCredentialsError: The credentials have expired, or are not accepted any more.
        CredentialsError: There are no credentials that can be used.
        UnreachableServiceError: The service cannot be reached.
        ConfigurationError: Something else that `own` knows.
    """
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, S3UploadFailedError) as error:
        cause = unwrapped(error)
        found = own(error_code(cause)) if own is not None and isinstance(cause, ClientError) else None
        found = found or _explain(cause, action, resource)
        if found is None:
            raise
        raise found from error


def _explain(error: Exception, action: str, resource: str) -> ConfigurationError | None:
    from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

    what = f"{action} on {resource}"
    if isinstance(error, ClientError):
        return _explain_answer(error, action, resource)
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
        return UnreachableServiceError(
            f"AWS cannot be reached for {what} ({one_line(error)}): check the network, AWS_REGION and AWS_ENDPOINT_URL."
        )
    return unusable(error, what)


def _explain_answer(error: "ClientError", action: str, resource: str) -> ConfigurationError | None:
    code, message, status = error_code(error), error_message(error), error_status(error)
    what = f"{action} on {resource}"
    if is_lapsed(code, message):
        return refused(code, message, what)
    if code == "400" and error.operation_name.startswith("Head"):
        return refused_without_reason(what)
    if plain(code) in UNSIGNED:
        return CredentialsError(
            f"AWS finds no usable credentials in the request for {what} ({code}): {SET_CREDENTIALS}"
        )
    if plain(code) in DENIED or (status == 403 and not passes_by_itself(code)):
        return AccessDeniedError(f"Access denied: {what}. {_reason(message, action)}")
    return None


def _reason(message: str, action: str) -> str:
    """AWS's own words on a denial, and what to do."""
    reason = one_line(message)
    said = "AWS gives no reason." if reason.casefold() in _NO_REASON else f"AWS says: {reason}."
    text = reason.casefold()
    is_about_key = "kms" in text or "customer master key" in text
    key = " Allow the use of the KMS key, too, in the policy of that key." if is_about_key else ""
    remedy = next((advice for part, advice in _REMEDIES.items() if part in text), None)
    return f"{said} {remedy or f'So allow {action} to the role or user that runs this.'}{key}"
