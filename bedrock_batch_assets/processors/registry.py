"""Which processor serves which model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import dagster as dg

from bedrock_batch_assets.errors import RequestError, did_you_mean
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.model_ids import REGION_PREFIX, base_model_id, model_name
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor

# The last part of these ARNs is an arbitrary id, which does not name the model.
_OPAQUE_ARN = re.compile(
    r"arn:aws[^:]*:bedrock:[^:]*:[^:]*:"
    r"(application-inference-profile|custom-model|custom-model-deployment|imported-model|provisioned-model)/.+"
)

# Asked for often, and outside batch inference (Amazon Bedrock User Guide, supported Regions and models for batch
# inference, November 2026). Consulted only if no processor takes the model.
_NOT_BATCHED = re.compile(
    r"(cohere|ai21|stability|twelvelabs|luma)\..+"
    r"|amazon\.(titan-embed-text-v1|titan-embed-g1-text|titan-text|titan-tg1|titan-image|rerank).*"
    r"|amazon\.nova-(canvas|reel|sonic|2-sonic).*"
    r"|anthropic\.claude-(v2|instant|opus-4-[78]|sonnet-5|fable).*"
    r"|deepseek\.r1.*|openai\.gpt-5.*|moonshot(ai)?\.kimi-k3.*"
)
# Families that no cross-region inference profile leads to, so that a region prefix on their ids is a mistake (the same
# page, columns "single-region" and "cross-region inference profile"). Consulted only if no processor is named.
_WITHOUT_PROFILE = re.compile(
    r"(deepseek\.v3|qwen\.|openai\.gpt-oss|google\.gemma|zai\.glm|moonshot(ai)?\.kimi|minimax\.|nvidia\.nemotron).*"
    r"|mistral\.(mistral-(large|small)|ministral|magistral|devstral|voxtral).*"
    r"|amazon\.titan-embed-text-v2.*"
)


@dataclass(frozen=True, slots=True)
class ChosenProcessor:
    """The processor for a model id.

    Attributes:
        name: The field of `Processors`.
        base_model_id: See `base_model_id`.
        processor: The processor, with a batch's parameters.
    """

    name: str
    base_model_id: str
    processor: BaseProcessor


class Processors(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The processors, one for each family of models. If two take the same model, the one that is declared later wins.

    To add a family, subclass this class and add a field. The field's class is created with its defaults unless the
    object is given one:

        class MyProcessors(Processors):
            cohere: CohereProcessor

        defs = platform(MyProcessors())     # from bedrock_batch_assets.definitions
    """

    anthropic: AnthropicProcessor
    titan_text_embeddings_v2: TitanTextEmbeddingsV2Processor
    converse: ConverseProcessor

    def __init__(self, **processors: Any) -> None:
        # Dagster drops the defaults of nested resource fields, and wraps their types in a union.
        for name, field in type(self).model_fields.items():
            if name not in processors:
                for candidate in (field.annotation, *get_args(field.annotation)):
                    if isinstance(candidate, type) and issubclass(candidate, BaseProcessor):
                        processors[name] = candidate()
        super().__init__(**processors)

    def by_name(self) -> dict[str, BaseProcessor]:
        """The processors by field name, in order of declaration."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, BaseProcessor)}

    def choose(
        self, model_id: str, name: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> ChosenProcessor:
        """The processor for a model, with a batch's parameters.

        Args:
            model_id: Bedrock model id, inference profile id or ARN.
            name: Field name of the processor to take, whatever the model id says.
            parameters: Overrides of the processor's fields, `BatchRequest.inference_parameters`.

        Raises:
            RequestError: No processor takes the model, `name` is no processor, or the parameters do not fit the
                processor or the model.
        """
        base_id = base_model_id(model_id)
        name, processor = self._named(name) if name else self._matching(model_id, base_id)
        processor = processor.with_parameters(parameters or {}).for_model(base_id)
        processor.check_model(base_id)
        return ChosenProcessor(name, base_id, processor)

    def for_model_id(
        self, model_id: str, name: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> BaseProcessor:
        """The processor that `choose` finds, alone."""
        return self.choose(model_id, name, parameters).processor

    def name_for(self, model_id: str, name: str | None = None) -> str:
        """The field name of the processor that `choose` takes, with no parameters checked.

        Raises:
            RequestError: No processor takes the model, or `name` is no processor.
        """
        return (self._named(name) if name else self._matching(model_id, base_model_id(model_id)))[0]

    def _named(self, name: str) -> tuple[str, BaseProcessor]:
        processors = self.by_name()
        if name not in processors:
            meant = did_you_mean(name, processors)
            raise RequestError(f"processor {name!r} is unknown.{meant} Use one of: {', '.join(processors)}.")
        return name, processors[name]

    def _matching(self, model_id: str, base_id: str) -> tuple[str, BaseProcessor]:
        processors = self.by_name()
        names = ", ".join(processors)
        if _OPAQUE_ARN.fullmatch(model_id.strip()):
            raise RequestError(
                f"The model id {model_id!r} does not tell the model family: set processor to one of: {names}."
            )
        for name, processor in reversed(processors.items()):
            if any(pattern.fullmatch(base_id) for pattern in processor.model_ids):
                _check_region_prefix(model_id, base_id, names)
                return name, processor
        if _NOT_BATCHED.fullmatch(base_id):
            raise RequestError(
                f"Amazon Bedrock does not offer {base_id!r} for batch inference: choose another model. (If it does "
                f"by now, set processor to one of: {names}.)"
            )
        raise RequestError(
            f"No processor knows the model {base_id!r}: check the model id, or set processor to one of: {names}. "
            "They take Anthropic Claude (anthropic), Amazon Titan Text Embeddings V2 (titan_text_embeddings_v2), and "
            "Amazon Nova, Llama, Mistral, DeepSeek, Qwen, gpt-oss, Gemma, GLM, Kimi, MiniMax, Nemotron and Palmyra "
            "(converse)."
        )


def _check_region_prefix(model_id: str, base_id: str, names: str) -> None:
    """Refuse a region prefix on a model that no inference profile leads to.

    Raises:
        RequestError: Bedrock does not know the id, and would say so after the input has been read and stored.
    """
    if _WITHOUT_PROFILE.fullmatch(base_id) and REGION_PREFIX.match(model_name(model_id)):
        raise RequestError(
            f"Amazon Bedrock has no cross-region inference profile for {base_id!r}, so model_id {model_id!r} leads "
            f"nowhere: set it to {base_id!r}. (If it has one by now, set processor to one of: {names}.)"
        )
