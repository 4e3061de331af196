"""Anthropic Claude through its native messages body."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer, TextPlaces
from bedrock_batch_assets.processors.claude_rules import check_claude_sampling

# The only value that Bedrock takes (Amazon Bedrock User Guide, Anthropic Claude Messages API).
ANTHROPIC_VERSION = "bedrock-2023-05-31"


class AnthropicBlock(msgspec.Struct, gc=False):
    """One content block of an answer. Blocks of thinking have no `text`."""

    type: str | None = None
    text: str | None = None


class AnthropicUsage(msgspec.Struct, gc=False):
    """Token counts of an answer."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class AnthropicOutput(msgspec.Struct, gc=False):
    """The parts of a messages response that end up in the result table."""

    content: list[AnthropicBlock] | str | None = None
    stop_reason: str | None = None
    usage: AnthropicUsage | None = None


class AnthropicProcessor(BaseProcessor):
    """Anthropic Claude, with the messages body of InvokeModel."""

    # Claude 1 and 2 and Claude Instant are gone; the others that are left out are not offered for batch inference
    # (Amazon Bedrock User Guide, supported Regions and models for batch inference, November 2026).
    model_ids: ClassVar[tuple[re.Pattern[str], ...]] = (
        re.compile(r"anthropic\.claude-(?!v2|instant|opus-4-[78]|sonnet-5|fable).+"),
    )
    input_is_template: ClassVar[bool] = True
    output_type: ClassVar[type[Any] | None] = AnthropicOutput

    max_tokens: int = Field(default=1024, ge=1, description="Tokens that an answer may have at most.")
    temperature: float | None = Field(
        default=None, ge=0, le=1, description="Randomness of the answer, 0 to 1. Default: the model's own."
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Nucleus sampling, 0 to 1. Newer models refuse it next to temperature."
    )
    top_k: int | None = Field(
        default=None, ge=0, le=500, description="Sample from the k likeliest tokens only. Default: the model's own."
    )
    stop_sequences: list[str] = Field(default=[], description="The answer ends before the first of these texts.")
    system_prompt: str | None = Field(default=None, description="System prompt, the same for every row.")

    def check_model(self, model_id: str) -> None:
        """See `BaseProcessor.check_model`."""
        check_claude_sampling(model_id, self.temperature, self.top_p)

    def process_input(self, text: str) -> dict[str, Any]:
        """The messages body with `text` as the user's only turn."""
        body: dict[str, Any] = {"anthropic_version": ANTHROPIC_VERSION, "max_tokens": self.max_tokens}
        if self.system_prompt:
            body["system"] = self.system_prompt
        for name in ("temperature", "top_p", "top_k"):
            value = getattr(self, name)
            if value is not None:
                body[name] = value
        if self.stop_sequences:
            body["stop_sequences"] = list(self.stop_sequences)
        body["messages"] = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        return body

    def process_output(self, model_output: AnthropicOutput) -> ModelAnswer:
        """The text blocks as one text. Thinking is left out."""
        if model_output.content is None:
            raise ValueError("the model output has no 'content'")
        usage = model_output.usage or _NO_USAGE
        return ModelAnswer(
            response=_text(model_output.content),
            stop_reason=model_output.stop_reason,
            truncated=model_output.stop_reason in TRUNCATION_REASONS,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )

    def text_places(self) -> TextPlaces:
        """See `BaseProcessor.text_places`."""
        return _TEXT_PLACES


# Anthropic's API reference, "Handling stop reasons".
TRUNCATION_REASONS = frozenset({"max_tokens", "model_context_window_exceeded"})

_NO_USAGE = AnthropicUsage()
_TEXT_PLACES = TextPlaces(
    blocks=("content",),
    block_type="text",
    stop_reason=("stop_reason",),
    input_tokens=("usage", "input_tokens"),
    output_tokens=("usage", "output_tokens"),
    truncation_reasons=TRUNCATION_REASONS,
)


def _text(blocks: Sequence[AnthropicBlock] | str) -> str:
    if isinstance(blocks, str):
        # This shape is not documented, and it is an answer that was paid for.
        return blocks
    if len(blocks) == 1 and blocks[0].text is not None and blocks[0].type == "text":
        return blocks[0].text
    return "".join(block.text for block in blocks if block.text is not None and block.type in {"text", None})
