"""The models that answer the Converse body, which is the same for all of them."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field

from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer, TextPlaces
from bedrock_batch_assets.processors.claude_rules import check_claude_sampling


class ConverseBlock(msgspec.Struct, gc=False):
    """One content block of an answer. Every other member of the union, such as reasoning, has no `text`."""

    text: str | None = None


class ConverseMessage(msgspec.Struct, gc=False):
    """The answer."""

    content: list[ConverseBlock] | str | None = None


class ConverseMessageOutput(msgspec.Struct, gc=False):
    """The `output` member."""

    message: ConverseMessage | None = None


class ConverseUsage(msgspec.Struct, rename="camel", gc=False):
    """Token counts of an answer."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class ConverseOutput(msgspec.Struct, rename="camel", gc=False):
    """The parts of a Converse response that end up in the result table."""

    output: ConverseMessageOutput | None = None
    stop_reason: str | None = None
    usage: ConverseUsage | None = None


class ConverseProcessor(BaseProcessor):
    """Nova, Llama, Mistral, DeepSeek, Qwen, gpt-oss, Gemma, GLM, Kimi, MiniMax, Nemotron and Palmyra, by Converse.

    Claude is answered by it, too, if a request names this processor.
    """

    # The families with batch quotas (AWS General Reference, Amazon Bedrock endpoints and quotas). What they have
    # besides text models, or text models outside batch inference, is left out.
    model_ids: ClassVar[tuple[re.Pattern[str], ...]] = (
        re.compile(r"amazon\.nova-(?!canvas|reel|sonic|2-sonic|2-multimodal-embeddings).+"),
        re.compile(r"meta\.llama.+"),
        re.compile(r"mistral\..+"),
        re.compile(r"deepseek\.(?!r1).+"),
        re.compile(r"qwen\..+"),
        re.compile(r"openai\.gpt-oss-.+"),
        re.compile(r"google\.gemma-.+"),
        re.compile(r"zai\.glm-.+"),
        re.compile(r"moonshot(ai)?\.kimi-(?!k3).+"),
        re.compile(r"minimax\..+"),
        re.compile(r"nvidia\.nemotron-.+"),
        re.compile(r"writer\.palmyra-.+"),
    )
    model_invocation_type: ClassVar[Literal["InvokeModel", "Converse"]] = "Converse"
    input_is_template: ClassVar[bool] = True
    output_type: ClassVar[type[Any] | None] = ConverseOutput

    max_tokens: int | None = Field(
        default=1024, ge=1, description="Tokens that an answer may have at most. Null: the model's own limit."
    )
    temperature: float | None = Field(
        default=None, ge=0, le=1, description="Randomness of the answer, 0 to 1. Default: the model's own."
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Nucleus sampling, 0 to 1. Default: the model's own."
    )
    stop_sequences: list[str] = Field(default=[], description="The answer ends before the first of these texts.")
    system_prompt: str | None = Field(default=None, description="System prompt, the same for every row.")
    additional_model_request_fields: dict[str, Any] = Field(
        default={}, description="Parameters that only this model knows, e.g. {top_k: 50} for Llama."
    )
    strip_reasoning: bool | None = Field(
        default=None,
        description="Cut a leading <reasoning>…</reasoning> off the answer. Default: for gpt-oss models only.",
    )

    def for_model(self, model_id: str) -> Self:
        """See `BaseProcessor.for_model`: settles `strip_reasoning`."""
        if self.strip_reasoning is not None:
            return self
        return self.with_parameters({"strip_reasoning": model_id.startswith("openai.gpt-oss")})

    def check_model(self, model_id: str) -> None:
        """See `BaseProcessor.check_model`."""
        check_claude_sampling(model_id, self.temperature, self.top_p)

    def process_input(self, text: str) -> dict[str, Any]:
        """The Converse request with `text` as the user's only turn."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": text}]}]}
        if self.system_prompt:
            body["system"] = [{"text": self.system_prompt}]
        inference = {"maxTokens": self.max_tokens, "temperature": self.temperature, "topP": self.top_p}
        config: dict[str, Any] = {name: value for name, value in inference.items() if value is not None}
        if self.stop_sequences:
            config["stopSequences"] = list(self.stop_sequences)
        if config:
            body["inferenceConfig"] = config
        if self.additional_model_request_fields:
            body["additionalModelRequestFields"] = dict(self.additional_model_request_fields)
        return body

    def process_output(self, model_output: ConverseOutput) -> ModelAnswer:
        """The text blocks as one text. Reasoning is left out."""
        message = model_output.output.message if model_output.output else None
        if message is None or message.content is None:
            raise ValueError("the model output has no 'output.message.content'")
        text = _text(message.content)
        if self.strip_reasoning:
            text = _LEADING_REASONING.sub("", text, count=1)
        usage = model_output.usage or _NO_USAGE
        return ModelAnswer(
            response=text,
            stop_reason=model_output.stop_reason,
            truncated=model_output.stop_reason in TRUNCATION_REASONS,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )

    def text_places(self) -> TextPlaces | None:
        """See `BaseProcessor.text_places`."""
        return None if self.strip_reasoning else _TEXT_PLACES


# Amazon Bedrock API Reference, Converse, stopReason. "length" is what OpenAI-shaped models say.
TRUNCATION_REASONS = frozenset({"max_tokens", "length", "model_context_window_exceeded"})

_NO_USAGE = ConverseUsage()
_TEXT_PLACES = TextPlaces(
    blocks=("output", "message", "content"),
    block_type=None,
    stop_reason=("stopReason",),
    input_tokens=("usage", "inputTokens"),
    output_tokens=("usage", "outputTokens"),
    truncation_reasons=TRUNCATION_REASONS,
)
_LEADING_REASONING = re.compile(r"\A\s*<reasoning>.*?</reasoning>\s*", re.DOTALL)


def _text(blocks: Sequence[ConverseBlock] | str) -> str:
    if isinstance(blocks, str):
        # This shape is not documented, and it is an answer that was paid for.
        return blocks
    if len(blocks) == 1 and blocks[0].text is not None:
        return blocks[0].text
    return "".join(block.text for block in blocks if block.text is not None)
