"""The operations that tell which models there are: foundation models and inference profiles."""

import base64
from typing import Any

from bedrock_batch_assets.local_aws import parameters
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.models_table import PROFILE_REGIONS, Model, models, split_profile_id
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID

# Any date will do; one is required by neither shape, but people print it.
# What botocore's model allows at most; the service's default is not documented.
_PROFILES_PER_PAGE = 1_000
_MADE = "2025-01-01T00:00:00Z"


def list_foundation_models(region: str, query: dict[str, Any]) -> dict[str, Any]:
    """ListFoundationModels.

    Raises:
        ServiceError: A filter does not fit.
    """
    parameters.check("bedrock", "ListFoundationModels", query)
    found = [_foundation_model(model, region) for model in models().values()]
    wanted = {
        "byOutputModality": "outputModalities",
        "byInferenceType": "inferenceTypesSupported",
        "byCustomizationType": "customizationsSupported",
    }
    for name, field in wanted.items():
        if name in query:
            found = [model for model in found if query[name] in model[field]]
    if "byProvider" in query:
        found = [model for model in found if model["providerName"].lower() == query["byProvider"].lower()]
    return {"modelSummaries": found}


def get_foundation_model(region: str, identifier: str) -> dict[str, Any]:
    """GetFoundationModel.

    Raises:
        ServiceError: There is no such model.
    """
    parameters.check("bedrock", "GetFoundationModel", {"modelIdentifier": identifier})
    model = models().get(identifier.rpartition("/")[2])
    if model is None:
        raise ServiceError("ResourceNotFoundException", f"Could not resolve the foundation model from {identifier}.")
    return {"modelDetails": _foundation_model(model, region)}


def get_foundation_model_availability(model_id: str) -> dict[str, Any]:
    """GetFoundationModelAvailability: the account has access to every model.

    Raises:
        ServiceError: There is no such model.
    """
    parameters.check("bedrock", "GetFoundationModelAvailability", {"modelId": model_id})
    if model_id not in models():
        raise ServiceError("ResourceNotFoundException", f"Could not resolve the foundation model from {model_id}.")
    return {
        "modelId": model_id,
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }


def list_inference_profiles(region: str, query: dict[str, Any]) -> dict[str, Any]:
    """ListInferenceProfiles.

    Raises:
        ServiceError: A parameter does not fit.
    """
    names = {"type": "typeEquals"}
    given = {names.get(name, name): value for name, value in query.items()}
    if str(given.get("maxResults", "")).isdigit():
        given["maxResults"] = int(given["maxResults"])
    parameters.check("bedrock", "ListInferenceProfiles", given)
    found = [
        _profile(model, profile_id, region)
        for model in models().values()
        for profile_id in model.profile_ids(region)
        if given.get("typeEquals") != "APPLICATION"
    ]
    start = _place_in(given.get("nextToken"), len(found))
    stop = start + given.get("maxResults", _PROFILES_PER_PAGE)
    page = {"inferenceProfileSummaries": found[start:stop]}
    return page | ({"nextToken": _token(stop)} if stop < len(found) else {})


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"profile {place}".encode()).decode()


def _place_in(token: str | None, count: int) -> int:
    if token is None:
        return 0
    for place in range(count):
        if _token(place) == token:
            return place
    raise ServiceError("ValidationException", "The provided nextToken is invalid.")


def get_inference_profile(region: str, identifier: str) -> dict[str, Any]:
    """GetInferenceProfile.

    Raises:
        ServiceError: There is no such profile in the Region.
    """
    parameters.check("bedrock", "GetInferenceProfile", {"inferenceProfileIdentifier": identifier})
    profile_id = identifier.rpartition("/")[2]
    model = models().get(split_profile_id(profile_id)[1])
    if model is None or profile_id not in model.profile_ids(region):
        raise ServiceError("ResourceNotFoundException", f"Could not find the inference profile {identifier}.")
    return _profile(model, profile_id, region)


def _foundation_model(model: Model, region: str) -> dict[str, Any]:
    return {
        "modelArn": model.arn(region),
        "modelId": model.id,
        "modelName": model.name,
        "providerName": model.provider,
        "inputModalities": list(model.input_modalities),
        "outputModalities": ["EMBEDDING"] if model.is_embedding else ["TEXT"],
        "responseStreamingSupported": not model.is_embedding,
        "customizationsSupported": [],
        # The service says INFERENCE_PROFILE, which its own enum of filters does not have.
        "inferenceTypesSupported": {
            "base": ["ON_DEMAND"],
            "profile": ["INFERENCE_PROFILE"],
            "both": ["ON_DEMAND", "INFERENCE_PROFILE"],
        }[model.access],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _profile(model: Model, profile_id: str, region: str) -> dict[str, Any]:
    prefix = profile_id.partition(".")[0]
    start = PROFILE_REGIONS[prefix]
    others = [
        other for other in ("us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1") if other.startswith(start)
    ]
    regions = sorted({region, *others})
    return {
        "inferenceProfileName": f"{prefix.upper()} {model.name}",
        "description": f"Routes requests to {model.name} in {', '.join(regions)}.",
        "createdAt": _MADE,
        "updatedAt": _MADE,
        "inferenceProfileArn": f"arn:aws:bedrock:{region}:{ACCOUNT_ID}:inference-profile/{profile_id}",
        "inferenceProfileId": profile_id,
        "models": [{"modelArn": model.arn(name)} for name in regions],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }
