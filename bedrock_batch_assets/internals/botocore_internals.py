"""Every use of what botocore does not document, outside the stand-in for AWS.

`PRIVATE_PARTS` names each of them with the version in which it was read, and what is lost without it; `make contract`
checks them.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals.private_parts import PrivateParts

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.loaders import Loader

PRIVATE_PARTS = PrivateParts(
    "botocore",
    "boto3>=1.42.81",
    {
        "data_loader": (
            "Read in botocore 1.44.5 (Session.register_component with the name data_loader, and "
            "botocore.loaders.create_loader): one reader of service descriptions for all sessions of a process. "
            "Without it each AWS resource of a run reads them anew: 0.1 s of CPU and 10 MB each."
        ),
        "service descriptions": (
            "Read in botocore 1.44.5 (Loader.load_data and load_service_model, and the names of the files that a "
            "client reads): descriptions that run workers find in memory. Without them each run reads them from disk: "
            "0.1 s of CPU."
        ),
    },
)


def new_session(profile_name: str | None, region_name: str | None) -> "Session":
    """A boto3 session that shares the descriptions of services with all others of this process.

    They are megabytes of JSON, and boto3 reads them anew for each session: 0.1 s of CPU and 10 MB each time.

    Raises:
        botocore.exceptions.ProfileNotFound: There is no such profile.
    """
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    try:
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    except (ImportError, AttributeError, TypeError) as error:
        PRIVATE_PARTS.say_once("data_loader", error)
    return boto3.session.Session(profile_name=profile_name, region_name=region_name, botocore_session=session)


def load_service_models(services: Iterable[str]) -> None:
    """Read the descriptions of services that sessions share, ahead of the first client."""
    from botocore.exceptions import DataNotFoundError

    try:
        loader = _loader(None)
        for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            loader.load_data(name)
        for service in services:
            for kind in ("service-2", "endpoint-rule-set-1"):
                loader.load_service_model(service, kind)
    except (ImportError, AttributeError, TypeError, DataNotFoundError) as error:
        PRIVATE_PARTS.say_once("service descriptions", error)


def service_description(service: str) -> Mapping[str, Any]:
    """What botocore knows of a service, as in its `service-2.json`: `operations`, and `shapes` with their limits."""
    description: Mapping[str, Any] = _loader(None).load_service_model(service, "service-2")
    return description


@cache
def _loader(data_path: str | None) -> "Loader":
    from botocore.loaders import create_loader

    return create_loader(data_path)
