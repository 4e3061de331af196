"""The connection to AWS: boto3 clients, and what AWS errors mean to a person."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from bedrock_batch_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader

ACCESS_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedException", "403"})
THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "SlowDown", "RequestLimitExceeded"})


class AwsConnection(dg.ConfigurableResource):  # type: ignore[type-arg]
    """How to reach AWS. Everything left out is found the way boto3 finds it: environment, profile, instance role."""

    region_name: str | None = Field(default=None, description="AWS region. Default: the environment's or profile's.")
    profile_name: str | None = Field(default=None, description="Profile in ~/.aws. Default: AWS_PROFILE.")
    endpoint_url: str | None = Field(default=None, description="Service address. Default: AWS_ENDPOINT_URL, else AWS.")
    max_attempts: int = Field(
        default=8, ge=1, description="Tries per API call, for throttling and network errors (boto3, standard mode)."
    )

    read_timeout_seconds: int = Field(default=60, ge=1, description="Longest wait for an answer, before a retry.")

    _clients: dict[str, Any] = PrivateAttr(default_factory=dict)

    def client(self, service: str) -> Any:
        """A boto3 client of `service`, made once.

        Raises:
            ConfigurationError: No region, or the profile does not exist.
        """
        if service not in self._clients:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

            config = Config(
                retries={"total_max_attempts": self.max_attempts, "mode": "standard"},
                # A waiting run asks rarely; two connections are enough for it and for threads that share them.
                max_pool_connections=16,
                read_timeout=self.read_timeout_seconds,
            )
            try:
                session = new_session(self.profile_name, self.region_name)
                # boto3 reads AWS_DEFAULT_REGION and the profile; AWS_REGION is what other SDKs and containers set.
                region = session.region_name or os.environ.get("AWS_REGION")
                self._clients[service] = session.client(
                    service,  # type: ignore[call-overload]
                    region_name=region,
                    endpoint_url=self.endpoint_url,
                    config=config,
                )
            except BotoCoreError as error:
                raise ConfigurationError(
                    f"Cannot connect to AWS {service}: {error} Set AWS_REGION and credentials (or AWS_PROFILE), "
                    "or start the local stand-in with `make dev`."
                ) from error
        return self._clients[service]


def new_session(profile_name: str | None, region_name: str | None) -> "Session":
    """A boto3 session that shares the descriptions of services with all others of this process.

    They are megabytes of JSON, and boto3 reads them anew for each session: 0.1 s of CPU and 10 MB each time.

    Raises:
        botocore.exceptions.ProfileNotFound: There is no such profile.
    """
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return boto3.session.Session(profile_name=profile_name, region_name=region_name, botocore_session=session)


def load_service_models(services: Iterable[str]) -> None:
    """Read the descriptions of services that sessions share, ahead of the first client."""
    loader = _loader(None)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for service in services:
        for kind in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model(service, kind)


def service_description(service: str) -> Mapping[str, Any]:
    """What botocore knows of a service, as in its `service-2.json`: `operations`, and `shapes` with their limits."""
    description: Mapping[str, Any] = _loader(None).load_service_model(service, "service-2")
    return description


@cache
def _loader(data_path: str | None) -> "Loader":
    from botocore.loaders import create_loader

    return create_loader(data_path)


def error_code(error: "ClientError") -> str:
    """The service's error code, e.g. `ThrottlingException`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: "ClientError") -> str:
    """The service's error message."""
    return str(error.response.get("Error", {}).get("Message", ""))


def is_passing(error: Exception) -> bool:
    """Whether an AWS error is likely to pass by itself: throttling, a 5xx, a broken connection or a broken answer."""
    from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError
    from botocore.exceptions import ConnectionError as AwsConnectionError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in THROTTLED or status >= 500
    return isinstance(error, AwsConnectionError | HTTPClientError | IncompleteReadError | FlexibleChecksumError)


def explained(call: Callable[[], Any], *, action: str, resource: str) -> Any:
    """Run an AWS call, turning errors that only a person can mend into one that says what to do.

    Args:
        call: The call.
        action: The IAM action, e.g. `bedrock:CreateModelInvocationJob`.
        resource: What it acts on, for the message.

    Raises:
        ConfigurationError: Access is denied, or there are no credentials.
    """
    from botocore.exceptions import ClientError, NoCredentialsError

    try:
        return call()
    except NoCredentialsError as error:
        raise ConfigurationError(
            f"No AWS credentials for {action} on {resource}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or use `make dev` for the local stand-in."
        ) from error
    except ClientError as error:
        if error_code(error) in ACCESS_DENIED:
            raise ConfigurationError(
                f"Access denied: {action} on {resource}. AWS says: {error_message(error)} Allow the action for "
                "the credentials in use, then materialize again."
            ) from error
        raise
