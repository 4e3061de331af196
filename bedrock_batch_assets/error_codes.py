"""What the error codes of AWS services mean, in whatever spelling they come. Knows neither boto3 nor Dagster.

One service writes `ThrottlingException`, another `Throttling`, an event stream `throttlingException`, and an output
line of a batch job any of them. So codes are compared by their plain form: see `plain`.
"""

from functools import lru_cache
from typing import Any


# Codes also come from output lines, in which they can be any text, so the cache is bounded.
@lru_cache(maxsize=1024)
def plain(code: str) -> str:
    """The form of a code by which it is compared: `com.amazonaws.x#Throttling_Exception:` becomes `throttling`.

    It is in lower case, of letters and digits alone, without namespace and without `Exception`, `Error` or `Fault` at
    its end.
    """
    name = code.rpartition("#")[2].partition(":")[0].casefold()
    name = "".join(character for character in name if character.isalnum())
    for ending in ("exception", "error", "fault"):
        shorter = name.removesuffix(ending)
        if shorter and shorter != name:
            return shorter
    return name


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(map(plain, codes))


# Sources of these lists: "Common errors" and the errors of operations in the API references of Amazon Bedrock, AWS STS
# and Amazon SQS; "List of error codes" in the Amazon S3 API Reference; botocore's retries/standard.py.

# There were too many requests. They were refused before anything was done.
THROTTLED = _codes(
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RateLimitError",
    "RateLimitExceeded",
    "RequestLimitExceeded",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
)
# The service or the model does not work at the moment, so nothing was done either.
UNAVAILABLE = _codes(
    "ModelNotReadyException", "OverloadedError", "ServiceTemporarilyUnavailable", "ServiceUnavailableException"
)
# Something broke on the way, and what was asked may have been done.
_BROKEN = _codes(
    "InternalError",
    "InternalFailure",
    "InternalServerException",
    "InternalServiceError",
    "ModelErrorException",
    "ModelStreamErrorException",
    "ModelTimeoutException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "RequestTimedOut",
    "RequestTimeout",
    "TimeoutException",
)
_PASSING = THROTTLED | UNAVAILABLE | _BROKEN
# Request timeout, failed dependency (a model's own error), too many requests, and every status from 500 on but for "Not
# Implemented" and "HTTP Version Not Supported".
_PASSING_STATUSES = frozenset({408, 424, 429, *range(500, 600)}) - {501, 505}

DENIED = _codes(
    "403", "AccessDenied", "AllAccessDisabled", "AuthorizationError", "Forbidden", "NotAuthorized", "Unauthorized"
)
# The credentials were valid once and have expired.
EXPIRED = _codes("ExpiredToken", "RequestExpired", "TokenRefreshRequired")
# AWS does not know them. It says the same of an old session and of keys that never existed.
UNKNOWN = _codes("InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "UnrecognizedClientException")
MISSIGNED = _codes("InvalidSignatureException", "SignatureDoesNotMatch")
_SKEWED = _codes("RequestInTheFuture", "RequestTimeTooSkewed")
# AWS would accept renewed credentials, or the same ones by a clock that is right.
_LAPSED = EXPIRED | UNKNOWN | MISSIGNED | _SKEWED
# The answer to a request with no signature, or an incomplete one.
UNSIGNED = _codes("IncompleteSignature", "MissingAuthenticationToken", "MissingSecurityHeader")


def passes_by_itself(code: Any, status: int = 0) -> bool:
    """Whether the same request may succeed another time, with nobody doing anything.

    Args:
        code: The error code: a name, or an HTTP status as a number or as text.
        status: The HTTP status, if it is known beside the code.
    """
    if isinstance(code, str):
        name = plain(code)
        if name in _PASSING:
            return True
        code = int(name) if name.isascii() and name.isdigit() and len(name) == 3 else 0
    return status in _PASSING_STATUSES or (isinstance(code, int) and code in _PASSING_STATUSES)


def is_clock_skew(code: str, message: str) -> bool:
    """Whether a request was refused for its time, and not for its credentials.

    AWS accepts a signature for five minutes before and after its own time, S3 for fifteen (AWS Identity and Access
    Management User Guide, "Troubleshoot Signature Version 4 signing of AWS API requests").
    """
    text = message.casefold()
    return plain(code) in _SKEWED or (
        plain(code) in MISSIGNED and ("signature expired" in text or "not yet current" in text)
    )


def is_lapsed(code: str, message: str = "") -> bool:
    """Whether AWS refuses the credentials themselves, and would accept renewed ones."""
    name = plain(code)
    # An expired Bedrock API key is denied, and the message says why.
    return name in _LAPSED or (name in DENIED and "token has expired" in message.casefold())
