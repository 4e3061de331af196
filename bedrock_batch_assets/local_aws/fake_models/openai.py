"""Models that take OpenAI's chat completions: gpt-oss, Qwen, Gemma, GLM, Kimi, MiniMax, Nemotron and others."""

from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.fake_models.base import (
    Answer,
    BodyError,
    Call,
    Number,
    check_max_tokens,
    check_range,
    read_body,
    text_of,
)
from bedrock_batch_assets.local_aws.fake_models.prose import token_count, write
from bedrock_batch_assets.local_aws.fake_models.structured import json_text

_FINISH_REASONS = {"end": "stop", "length": "length", "stop_sequence": "stop"}
_REASONING = "<reasoning>The user asks something simple, so a short answer will do.</reasoning>"
# A fixed date, so that the same body is answered alike: 2025-08-05, when gpt-oss came out.
_CREATED = 1_754_352_000


class Message(msgspec.Struct, kw_only=True):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body."""

    messages: list[Message]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    stream: bool | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None


def answer(call: Call) -> Answer:
    """Answer a chat completions body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, Body, "fields")
    if not body.messages:
        raise BodyError("messages: List should have at least 1 item after validation, not 0")
    for name, is_taken in (("tools", call.takes_tools), ("response_format", call.takes_structured_output)):
        if getattr(body, name) is not None and not is_taken:
            raise BodyError(f"{name}: Extra inputs are not permitted")
    check_range("temperature", body.temperature, 0, 2)
    check_range("top_p", body.top_p, 0, 1)
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    limit = check_max_tokens(call, asked)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    text = write("\n".join(text_of(m.content) for m in body.messages), call.seed, limit, stop, call.truncate)
    content, output_tokens = text.text, text.output_tokens
    output_format = body.response_format or {}
    if output_format.get("type") in {"json_schema", "json_object"} and text.end != "length":
        schema = (output_format.get("json_schema") or {}).get("schema") or {"properties": {"answer": {}}}
        content = json_text(schema, text.text, call.seed)
    if "gpt-oss" in call.model.id:
        content, output_tokens = _REASONING + content, output_tokens + token_count(_REASONING)
    output = {
        "id": f"chatcmpl-{call.seed:020x}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": call.model.id,
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": _FINISH_REASONS[text.end],
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": text.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": text.input_tokens + output_tokens,
        },
    }
    return Answer(output, text.input_tokens, output_tokens)
