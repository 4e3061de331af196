"""The connection to AWS: boto3 clients of one configuration."""

import os
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, PrivateAttr

from bedrock_batch_assets.aws.credential_errors import Profile, one_line, unusable
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.internals.botocore_internals import new_session, profile_settings

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from bedrock_batch_assets.aws.credentials import RenewableCredentials

# Threads of one run that talk to one service at the same time: boto3's transfers use 10 (TransferConfig), the
# platform's own reads and copies 8.
_MOST_CONNECTIONS = 16


class AwsClients(BaseModel, frozen=True):
    """How to reach AWS. Everything left out is found the way boto3 finds it: environment, profile, instance role."""

    region_name: str | None = Field(default=None, description="AWS region. Default: the environment's or profile's.")
    profile_name: str | None = Field(default=None, description="Profile in ~/.aws. Default: AWS_PROFILE.")
    endpoint_url: str | None = Field(default=None, description="Service address. Default: AWS_ENDPOINT_URL, else AWS.")
    max_attempts: int = Field(
        default=8, ge=1, description="Tries per API call, for throttling and network errors (boto3, standard mode)."
    )

    read_timeout_seconds: int = Field(default=60, ge=1, description="Longest wait for an answer, before a retry.")

    _clients: dict[str, Any] = PrivateAttr(default_factory=dict)
    _credentials: Any = PrivateAttr(default=None)

    def client(self, service: str) -> Any:
        """A boto3 client of `service`, made once. It finds renewed credentials by itself: see `aws/credentials.py`.

        Raises:
            ConfigurationError: There is no region, there is no such profile, or the endpoint is not an address.
        """
        if service not in self._clients:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

            config = Config(
                retries={"total_max_attempts": self.max_attempts, "mode": "standard"},
                max_pool_connections=_MOST_CONNECTIONS,
                read_timeout=self.read_timeout_seconds,
            )
            credentials = self._renewable_credentials()
            try:
                session = new_session(self.profile_name, self.region_name, credentials)
                # boto3 reads AWS_DEFAULT_REGION and the profile; AWS_REGION is what other SDKs and containers set.
                region = session.region_name or os.environ.get("AWS_REGION")
                client = session.client(
                    service,  # type: ignore[call-overload]
                    region_name=region,
                    endpoint_url=self.endpoint_url,
                    config=config,
                )
            except (BotoCoreError, ValueError) as error:
                found = unusable(error, f"the connection to {service}", Profile(self._profile_name))
                if found is not None:
                    raise found from error
                raise ConfigurationError(
                    f"Cannot connect to AWS {service}: {one_line(error)}. Check AWS_REGION and AWS_ENDPOINT_URL, or "
                    "start the local stand-in with `make dev`."
                ) from error
            credentials.watch(client)
            self._clients[service] = client
        return self._clients[service]

    def frozen_credentials(self) -> "ReadOnlyCredentials":
        """The credentials of this moment, for a library that talks to AWS by itself.

        Raises:
            CredentialsError: There are none that can be used.
        """
        return self._renewable_credentials().get_frozen_credentials()

    @property
    def _profile_name(self) -> str | None:
        return self.profile_name or Profile.of_environment().name

    def _renewable_credentials(self) -> "RenewableCredentials":
        from bedrock_batch_assets.aws.credentials import RenewableCredentials

        if self._credentials is None:
            self._credentials = RenewableCredentials(
                load=lambda: new_session(self.profile_name, self.region_name).get_credentials(),
                profile=lambda: _profile(self._profile_name),
                owner=self._profile_name or "default",
            )
        credentials: RenewableCredentials = self._credentials
        return credentials


def _profile(name: str | None) -> Profile:
    """A profile with those of its settings that can be read."""
    from botocore.exceptions import BotoCoreError

    try:
        return Profile(name, profile_settings(name))
    except BotoCoreError:
        return Profile(name)
