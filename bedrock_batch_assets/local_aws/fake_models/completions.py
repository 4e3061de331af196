"""Models that complete a prompt, or a plain conversation: Meta Llama, Mistral, DeepSeek."""

from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.fake_models import openai
from bedrock_batch_assets.local_aws.fake_models.base import (
    Answer,
    Call,
    Number,
    check_max_tokens,
    check_range,
    read_body,
    text_of,
)
from bedrock_batch_assets.local_aws.fake_models.prose import write

# Batch has no limit for Llama other than the model's, and 512 if the body asks for none (Llama's parameters page).
_LLAMA_DEFAULT_TOKENS = 512
_STOP_REASONS = {"end": "stop", "length": "length", "stop_sequence": "stop"}


class LlamaBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of Llama."""

    prompt: str
    max_gen_len: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    images: list[str] | None = None


def llama(call: Call) -> Answer:
    """Answer a Llama body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, LlamaBody, "schema")
    check_range("temperature", body.temperature, 0, 1)
    check_range("top_p", body.top_p, 0, 1)
    limit = check_max_tokens(call, body.max_gen_len if body.max_gen_len is not None else _LLAMA_DEFAULT_TOKENS)
    text = write(body.prompt, call.seed, limit, truncate=call.truncate)
    output = {
        "generation": text.text,
        "prompt_token_count": text.input_tokens,
        "generation_token_count": text.output_tokens,
        "stop_reason": _STOP_REASONS[text.end],
    }
    return Answer(output, text.input_tokens, text.output_tokens)


class MistralMessage(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]]


class MistralBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of Mistral's chat models."""

    messages: list[MistralMessage]
    max_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None


def mistral(call: Call) -> Answer:
    """Answer a Mistral chat body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, MistralBody, "schema")
    check_range("temperature", body.temperature, 0, 1)
    limit = check_max_tokens(call, body.max_tokens)
    text = write("\n".join(text_of(m.content) for m in body.messages), call.seed, limit, truncate=call.truncate)
    message = {"role": "assistant", "content": text.text, "tool_calls": None}
    output = {"choices": [{"index": 0, "message": message, "stop_reason": _STOP_REASONS[text.end]}]}
    return Answer(output, text.input_tokens, text.output_tokens)


class PromptBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of models that complete a prompt."""

    prompt: str
    max_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    stop: list[str] | None = None


def mistral_large(call: Call) -> Answer:
    """Answer a body of Mistral Large 24.02, which takes a prompt or a conversation.

    Source: Amazon Bedrock User Guide, "Mistral AI text completion" and "Mistral AI chat completion".

    Raises:
        BodyError: The body is not one that the model takes.
    """
    return mistral_text(call) if isinstance(call.body, dict) and "prompt" in call.body else mistral(call)


def mistral_text(call: Call) -> Answer:
    """Answer a Mistral text completion body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, PromptBody, "schema")
    text = write(body.prompt, call.seed, check_max_tokens(call, body.max_tokens), body.stop, call.truncate)
    output = {"outputs": [{"text": text.text, "stop_reason": _STOP_REASONS[text.end]}]}
    return Answer(output, text.input_tokens, text.output_tokens)


def deepseek(call: Call) -> Answer:
    """Answer a DeepSeek body: a prompt, or a conversation in OpenAI's shape.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    if isinstance(call.body, dict) and "messages" in call.body:
        return openai.answer(call)
    body = read_body(call, PromptBody, "schema")
    text = write(body.prompt, call.seed, check_max_tokens(call, body.max_tokens), body.stop, call.truncate)
    output = {"choices": [{"text": text.text, "stop_reason": _STOP_REASONS[text.end]}]}
    return Answer(output, text.input_tokens, text.output_tokens)
