"""The Converse API, which all text models share."""

from functools import cache
from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.fake_models.anthropic import check_sampling
from bedrock_batch_assets.local_aws.fake_models.base import (
    Answer,
    BodyError,
    Call,
    Number,
    check_max_tokens,
    check_range,
    check_roles,
    read_body,
    text_of,
)
from bedrock_batch_assets.local_aws.fake_models.prose import Text, token_count, write
from bedrock_batch_assets.local_aws.fake_models.structured import json_text
from bedrock_batch_assets.local_aws.parameters import operation

_STOP_REASONS = {"end": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence"}
_REASONING = "The user asks something simple, so a short answer will do."


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: list[dict[str, Any]]


class InferenceConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The sampling parameters that all models share."""

    maxTokens: int | None = None  # noqa: N815
    temperature: Number | None = None
    topP: Number | None = None  # noqa: N815
    stopSequences: list[str] | None = None  # noqa: N815


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body: Converse's parameters without `modelId`."""

    messages: list[Message]
    system: list[dict[str, Any]] | None = None
    inferenceConfig: InferenceConfig | None = None  # noqa: N815
    additionalModelRequestFields: dict[str, Any] | None = None  # noqa: N815
    additionalModelResponseFieldPaths: list[str] | None = None  # noqa: N815
    requestMetadata: dict[str, str] | None = None  # noqa: N815
    performanceConfig: dict[str, Any] | None = None  # noqa: N815
    serviceTier: dict[str, Any] | None = None  # noqa: N815
    toolConfig: dict[str, Any] | None = None  # noqa: N815
    guardrailConfig: dict[str, Any] | None = None  # noqa: N815
    promptVariables: dict[str, Any] | None = None  # noqa: N815
    outputConfig: dict[str, Any] | None = None  # noqa: N815


# What batch inference does not take, by the user guide's page on it.
_NOT_IN_BATCH = ("toolConfig", "guardrailConfig")


def answer(call: Call) -> Answer:
    """Answer a Converse body.

    Batch outputs carry every member of a content block, null if it is not set, as the service serialises them.

    Raises:
        BodyError: The body is not a Converse request, or the model has no text to converse with.
    """
    if call.model.is_embedding or call.model.family == "none":
        raise BodyError(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model."
        )
    body = read_body(call, Body, "fields")
    _check(call, body)
    config = body.inferenceConfig or InferenceConfig()
    limit = check_max_tokens(call, config.maxTokens)
    prompt = "\n".join(text_of(part) for part in _parts(body) if part)
    text = write(prompt, call.seed, limit, config.stopSequences, call.truncate)
    content: list[dict[str, Any]] = [{"text": _words(call, body, text)}]
    output_tokens = text.output_tokens
    if "gpt-oss" in call.model.id:
        content.insert(0, {"reasoningContent": {"reasoningText": {"text": _REASONING}}})
        output_tokens += token_count(_REASONING)
    if call.batch:
        content = [_empty_content_block() | block for block in content]
    output: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _STOP_REASONS[text.end],
        "usage": {
            "inputTokens": text.input_tokens,
            "outputTokens": output_tokens,
            "totalTokens": text.input_tokens + output_tokens,
        },
        "metrics": {"latencyMs": 200 + call.seed % 800},
    }
    if call.batch:
        output |= {"additionalModelResponseFields": None, "trace": None, "performanceConfig": None}
    return Answer(output, text.input_tokens, output_tokens)


def _parts(body: Body) -> list[list[dict[str, Any]]]:
    """The content blocks of the system prompt and of each message."""
    return [body.system or [], *(message.content for message in body.messages)]


def _words(call: Call, body: Body, text: Text) -> str:
    """The words of the answer, in the format that the body asks for; those of a truncated answer as they are."""
    structure = ((body.outputConfig or {}).get("textFormat") or {}).get("structure") or {}
    schema = (structure.get("jsonSchema") or {}).get("schema")
    return text.text if schema is None or text.end == "length" else json_text(schema, text.text, call.seed)


def _check(call: Call, body: Body) -> None:
    """Check the body in the order in which the service does.

    Raises:
        BodyError: It is not one that the model takes.
    """
    config = body.inferenceConfig or InferenceConfig()
    check_roles([m.role for m in body.messages], "A conversation must start with a user message. Try again with a "
                "conversation that starts with a user message.")  # fmt: skip
    if call.batch:
        for name in _NOT_IN_BATCH:
            if getattr(body, name) is not None:
                raise BodyError(f"{name}: Extra inputs are not permitted")
    if body.outputConfig is not None and not call.takes_structured_output:
        raise BodyError("outputConfig: Extra inputs are not permitted")
    if call.batch and any("cachePoint" in block for part in _parts(body) for block in part):
        raise BodyError("You invoked an unsupported model or your request did not allow prompt caching.")
    if any(not message.content for message in body.messages):
        raise BodyError("The content field in the Message object is empty. Add a ContentBlock object to the content "
                        "field and try again.")  # fmt: skip
    _check_texts(body.messages)
    if call.model.family == "anthropic":
        check_sampling(call, config.temperature, config.topP)
    check_range("temperature", config.temperature, 0, 1)
    check_range("topP", config.topP, 0, 1)


def _check_texts(messages: list[Message]) -> None:
    """Check that no text is blank.

    Raises:
        BodyError: One is, with the service's words.
    """
    for number, message in enumerate(messages):
        for place, block in enumerate(message.content):
            text = block.get("text")
            if isinstance(text, str) and not text.strip():
                raise BodyError(
                    f"The text field in the ContentBlock object at messages.{number}.content.{place} is blank. "
                    "Add text to the text field, and try again."
                )


@cache
def _empty_content_block() -> dict[str, None]:
    # botocore does not say which kind of shape a member is.
    shape: Any = operation("bedrock-runtime", "Converse").output_shape
    block = shape.members["output"].members["message"].members["content"].member
    return dict.fromkeys(block.members)
