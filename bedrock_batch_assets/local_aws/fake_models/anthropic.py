"""Anthropic Claude: the Messages API."""

from typing import Any, Literal

import msgspec

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
from bedrock_batch_assets.local_aws.fake_models.prose import Text, write
from bedrock_batch_assets.local_aws.fake_models.structured import conforming, json_text

# These take temperature or top_p; Opus 5 takes neither.
_ONE_OF_TWO = ("-sonnet-4-5-", "-haiku-4-5-", "-opus-4-5-", "-opus-4-6", "-sonnet-4-6")
_NEITHER = ("-opus-5",)
_STOP_REASONS = {"end": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence"}


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body."""

    anthropic_version: str
    max_tokens: int
    messages: list[Message]
    system: str | list[dict[str, Any]] | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    anthropic_beta: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


def answer(call: Call) -> Answer:
    """Answer a Messages body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, Body, "fields")
    _check(call, body)
    prompt = "\n".join(text_of(part) for part in _parts(body) if part)
    if not prompt.strip():
        raise BodyError("messages: text content blocks must be non-empty")
    limit = check_max_tokens(call, body.max_tokens)
    text = write(prompt, call.seed, limit, body.stop_sequences, call.truncate)
    content, stop_reason = _content(call, body, text)
    output = {
        "model": call.model.id.removeprefix("anthropic.").split("-v", maxsplit=1)[0],
        "id": f"msg_bdrk_{call.seed:020x}",
        "type": "message",
        "role": "assistant",
        "content": [content],
        "stop_reason": stop_reason,
        "stop_sequence": text.stop_sequence,
        "usage": {
            "input_tokens": text.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": text.output_tokens,
        },
    }
    return Answer(output, text.input_tokens, text.output_tokens)


def _parts(body: Body) -> list[str | list[dict[str, Any]] | None]:
    """The system prompt and the content of each message."""
    return [body.system, *(message.content for message in body.messages)]


def _content(call: Call, body: Body, text: Text) -> tuple[dict[str, Any], str]:
    """The answer's one content block, in the form that the body asks for, and its stop reason."""
    stop_reason = _STOP_REASONS[text.end]
    if stop_reason == "max_tokens":
        return {"type": "text", "text": text.text}, stop_reason
    if (tool := _chosen_tool(body)) is not None:
        arguments = conforming(tool.get("input_schema") or {}, text.text, call.seed)
        block = {"type": "tool_use", "id": f"toolu_bdrk_{call.seed:020x}", "name": tool["name"], "input": arguments}
        return block, "tool_use"
    schema = ((body.output_config or {}).get("format") or {}).get("schema")
    words = text.text if schema is None else json_text(schema, text.text, call.seed)
    return {"type": "text", "text": words}, stop_reason


def _check(call: Call, body: Body) -> None:
    """Check the body in the order in which the service does.

    Raises:
        BodyError: It is not one that the model takes.
    """
    if body.anthropic_version != "bedrock-2023-05-31":
        raise BodyError("anthropic_version: Input should be 'bedrock-2023-05-31'")
    check_roles([m.role for m in body.messages], 'messages: first message must use the "user" role')
    check_sampling(call, body.temperature, body.top_p)
    if call.batch and any(
        isinstance(part, list) and any("cache_control" in block for block in part) for part in _parts(body)
    ):
        raise BodyError("You invoked an unsupported model or your request did not allow prompt caching.")
    if body.tools and not call.takes_tools:
        raise BodyError("tools: Tool use is not supported in batch inference")
    if body.output_config is not None and not call.takes_structured_output:
        raise BodyError("output_config: Extra inputs are not permitted")


def _chosen_tool(body: Body) -> dict[str, Any] | None:
    """The tool that the model has to call; None if it may answer in words."""
    if not body.tools:
        return None
    choice = body.tool_choice or {}
    tools = [tool for tool in body.tools if "name" in tool]
    if choice.get("type") == "any":
        return tools[0] if tools else None
    named = [tool for tool in tools if choice.get("type") == "tool" and tool["name"] == choice.get("name")]
    return named[0] if named else None


def check_sampling(call: Call, temperature: Number | None, top_p: Number | None) -> None:
    """Check the sampling parameters that some Claude models restrict.

    Raises:
        BodyError: Both are given to a model of the 4.5 family, any to Opus 5, or one is out of range.
    """
    check_range("temperature", temperature, 0, 1)
    check_range("top_p", top_p, 0, 1)
    if temperature is None and top_p is None:
        return
    model_id = call.model.id
    if any(part in model_id for part in _NEITHER):
        name = "temperature" if temperature is not None else "top_p"
        raise BodyError(f"`{name}` is not supported by this model.")
    if temperature is not None and top_p is not None and any(part in model_id for part in _ONE_OF_TWO):
        raise BodyError("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
