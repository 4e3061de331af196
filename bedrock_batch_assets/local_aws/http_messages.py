"""Requests and answers, as the stand-in's own parts see them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from bedrock_batch_assets.local_aws.errors import ServiceError

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
DEFAULT_REGION = "us-east-1"
# Amazon Bedrock User Guide, "Troubleshooting API error codes", ValidationException.
MALFORMED = "Malformed input request, please reformat your input and try again."
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `raw_path` is as it was sent, percent-encoded, without the query."""

    method: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    # These three are from the signature. If there is none, they are empty, and the Region is the default.
    service: str = ""
    region: str = DEFAULT_REGION
    access_key: str = ""

    def json(self) -> Any:
        """The body as JSON; an empty one is an empty object.

        Raises:
            ServiceError: ValidationException, it is not JSON.
        """
        if not self.body:
            return {}
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ServiceError("ValidationException", MALFORMED) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """The answer in WSGI's terms."""
        headers = list(self.headers)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(self.body))))
        start_response(f"{self.status} {_REASONS.get(self.status, 'Error')}", headers)
        return [self.body]


def json_answer(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(value), [("Content-Type", "application/json"), *headers])


def error_answer(error: ServiceError) -> Answer:
    """An error in the form of AWS' rest-json protocol."""
    headers = [("x-amzn-errortype", error.code)]
    return json_answer({"message": error.message, "__type": error.code}, error.status, headers)


def read_request(environ: Environ, body: bytes) -> Request:
    """The request of a WSGI environment, whose body was read already."""
    raw_path, _, query = str(environ.get("RAW_URI") or environ.get("PATH_INFO", "/")).partition("?")
    headers = {key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key[:5] == "HTTP_"}
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    service, region, access_key = _signed_for(headers.get("authorization", ""))
    return Request(
        method=environ["REQUEST_METHOD"],
        raw_path=raw_path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=headers,
        body=body,
        service=service,
        region=region,
        access_key=access_key,
    )


def _signed_for(authorization: str) -> tuple[str, str, str]:
    """Service, Region and access key id in `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`."""
    scope = authorization.partition("Credential=")[2].partition(",")[0].split("/")
    return (scope[-2].lower(), scope[-3], scope[0]) if len(scope) >= 5 else ("", DEFAULT_REGION, "")
