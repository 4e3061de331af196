"""The connection to AWS: boto3 clients, and what AWS errors mean to a person."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.internals.botocore_internals import new_session

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

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
