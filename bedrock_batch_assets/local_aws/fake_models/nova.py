"""Amazon Nova: text models and multimodal embeddings."""

from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.fake_models.base import (
    Answer,
    Call,
    Number,
    check_max_tokens,
    check_range,
    check_roles,
    read_body,
    text_of,
)
from bedrock_batch_assets.local_aws.fake_models.prose import token_count, write
from bedrock_batch_assets.local_aws.fake_models.vectors import unit_vector

_STOP_REASONS = {"end": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence"}


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: list[dict[str, Any]]


class InferenceConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The sampling parameters. `max_new_tokens` is the older name of `maxTokens`."""

    maxTokens: int | None = None  # noqa: N815
    max_new_tokens: int | None = None
    temperature: Number | None = None
    topP: Number | None = None  # noqa: N815
    top_p: Number | None = None
    topK: int | None = None  # noqa: N815
    top_k: int | None = None
    stopSequences: list[str] | None = None  # noqa: N815


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of the text models."""

    messages: list[Message]
    schemaVersion: Literal["messages-v1"] | None = None  # noqa: N815
    system: list[dict[str, Any]] | None = None
    inferenceConfig: InferenceConfig | None = None  # noqa: N815


def answer(call: Call) -> Answer:
    """Answer a Nova body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, Body, "schema")
    config = body.inferenceConfig or InferenceConfig()
    check_roles([m.role for m in body.messages], "A conversation must start with a user message. Try again with a "
                "conversation that starts with a user message.")  # fmt: skip
    check_range("temperature", config.temperature, 0, 1)
    limit = check_max_tokens(call, config.maxTokens if config.maxTokens is not None else config.max_new_tokens)
    parts = [body.system or [], *(message.content for message in body.messages)]
    text = write("\n".join(text_of(p) for p in parts if p), call.seed, limit, config.stopSequences, call.truncate)
    output = {
        "output": {"message": {"content": [{"text": text.text}], "role": "assistant"}},
        "stopReason": _STOP_REASONS[text.end],
        "usage": {
            "inputTokens": text.input_tokens,
            "outputTokens": text.output_tokens,
            "totalTokens": text.input_tokens + text.output_tokens,
            "cacheReadInputTokenCount": 0,
            "cacheWriteInputTokenCount": 0,
        },
    }
    return Answer(output, text.input_tokens, text.output_tokens)


class EmbeddedText(msgspec.Struct, forbid_unknown_fields=True):
    """The text to embed. Without `truncationMode` a text that is too long is an error."""

    value: str
    truncationMode: Literal["START", "END", "NONE"] = "NONE"  # noqa: N815


class EmbeddingParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to embed, and how."""

    embeddingPurpose: str  # noqa: N815
    embeddingDimension: Literal[256, 384, 1024, 3072] = 3072  # noqa: N815
    text: EmbeddedText | None = None
    image: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None
    video: dict[str, Any] | None = None


class EmbeddingBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of the embedding model."""

    taskType: Literal["SINGLE_EMBEDDING"]  # noqa: N815
    singleEmbeddingParams: EmbeddingParameters  # noqa: N815
    schemaVersion: Literal["nova-multimodal-embed-v1"] | None = None  # noqa: N815


def embed(call: Call) -> Answer:
    """Answer a Nova Multimodal Embeddings body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    parameters = read_body(call, EmbeddingBody, "schema").singleEmbeddingParams
    kind = next((name for name in ("text", "image", "audio", "video") if getattr(parameters, name) is not None), "text")
    vector = unit_vector(call.seed, parameters.embeddingDimension)
    item: dict[str, Any] = {"embeddingType": kind.upper(), "embedding": vector}
    if parameters.text is not None and parameters.text.truncationMode != "NONE":
        item["truncatedCharLength"] = len(parameters.text.value)
    return Answer({"embeddings": [item]}, token_count(parameters.text.value) if parameters.text else 1, 0)
