"""Every use of what botocore does not document, outside the stand-in for AWS.

`PRIVATE_PARTS` names each of them with the version in which it was read, and what is lost without it; `make contract`
checks them.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals.private_parts import PrivateParts

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.credentials import Credentials
    from botocore.loaders import Loader
    from botocore.model import OperationModel

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
        "credential_provider": (
            "Read in botocore 1.44.5 (Session.register_component with the name credential_provider, and "
            "RequestSigner.get_auth_instance, which asks credentials for their frozen form at each request): "
            "credentials that are found anew while a client lives. Without it a run whose token expires goes on only "
            "if boto3 renews the token by itself, and fails otherwise."
        ),
        "profiles": (
            "Read in botocore 1.44.5 (Session.get_scoped_config and available_profiles of a session with a profile): "
            "what is written in ~/.aws. Without them errors of credentials do not say which profile, sign-in or role "
            "they are about."
        ),
        "ResponseParserError": (
            "Read in botocore 1.44.5 (botocore.parsers.ResponseParserError): an answer that is no answer of AWS, such "
            "as a proxy's page. Without it such an answer ends a wait that would go on."
        ),
        "needs-retry": (
            "Read in botocore 1.44.5 (the event needs-retry and its arguments in Endpoint._needs_retry): a look at "
            "each answer of AWS, after which a request can be signed and sent again. Without it a run whose token "
            "expires fails, and denied HEAD requests come without AWS's reason."
        ),
    },
)


def new_session(
    profile_name: str | None, region_name: str | None, credentials: "Credentials | None" = None
) -> "Session":
    """A boto3 session that shares the descriptions of services with all others of this process.

    They are megabytes of JSON, and boto3 reads them anew for each session: 0.1 s of CPU and 10 MB each time.

    Args:
        profile_name: Profile in ~/.aws; None for that of the environment.
        region_name: AWS Region; None for that of the environment or the profile.
        credentials: Its credentials; None for those that boto3 finds.

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
    if credentials is not None:
        try:
            session.register_component("credential_provider", _Given(credentials))
        except (AttributeError, TypeError) as error:
            PRIVATE_PARTS.say_once("credential_provider", error)
    return boto3.session.Session(profile_name=profile_name, region_name=region_name, botocore_session=session)


class _Given:
    """What botocore asks for credentials, with the answer."""

    def __init__(self, credentials: "Credentials") -> None:
        self._credentials = credentials

    def load_credentials(self) -> "Credentials":
        return self._credentials


def look_at_answers(client: Any, look: Callable[[dict[str, Any], "OperationModel", dict[str, Any]], bool]) -> None:
    """Let a function look at each answer that a client gets, before botocore itself does.

    Args:
        client: A boto3 client.
        look: Takes the parsed answer, whose `Error` it may change, the operation, and the context of the request: a
            dictionary of the request's own, which stays the same when it is sent again. Returns whether to sign the
            request anew and send it again. What it raises is raised by the call.
    """

    def handle(
        response: tuple[Any, dict[str, Any]] | None, operation: "OperationModel", request_dict: dict[str, Any], **_: Any
    ) -> float | None:
        if response is None:
            return None
        # The event's result is the number of seconds until the next try.
        return 0.0 if look(response[1], operation, request_dict["context"]) else None

    try:
        # Registered by the event's whole name: handlers of a part of the name come after those of the whole.
        name = f"needs-retry.{client.meta.service_model.service_id.hyphenize()}"
        client.meta.events.register_first(name, handle)
    except (AttributeError, TypeError) as error:
        PRIVATE_PARTS.say_once("needs-retry", error)


def profile_settings(name: str | None) -> Mapping[str, Any]:
    """What is written in ~/.aws about a profile, or about that of the environment if it is None.

    Raises:
        botocore.exceptions.BotoCoreError: There is no such profile, or the files cannot be read.
    """
    import botocore.session

    try:
        settings: Mapping[str, Any] = botocore.session.Session(profile=name).get_scoped_config()
    except (AttributeError, TypeError) as error:
        PRIVATE_PARTS.say_once("profiles", error)
        return {}
    return settings


def profile_names() -> list[str]:
    """The profiles in ~/.aws.

    Raises:
        botocore.exceptions.BotoCoreError: The files cannot be read.
    """
    import botocore.session

    try:
        return sorted(botocore.session.Session(profile="default").available_profiles)
    except (AttributeError, TypeError) as error:
        PRIVATE_PARTS.say_once("profiles", error)
        return []


def is_unreadable_answer(error: Exception) -> bool:
    """Whether an answer did not come from AWS whole: it is a proxy's page, or it was cut off."""
    try:
        from botocore.parsers import ResponseParserError
    except ImportError as missing:
        PRIVATE_PARTS.say_once("ResponseParserError", missing)
        return False
    return isinstance(error, ResponseParserError)


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
