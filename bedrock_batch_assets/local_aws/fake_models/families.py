"""Which fake model answers for which family."""

from collections.abc import Callable, Mapping
from typing import Literal

from bedrock_batch_assets.local_aws.fake_models import anthropic, completions, converse, nova, openai, titan
from bedrock_batch_assets.local_aws.fake_models.base import Answer, BodyError, Call
from bedrock_batch_assets.local_aws.models_table import Family

InvocationType = Literal["InvokeModel", "Converse"]

_FAMILIES: Mapping[Family, Callable[[Call], Answer]] = {
    "anthropic": anthropic.answer,
    "nova": nova.answer,
    "nova-embed": nova.embed,
    "titan-text": titan.embed_text,
    "titan-image": titan.embed_image,
    "llama": completions.llama,
    "mistral": completions.mistral,
    "mistral-large": completions.mistral_large,
    "mistral-text": completions.mistral_text,
    "deepseek": completions.deepseek,
    "openai": openai.answer,
}


def answer(call: Call, invocation_type: InvocationType) -> Answer:
    """Answer a request with the model's family, or through Converse.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    if invocation_type == "Converse":
        return converse.answer(call)
    family = _FAMILIES.get(call.model.family)
    if family is None:
        raise BodyError("You invoked an unsupported model.")
    return family(call)
