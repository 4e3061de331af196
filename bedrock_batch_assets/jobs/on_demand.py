"""The on-demand API as a resource: one record a call."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic import Field

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.aws.errors import errors_explained

InvocationType = Literal["InvokeModel", "Converse"]
# The tier for work that can wait, at the price of a batch (Amazon Bedrock User Guide, "Service tiers for inference").
FLEX = "flex"


@dataclass(frozen=True, slots=True)
class OnDemandAnswer:
    """One answer: the `modelOutput`, and the service tier that it was made in ("default" unless the service says)."""

    output: Any
    tier: str


class OnDemand(AwsClients, frozen=True):
    """The on-demand API (InvokeModel, Converse), for batches and remainders that are too small for a batch job."""

    requests_per_second: float = Field(default=10.0, gt=0, description="At most so many requests a second, per chunk.")
    concurrency: int = Field(default=8, ge=1, le=64, description="Requests in flight at the same time, per chunk.")
    max_attempts: int = Field(
        default=1,
        ge=1,
        le=1,
        description="Always 1: boto3 would also repeat requests that may have been answered, and so paid for.",
    )
    # Long answers take minutes, and an answer that is given up is paid for and lost.
    read_timeout_seconds: int = Field(default=600, ge=1, description="Longest wait for one answer.")
    tries: int = Field(default=8, ge=1, description="Tries per record while the service is throttling.")
    flex: bool = Field(
        default=True,
        description="Ask in the flex tier, at the price of a batch, and in the default tier if the model has no other.",
    )

    def invoke(
        self, model_id: str, invocation_type: InvocationType, body: dict[str, Any], *, tier: str | None = None
    ) -> OnDemandAnswer:
        """Send one `modelInput`.

        Args:
            model_id: The model.
            invocation_type: The operation.
            body: The `modelInput`.
            tier: The service tier to ask for; None for the account's default.

        Raises:
            ConfigurationError: Access is denied, the credentials are not accepted, or the service cannot be reached:
                the model has not run.
            botocore.exceptions.ClientError: The service refuses.
            botocore.exceptions.BotoCoreError: The connection broke; nobody knows whether the model ran.
        """
        client = self.client("bedrock-runtime")
        wanted: dict[str, Any] = {}
        with errors_explained("bedrock:InvokeModel", model_id):
            if invocation_type == "Converse":
                if tier is not None:
                    wanted["serviceTier"] = {"type": tier}
                response = client.converse(modelId=model_id, **body, **wanted)
                output = {name: value for name, value in response.items() if name != "ResponseMetadata"}
                told = output.pop("serviceTier", None) or {}
                return OnDemandAnswer(output, told.get("type", "default"))
            if tier is not None:
                wanted["serviceTier"] = tier
            response = client.invoke_model(
                modelId=model_id, body=msgspec.json.encode(body), contentType="application/json", **wanted
            )
            return OnDemandAnswer(
                msgspec.json.decode(response["body"].read()), response.get("serviceTier") or "default"
            )
