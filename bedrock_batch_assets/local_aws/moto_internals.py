"""Every use of moto, of which nothing that is used here is documented.

The product knows nothing of the stand-in, and the stand-in imports nothing of the product; so this module is here, and
not beside those of Dagster and botocore. `PRIVATE_PARTS` names each part with the version in which it was read, and
what is lost without it; `make contract` checks them. The stand-in does not start without them.

moto's backends are plain objects: the caller holds the account's lock, see `account.Account`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from moto.core.exceptions import ServiceException
from moto.core.utils import unix_time
from moto.events.models import Rule, events_backends
from moto.iam.models import IAMBackend, iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.exceptions import BucketAlreadyExists, MissingBucket
from moto.s3.models import FakeBucket, FakeKey, S3Backend, s3_backends
from moto.sqs.models import sqs_backends

PRIVATE_PARTS: Mapping[str, str] = {
    "account": (
        "Read in moto 5.2.5 (moto.core.DEFAULT_ACCOUNT_ID): the account that every caller is put into. Without "
        "this very one the stand-in finds neither buckets nor roles nor rules."
    ),
    "werkzeug_app": (
        "Read in moto 5.2.5 (moto.moto_server.werkzeug_app): WSGI applications for one service and for all, and the "
        "request handler that keeps a path as it was sent. Without them the stand-in answers nothing but Bedrock's "
        "own operations."
    ),
    "moto_api_backend": (
        "Read in moto 5.2.5 (moto.moto_api._internal.models.moto_api_backend.reset): forgets everything. Without it "
        "what one test leaves is found by the next."
    ),
    "s3_backends": (
        "Read in moto 5.2.5 (moto.s3.models): buckets and objects from inside the process. Without them the stand-in "
        "reads no input of a job and writes no output."
    ),
    "versions of keys": (
        "Read in moto 5.2.5 (moto.s3.utils._VersionedKeyStore, a dict of lists whose last item is current): listings "
        "without moto's own iteration. Without it a listing of 1,000 objects takes a second instead of ten "
        "milliseconds, or is wrong."
    ),
    "iam_backends": (
        "Read in moto 5.2.5 (moto.iam.models.IAMBackend.create_role and get_roles; Role.policies and "
        "managed_policies): the service role, who may take it on, and what it may do. Without them every job is "
        "refused for its role."
    ),
    "events_backends": (
        "Read in moto 5.2.5 (moto.events.models: event buses, rules, their patterns and targets): which rules match "
        "an event, and delivery to targets other than queues. Without them nobody gets an event of a job."
    ),
    "sqs_backends": (
        "Read in moto 5.2.5 (moto.sqs.models.SQSBackend.send_message): a message put into a queue from inside the "
        "process. Without it no event queue gets an event of a job."
    ),
}

ACCOUNT_ID = "123456789012"

# What handles a connection; it keeps a request's path as it was sent.
RequestHandler = MotoRequestHandler
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class RefusedError(Exception):
    """moto refuses a message as the service would."""


def application(service: str) -> Application:
    """The WSGI application for one service, as boto3 names it."""
    name: Any = service
    made: Application = create_backend_app(name)
    return made


def application_for_all() -> Application:
    """A WSGI application that finds out by itself which service a request is for, which takes 3 ms."""
    made: Application = DomainDispatcherApplication(create_backend_app)
    return made


def reset() -> None:
    """Forget everything that moto keeps."""
    moto_api_backend.reset()


def create_bucket(name: str, region: str) -> None:
    """Make a bucket, unless it is there."""
    try:
        _s3().create_bucket(name, region)
    except BucketAlreadyExists:
        return


def has_bucket(name: str) -> bool:
    """Whether the bucket exists."""
    try:
        _s3().get_bucket(name)
    except MissingBucket:
        return False
    return True


def versions(bucket: str) -> dict[str, list[Any]]:
    """Each key of a bucket with its versions, the current one last: a delete marker or an object.

    Use `dict.items` and `dict.keys` on it, as this module does: moto's own iteration makes a copy and gives the current
    versions one by one.
    """
    found: dict[str, list[Any]] = _s3().get_bucket(bucket).keys
    return found


def object_size(bucket: str, key: str) -> int | None:
    """The size in bytes of an object, or None if there is none."""
    item = _s3().get_bucket(bucket).keys.get(key)
    return int(item.contentsize) if isinstance(item, FakeKey) else None


def object_sizes(bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Key and size in bytes of each object whose key begins with `prefix`, in no order."""
    keys: Any = _s3().get_bucket(bucket).keys
    # By its names first: moto's own iteration is slow, and a bucket may hold many other objects.
    for name in [name for name in dict.keys(keys) if name.startswith(prefix)]:
        item = keys[name]
        if isinstance(item, FakeKey):
            yield name, int(item.contentsize)


def read_object(bucket: str, key: str) -> bytes | None:
    """The bytes of an object, or None if there is none."""
    item = _s3().get_object(bucket, key)
    if item is None:
        return None
    value: bytes = item.value
    return value


def write_object(bucket: str, key: str, value: bytes, metadata: Mapping[str, str] | None) -> None:
    """Write an object; metadata are headers as S3 returns them."""
    item = _s3().put_object(bucket, key, value)
    if metadata:
        item.set_metadata(dict(metadata))


def buckets() -> Iterator[tuple[str, str]]:
    """Name and Region of each bucket."""
    for name, bucket in _s3().buckets.items():
        yield name, str(bucket.region_name)


def contents(bucket: str) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Each object of a bucket with its metadata, current versions only."""
    found: FakeBucket = _s3().get_bucket(bucket)
    return {key: (item.value, dict(item.metadata)) for key, item in found.keys.items() if isinstance(item, FakeKey)}


def create_role(name: str, trust_policy: str) -> None:
    """Make a role."""
    _iam().create_role(name, trust_policy, "/", None, "", [], "3600")


def trust_policy(arn: str) -> str | None:
    """The policy that says who may take on a role, as JSON; None if there is no such role."""
    role = next((role for role in _iam().get_roles() if role.arn == arn), None)
    return None if role is None else unquote(str(role.assume_role_policy_document))


def role_policies(arn: str) -> list[str]:
    """The policies of a role, its own and those attached to it, as JSON; none if there is no such role."""
    role: Any = next((role for role in _iam().get_roles() if role.arn == arn), None)
    if role is None:
        return []
    attached = [policy.default_version.document for policy in role.managed_policies.values()]
    return [
        unquote(text) if isinstance(text, str) else json.dumps(text) for text in [*role.policies.values(), *attached]
    ]


def matching_rules(region: str, event: Mapping[str, Any]) -> list[Any]:
    """The enabled rules of the default event bus that match an event."""
    bus: Any = events_backends[ACCOUNT_ID][region].event_buses["default"]
    return [rule for rule in bus.rules.values() if rule.state == "ENABLED" and rule.event_pattern.matches_event(event)]


def send_to_queue(arn: str, body: str, group: str | None) -> None:
    """Put a message into a queue.

    Raises:
        RefusedError: There is no such queue, or it does not take the message.
    """
    part = arn.split(":")
    try:
        sqs_backends[part[4]][part[3]].send_message(part[5], body, group_id=group)
    except ServiceException as error:
        raise RefusedError(str(error)) from error


def send_to_targets(rule: Any, targets: list[dict[str, Any]], event: Mapping[str, Any]) -> None:
    """Deliver an event to some of a rule's targets in moto's own way, which wants the time as a number."""
    partial: Any = Rule.__new__(Rule)
    partial.__dict__ = rule.__dict__ | {"targets": targets}
    partial.send_to_targets({**event, "time": unix_time(), "ingestion-time": unix_time()})


def _s3() -> S3Backend:
    return s3_backends[ACCOUNT_ID]["aws"]


def _iam() -> IAMBackend:
    return iam_backends[ACCOUNT_ID]["aws"]
