"""Which models there are, which of them the caller may use, and what to write into a request."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.aws.error_kinds import is_denied
from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.errors import RequestError

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

    from bedrock_batch_assets.processors.registry import Processors

# GetFoundationModelAvailability is asked for one model at a time.
PARALLEL_REQUESTS = 8

GRANTED = "yes"
NOT_GRANTED = "no"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """One model: `ids` are what a request's model_id can be, `access` is yes, no or unknown.

    The API does not tell whether a model can be used in batches; that a processor takes it means that AWS documents
    it, and whether the Region and the account have it shows when the job is created.
    """

    model_id: str
    name: str
    provider: str
    ids: Sequence[str]
    access: str
    processor: str | None
    kind: str | None
    lifecycle: str

    def to_json(self) -> dict[str, Any]:
        """The offer as plain data."""
        return {
            "model_id": self.model_id,
            "name": self.name,
            "provider": self.provider,
            "ids": list(self.ids),
            "access": self.access,
            "processor": self.processor,
            "kind": self.kind,
            "lifecycle": self.lifecycle,
        }


def list_models(connection: AwsClients, processors: "Processors", *, every: bool = False) -> list[ModelOffer]:
    """The models of the connection's Region, by provider and name.

    Args:
        connection: Region and credentials.
        processors: Who would take them.
        every: Also those that no processor takes.

    Raises:
        ConfigurationError: Access to the list is denied, or there are no credentials.
    """
    bedrock: BedrockClient = connection.client("bedrock")
    with errors_explained("bedrock:ListFoundationModels", "all models"):
        summaries = bedrock.list_foundation_models().get("modelSummaries", [])
    profiles = _profiles(bedrock)
    offered = [(summary, *_processor(summary["modelId"], processors)) for summary in summaries]
    wanted = [item for item in offered if every or item[1] is not None]
    with ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as pool:
        access = list(pool.map(lambda item: _access(bedrock, item[0]), wanted))
    offers = [
        ModelOffer(
            model_id=summary["modelId"],
            name=summary.get("modelName", ""),
            provider=summary.get("providerName", ""),
            ids=_ids(summary, profiles),
            access=granted,
            processor=processor,
            kind=kind,
            lifecycle=summary.get("modelLifecycle", {}).get("status", ""),
        )
        for (summary, processor, kind), granted in zip(wanted, access, strict=True)
    ]
    return sorted(offers, key=lambda offer: (offer.provider, offer.name, offer.model_id))


def _profiles(bedrock: "BedrockClient") -> dict[str, list[str]]:
    """Inference profile ids by the model id that they lead to; empty if the caller may not list them."""
    from botocore.exceptions import ClientError

    found: dict[str, list[str]] = {}
    try:
        for page in bedrock.get_paginator("list_inference_profiles").paginate():
            for profile in page.get("inferenceProfileSummaries", []):
                for model in {item["modelArn"].rpartition("/")[2] for item in profile.get("models", [])}:
                    found.setdefault(model, []).append(profile["inferenceProfileId"])
    except ClientError as error:
        if not is_denied(error):
            raise
    return found


def _ids(summary: Any, profiles: dict[str, list[str]]) -> list[str]:
    """What a request can name: the model itself unless it is reached through profiles alone, then its profiles."""
    kinds = summary.get("inferenceTypesSupported", [])
    own = [summary["modelId"]] if "ON_DEMAND" in kinds or not kinds else []
    return [*own, *profiles.get(summary["modelId"], [])]


def _processor(model_id: str, processors: "Processors") -> tuple[str | None, str | None]:
    try:
        name = processors.name_for(model_id)
    except RequestError:
        return None, None
    return name, processors.by_name()[name].kind


def _access(bedrock: "BedrockClient", summary: Any) -> str:
    """Whether the account may call the model.

    ListFoundationModels said it in modelAccessType once; GetFoundationModelAvailability says it now. A caller who
    may not ask, or a service that does not know the question, gets "unknown".
    """
    from botocore.exceptions import BotoCoreError, ClientError

    old = summary.get("modelAccessType")
    if old is not None:
        return GRANTED if old == "GRANTED" else NOT_GRANTED
    try:
        answer = bedrock.get_foundation_model_availability(modelId=summary["modelId"])
    except (ClientError, BotoCoreError, AttributeError):
        return UNKNOWN
    is_granted = (
        answer.get("authorizationStatus") == "AUTHORIZED"
        and answer.get("entitlementAvailability") == "AVAILABLE"
        and answer.get("regionAvailability") == "AVAILABLE"
        and answer.get("agreementAvailability", {}).get("status") in {"AVAILABLE", None}
    )
    return GRANTED if is_granted else NOT_GRANTED
