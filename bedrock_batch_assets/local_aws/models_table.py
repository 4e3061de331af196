"""The models that the stand-in knows: which family each is of, and which ids reach it.

Sources: "Supported Regions and models for batch inference" and "Supported foundation models" in the Amazon Bedrock
User Guide; output limits from the model pages there, if they have any.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

Family = Literal[
    "anthropic", "nova", "llama", "mistral", "mistral-large", "mistral-text", "deepseek", "openai", "titan-text",
    "titan-image", "nova-embed", "none",
]  # fmt: skip
# Which ids reach a model: its own, an inference profile's, or both.
Access = Literal["base", "profile", "both"]

# Profile prefix to the Regions that it can be called from.
PROFILE_REGIONS: dict[str, str] = {
    "us": "us-",
    "eu": "eu-",
    "apac": "ap-",
    "jp": "ap-northeast-",
    "au": "ap-southeast-",
    "ca": "ca-",
    "us-gov": "us-gov-",
    "global": "",
}
DEFAULT_MAX_OUTPUT_TOKENS = 8192
_WITH_FLEX_TIER = frozenset({"Amazon", "Qwen", "DeepSeek", "OpenAI", "Mistral AI", "Google"})


@dataclass(frozen=True, slots=True)
class Model:
    """One foundation model. `max_output_tokens` is the most that a request may ask for."""

    id: str
    name: str
    provider: str
    family: Family
    access: Access = "base"
    batch: bool = True
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS
    input_modalities: tuple[str, ...] = ("TEXT",)

    @property
    def is_embedding(self) -> bool:
        """Whether it answers with a vector."""
        return self.family in {"titan-text", "titan-image", "nova-embed"} or ".embed" in self.id

    @property
    def has_flex_tier(self) -> bool:
        """Whether it answers in the flex tier: those that the price table of LiteLLM has a flex price for."""
        return self.provider in _WITH_FLEX_TIER and not self.is_embedding

    def arn(self, region: str) -> str:
        """The foundation model's ARN in a Region."""
        return f"arn:aws:bedrock:{region}::foundation-model/{self.id}"

    def profile_ids(self, region: str) -> list[str]:
        """The inference profiles that reach it from a Region, `us.…` before `global.…`."""
        if self.access == "base":
            return []
        return [f"{prefix}.{self.id}" for prefix, regions in PROFILE_REGIONS.items() if region.startswith(regions)]


_SEEING = ("TEXT", "IMAGE")

# provider, family, access, output limit: then id and name of each model.
_TABLE: list[tuple[str, Family, Access, int, dict[str, str]]] = [
    ("Anthropic", "anthropic", "both", 4096, {
        "anthropic.claude-3-haiku-20240307-v1:0": "Claude 3 Haiku",
        "anthropic.claude-3-sonnet-20240229-v1:0": "Claude 3 Sonnet",
        "anthropic.claude-3-opus-20240229-v1:0": "Claude 3 Opus",
    }),
    ("Anthropic", "anthropic", "both", 8192, {
        "anthropic.claude-3-5-sonnet-20240620-v1:0": "Claude 3.5 Sonnet",
        "anthropic.claude-3-5-sonnet-20241022-v2:0": "Claude 3.5 Sonnet v2",
        "anthropic.claude-3-5-haiku-20241022-v1:0": "Claude 3.5 Haiku",
    }),
    ("Anthropic", "anthropic", "profile", 64_000, {
        "anthropic.claude-3-7-sonnet-20250219-v1:0": "Claude 3.7 Sonnet",
        "anthropic.claude-sonnet-4-20250514-v1:0": "Claude Sonnet 4",
        "anthropic.claude-sonnet-4-5-20250929-v1:0": "Claude Sonnet 4.5",
        "anthropic.claude-haiku-4-5-20251001-v1:0": "Claude Haiku 4.5",
        "anthropic.claude-opus-4-5-20251101-v1:0": "Claude Opus 4.5",
        "anthropic.claude-sonnet-4-6": "Claude Sonnet 4.6",
        "anthropic.claude-opus-4-6-v1": "Claude Opus 4.6",
        "anthropic.claude-opus-5": "Claude Opus 5",
    }),
    ("Amazon", "nova", "both", 10_000, {
        "amazon.nova-micro-v1:0": "Nova Micro",
        "amazon.nova-lite-v1:0": "Nova Lite",
        "amazon.nova-pro-v1:0": "Nova Pro",
    }),
    ("Amazon", "nova", "profile", 10_000, {"amazon.nova-premier-v1:0": "Nova Premier"}),
    ("Amazon", "nova", "profile", 65_536, {"amazon.nova-2-lite-v1:0": "Nova 2 Lite"}),
    ("Amazon", "nova-embed", "base", 0, {"amazon.nova-2-multimodal-embeddings-v1:0": "Nova MM Embeddings"}),
    ("Amazon", "titan-text", "base", 0, {"amazon.titan-embed-text-v2:0": "Titan Embeddings V2"}),
    ("Amazon", "titan-image", "base", 0, {"amazon.titan-embed-image-v1": "Titan MM Embeddings"}),
    ("Meta", "llama", "both", 8192, {
        "meta.llama3-1-8b-instruct-v1:0": "Llama 3.1 8B",
        "meta.llama3-1-70b-instruct-v1:0": "Llama 3.1 70B",
        "meta.llama3-1-405b-instruct-v1:0": "Llama 3.1 405B",
        "meta.llama3-3-70b-instruct-v1:0": "Llama 3.3 70B",
    }),
    ("Meta", "llama", "profile", 8192, {
        "meta.llama3-2-1b-instruct-v1:0": "Llama 3.2 1B",
        "meta.llama3-2-3b-instruct-v1:0": "Llama 3.2 3B",
        "meta.llama3-2-11b-instruct-v1:0": "Llama 3.2 11B",
        "meta.llama3-2-90b-instruct-v1:0": "Llama 3.2 90B",
        "meta.llama4-maverick-17b-instruct-v1:0": "Llama 4 Maverick",
        "meta.llama4-scout-17b-instruct-v1:0": "Llama 4 Scout",
    }),
    ("Mistral AI", "mistral", "base", 8192, {
        "mistral.mistral-large-2407-v1:0": "Mistral Large 2407",
    }),
    ("Mistral AI", "mistral-large", "base", 8192, {"mistral.mistral-large-2402-v1:0": "Mistral Large 2402"}),
    ("Mistral AI", "mistral-text", "base", 8192, {"mistral.mistral-small-2402-v1:0": "Mistral Small"}),
    ("Mistral AI", "openai", "base", 32_768, {
        "mistral.mistral-large-3-675b-instruct": "Mistral Large 3",
        "mistral.ministral-3-3b-instruct": "Ministral 3B",
        "mistral.ministral-3-8b-instruct": "Ministral 8B",
        "mistral.ministral-3-14b-instruct": "Ministral 14B",
        "mistral.magistral-small-2509": "Magistral Small",
        "mistral.devstral-2-123b": "Devstral 2",
        "mistral.voxtral-mini-3b-2507": "Voxtral Mini",
        "mistral.voxtral-small-24b-2507": "Voxtral Small",
    }),
    ("DeepSeek", "deepseek", "base", 81_920, {
        "deepseek.v3-v1:0": "DeepSeek V3.1",
        "deepseek.v3.2": "DeepSeek V3.2",
    }),
    ("OpenAI", "openai", "base", 128_000, {
        "openai.gpt-oss-20b-1:0": "gpt-oss-20b",
        "openai.gpt-oss-120b-1:0": "gpt-oss-120b",
        "openai.gpt-oss-safeguard-20b": "gpt-oss-safe-20b",
        "openai.gpt-oss-safeguard-120b": "gpt-oss-safe-120b",
    }),
    ("Qwen", "openai", "base", 32_768, {
        "qwen.qwen3-32b-v1:0": "Qwen3 32B",
        "qwen.qwen3-235b-a22b-2507-v1:0": "Qwen3 235B",
        "qwen.qwen3-coder-30b-a3b-v1:0": "Qwen3 Coder 30B",
        "qwen.qwen3-coder-480b-a35b-v1:0": "Qwen3 Coder 480B",
        "qwen.qwen3-coder-next": "Qwen3 Coder Next",
        "qwen.qwen3-next-80b-a3b": "Qwen3 Next 80B",
        "qwen.qwen3-vl-235b-a22b": "Qwen3 VL 235B",
    }),
    ("Google", "openai", "base", 8192, {
        "google.gemma-3-4b-it": "Gemma 3 4B",
        "google.gemma-3-12b-it": "Gemma 3 12B",
        "google.gemma-3-27b-it": "Gemma 3 27B",
    }),
    ("Z.AI", "openai", "base", 32_768, {
        "zai.glm-4.7": "GLM 4.7",
        "zai.glm-4.7-flash": "GLM 4.7 Flash",
        "zai.glm-5": "GLM 5",
    }),
    ("Moonshot AI", "openai", "base", 32_768, {
        "moonshot.kimi-k2-thinking": "Kimi K2 Thinking",
        "moonshotai.kimi-k2.5": "Kimi K2.5",
    }),
    ("MiniMax", "openai", "base", 32_768, {
        "minimax.minimax-m2": "MiniMax M2",
        "minimax.minimax-m2.1": "MiniMax M2.1",
        "minimax.minimax-m2.5": "MiniMax M2.5",
    }),
    ("NVIDIA", "openai", "base", 32_768, {
        "nvidia.nemotron-nano-9b-v2": "Nemotron Nano 9B",
        "nvidia.nemotron-nano-12b-v2": "Nemotron Nano 12B",
        "nvidia.nemotron-nano-3-30b": "Nemotron Nano 30B",
        "nvidia.nemotron-super-3-120b": "Nemotron 3 Super",
    }),
    ("Writer", "openai", "base", 8192, {"writer.palmyra-vision-7b": "Palmyra Vision 7B"}),
]  # fmt: skip

# Known to the service, refused by batch inference.
_NOT_IN_BATCH: list[tuple[str, Family, Access, int, dict[str, str]]] = [
    ("Anthropic", "anthropic", "profile", 64_000, {
        "anthropic.claude-opus-4-7": "Claude Opus 4.7",
        "anthropic.claude-opus-4-8": "Claude Opus 4.8",
        "anthropic.claude-sonnet-5": "Claude Sonnet 5",
    }),
    ("DeepSeek", "deepseek", "profile", 32_768, {"deepseek.r1-v1:0": "DeepSeek-R1"}),
    ("Amazon", "titan-text", "base", 0, {"amazon.titan-embed-text-v1": "Titan Embeddings V1"}),
    ("Cohere", "none", "base", 4096, {
        "cohere.embed-english-v3": "Embed English",
        "cohere.embed-multilingual-v3": "Embed Multilingual",
        "cohere.embed-v4:0": "Embed v4",
        "cohere.command-r-v1:0": "Command R",
        "cohere.command-r-plus-v1:0": "Command R+",
    }),
    ("AI21 Labs", "none", "base", 4096, {
        "ai21.jamba-1-5-mini-v1:0": "Jamba 1.5 Mini",
        "ai21.jamba-1-5-large-v1:0": "Jamba 1.5 Large",
    }),
]  # fmt: skip

_SEEING_FAMILIES = {"anthropic", "nova", "titan-image", "nova-embed"}


@cache
def models() -> dict[str, Model]:
    """Every known model by its id."""
    return {model.id: model for model in _rows()}


def _rows() -> Iterator[Model]:
    for table, batch in ((_TABLE, True), (_NOT_IN_BATCH, False)):
        for provider, family, access, limit, names in table:
            for model_id, name in names.items():
                seeing = family in _SEEING_FAMILIES or "vision" in model_id or "-vl-" in model_id
                yield Model(
                    id=model_id,
                    name=name,
                    provider=provider,
                    family=family,
                    access=access,
                    batch=batch,
                    max_output_tokens=limit,
                    input_modalities=_SEEING if seeing else ("TEXT",),
                )


_PROFILE_ID = re.compile(rf"(?P<prefix>{'|'.join(map(re.escape, PROFILE_REGIONS))})\.(?P<base>.+)")


def split_profile_id(model_id: str) -> tuple[str | None, str]:
    """An id's inference profile prefix (None if it has none) and the base model id."""
    match = _PROFILE_ID.fullmatch(model_id)
    return (match["prefix"], match["base"]) if match else (None, model_id)
