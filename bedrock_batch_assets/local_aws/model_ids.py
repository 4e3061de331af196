"""From a `modelId` parameter to the model behind it and to the ARN that Get answers with."""

from collections.abc import Mapping

from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.models_table import PROFILE_REGIONS, Model, models, split_profile_id
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID

INVALID_ID = "The provided model identifier is invalid."
INVALID_ARN = "The provided ARN is invalid for the service region."


def resolve(model_id: str, region: str, application_profiles: Mapping[str, str]) -> tuple[Model, str]:
    """The model that a `modelId` (any accepted form) stands for in a Region, and its full ARN there.

    Raises:
        ServiceError: ValidationException: no such model, or it cannot be reached by this id from this Region.
    """
    if not model_id.startswith("arn:"):
        return _by_id(model_id, region)
    parts = model_id.split(":", 5)
    kind, _, name = parts[5].partition("/")
    if parts[3] != region:
        raise ServiceError("ValidationException", INVALID_ARN)
    if kind == "foundation-model" or (kind == "inference-profile" and parts[4] == ACCOUNT_ID):
        model, arn = _by_id(name, region)
        if arn != model_id:
            raise ServiceError("ValidationException", INVALID_ID)
        return model, arn
    if kind == "application-inference-profile" and parts[4] == ACCOUNT_ID and name in application_profiles:
        return resolve(application_profiles[name], region, {})[0], model_id
    if kind == "custom-model" and parts[4] == ACCOUNT_ID:
        # custom-model/<base model>/<12 characters>, where the base model's version may have more parts.
        base = name.split("/", 1)[0]
        found = next(
            (model for model in models().values() if base == model.id or base.startswith(f"{model.id}:")), None
        )
        if found is not None:
            return found, model_id
    raise ServiceError("ValidationException", INVALID_ID)


def _by_id(model_id: str, region: str) -> tuple[Model, str]:
    prefix, base = split_profile_id(model_id)
    # "amazon.nova-lite-v1:0:300k": the part after the version is a context length.
    model = models().get(base) or (models().get(base.rpartition(":")[0]) if base.endswith("k") else None)
    if model is None:
        raise ServiceError("ValidationException", INVALID_ID)
    if prefix is None:
        if model.access == "profile":
            raise ServiceError("ValidationException", INVALID_ARN)
        return model, f"arn:aws:bedrock:{region}::foundation-model/{base}"
    if model.access == "base":
        raise ServiceError("ValidationException", INVALID_ID)
    if not region.startswith(PROFILE_REGIONS[prefix]):
        raise ServiceError("ValidationException", INVALID_ARN)
    return model, f"arn:aws:bedrock:{region}:{ACCOUNT_ID}:inference-profile/{model_id}"
