"""Which operation a request is: by botocore's description of each service."""

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl, unquote

from bedrock_batch_assets.local_aws.botocore_internals import OperationModel, service_model
from bedrock_batch_assets.local_aws.http_messages import Request

_JSON_SERVICES = {"sqs", "events"}
# Requests with this in their path are Bedrock's, also without a signature to say so (bearer tokens).
_BEDROCK_PATH = re.compile(r"/(model-invocation-jobs?|foundation-models|inference-profiles|model)(/|$)")
_UNSIGNED_STS = re.compile(rb"(^|&)Action=AssumeRoleWith(WebIdentity|SAML)(&|$)")

_RUNTIME_PATHS = ("/model/", "/guardrail/", "/async-invoke")

# Operations of S3 that share method and path with others, and nothing else distinguishes them.
_PLAIN = {"ListObjects", "GetObject", "PutObject", "HeadObject", "DeleteObject", "CreateBucket", "DeleteBucket"}


@dataclass(frozen=True, slots=True)
class _Route:
    """One REST operation: what its requests look like."""

    operation: str
    method: str
    path: re.Pattern[str]
    # Query parameters and headers that must be there, the former with a value if it is fixed.
    query: dict[str, str | None]
    headers: frozenset[str]
    # Path parameters by their place in `path`.
    labels: tuple[str, ...]


def service_of(request: Request) -> str:
    """The service that a request is for, as boto3 names it: `s3`, `bedrock-runtime`, `sqs` and so on."""
    if request.service == "bedrock" or (request.service == "" and _BEDROCK_PATH.match(request.raw_path)):
        return "bedrock-runtime" if request.raw_path.startswith(_RUNTIME_PATHS) else "bedrock"
    target = request.headers.get("x-amz-target", "")
    if target.startswith("AmazonSQS."):
        return "sqs"
    if target.startswith("AWSEvents."):
        return "events"
    if target.startswith("AWSPriceListService."):
        return "pricing"
    # A caller without credentials asks STS for them without a signature.
    if not request.service and _UNSIGNED_STS.search(request.body):
        return "sts"
    return request.service or "s3"


def operation_of(service: str, request: Request) -> tuple[str, dict[str, str]]:
    """The operation's name ("Unknown" if no operation fits) and the parameters in its path, decoded once."""
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2], {}
    if service in {"s3", "bedrock", "bedrock-runtime"}:
        return _rest_operation(service, request)
    body = dict(parse_qsl(request.body.decode("utf-8", "replace"))) if len(request.body) < 100_000 else {}
    return body.get("Action") or request.query.get("Action") or "Unknown", {}


def _rest_operation(service: str, request: Request) -> tuple[str, dict[str, str]]:
    # The path with a slash at its end is the same to S3's bucket operations.
    path = request.raw_path.rstrip("/") or "/"
    for route in _routes(service):
        if route.method != ("GET" if request.method == "HEAD" and service != "s3" else request.method):
            continue
        match = route.path.fullmatch(path)
        if match is None or not route.headers <= request.headers.keys():
            continue
        if all(
            name in request.query and value in {None, "", request.query[name]} for name, value in route.query.items()
        ):
            return route.operation, dict(zip(route.labels, map(unquote, match.groups()), strict=True))
    return "Unknown", {}


@cache
def _routes(service: str) -> list[_Route]:
    """A service's operations, those with the most conditions first."""
    model = service_model(service)
    routes = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, query = str(operation.http["requestUri"]).partition("?")
        if service == "s3" and not path.startswith("/{Bucket}") and name != "ListBuckets":
            # botocore leaves the bucket to its endpoint rules; on loopback it is in the path.
            path = f"/{{Bucket}}{path.rstrip('/')}" if "Bucket" in _members(operation) else path
        required: dict[str, str | None] = dict(parse_qsl(query, keep_blank_values=True))
        headers = set()
        shape = operation.input_shape
        members = {} if shape is None else shape.members
        for member in [] if shape is None else shape.required_members:
            place = members[member].serialization
            if place.get("location") == "querystring":
                required[place["name"]] = None
            elif place.get("location") == "header" and place["name"].lower().startswith("x-amz-copy"):
                headers.add(place["name"].lower())
        labels = tuple(re.findall(r"\{(\w+)\+?\}", path))
        pattern = re.sub(r"\\\{\w+\\\+\\\}", "(.+)", re.escape(path.rstrip("/") or "/"))
        pattern = re.sub(r"\\\{\w+\\\}", "([^/]+)", pattern)
        routes.append(_Route(name, operation.http["method"], re.compile(pattern), required, frozenset(headers), labels))
    # ListObjectsV2 before ListObjects, UploadPartCopy before UploadPart; of the rest the plain ones.
    return sorted(routes, key=lambda route: (-len(route.query) - len(route.headers), route.operation not in _PLAIN))


def _members(operation: OperationModel) -> set[str]:
    return set(operation.input_shape.members) if operation.input_shape is not None else set()
