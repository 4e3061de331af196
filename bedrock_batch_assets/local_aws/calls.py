"""API calls: how many there were, how many are allowed, and the error answers of each protocol."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from xml.sax.saxutils import escape

from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.http_messages import Answer, Request, error_answer, json_answer


class CallCounter:
    """Calls by operation since the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def add(self, operation: str) -> None:
        """Count a call."""
        with self._lock:
            self._calls[operation] += 1

    def counts(self) -> dict[str, int]:
        """Calls by operation, by name."""
        with self._lock:
            return dict(sorted(self._calls.items()))

    def clear(self) -> None:
        """Start at zero."""
        with self._lock:
            self._calls.clear()


class RequestRates:
    """Allows so many calls a second of an operation, by a bucket of tokens that holds one second's worth."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._rates: dict[str, float] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def set(self, rates: dict[str, float]) -> None:
        """Follow other rates; a bucket whose rate changed starts full."""
        with self._lock:
            if rates != self._rates:
                self._rates = dict(rates)
                self._buckets.clear()

    def check(self, operation: str) -> None:
        """Take a call into account.

        Raises:
            ServiceError: ThrottlingException, there were too many within the last second.
        """
        rate = self._rates.get(operation, self._rates.get("*"))
        if rate is None:
            return
        key = operation if operation in self._rates else "*"
        capacity = max(1.0, rate)
        with self._lock:
            now = self._now()
            tokens, then = self._buckets.get(key, (capacity, now))
            tokens = min(capacity, tokens + (now - then) * rate)
            allowed = tokens >= 1.0
            self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        if not allowed:
            raise ServiceError("ThrottlingException", "Too many requests, please wait before trying again.")


def unimplemented(service: str, operation: str) -> ServiceError:
    """The error for an operation that the stand-in does not have."""
    code = "NotImplemented" if service == "s3" else "UnknownOperationException"
    return ServiceError(code, f"The local AWS does not have {service}:{operation}. Use an AWS account for it.")


def broken(service: str, operation: str) -> ServiceError:
    """The error for an operation that failed by a fault of the stand-in itself."""
    code = "InternalError" if service == "s3" else "InternalServerException"
    return ServiceError(code, f"The local AWS failed at {service}:{operation}. Its log says why.")


def expired_credentials(service: str) -> ServiceError:
    """The answer to credentials that have expired. That of S3 is in its API Reference, "List of error codes"."""
    if service == "s3":
        return ServiceError("ExpiredToken", "The provided token has expired.")
    code = "ExpiredTokenException" if service in {"bedrock", "bedrock-runtime"} else "ExpiredToken"
    return ServiceError(code, "The security token included in the request is expired", 403)


def fault_answer(service: str, error: ServiceError, request: Request) -> Answer:
    """An error in the protocol of the service, as far as the request tells which that is."""
    if "x-amz-target" in request.headers:
        return json_answer({"__type": error.code, "message": error.message}, error.status)
    is_query = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if service != "s3" and not is_query and "Action" not in request.query:
        return error_answer(error)
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    if service != "s3":
        inner = f"<Error>{inner}</Error><RequestId>local</RequestId>"
    root = "Error" if service == "s3" else "ErrorResponse"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'
    return Answer(error.status, body.encode(), [("Content-Type", "application/xml")])
