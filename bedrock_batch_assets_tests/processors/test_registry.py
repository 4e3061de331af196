import os
import re
import subprocess
import sys
from typing import Any, ClassVar

import dagster as dg
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.local_aws.models_table import models
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer
from bedrock_batch_assets.processors.model_ids import base_model_id
from bedrock_batch_assets.processors.registry import Processors

ACCOUNT_ARN = "arn:aws:bedrock:us-east-1:123456789012:"


class CohereProcessor(BaseProcessor):
    """What a user of the package would add."""

    model_ids: ClassVar[tuple[re.Pattern[str], ...]] = (re.compile(r"cohere\..+"), re.compile(r"amazon\.nova-pro.*"))
    preamble: str = "none"

    def process_input(self, text: str) -> dict[str, Any]:
        return {"message": text, "preamble": self.preamble}

    def process_output(self, model_output: Any) -> ModelAnswer:
        return ModelAnswer(response=model_output["text"])


class MyProcessors(Processors):
    """The shipped processors and one more."""

    cohere: CohereProcessor


def my_processors(**processors: BaseProcessor) -> MyProcessors:
    # The type checker's view of a pydantic class knows nothing of the base's own constructor.
    create: Any = MyProcessors
    created: MyProcessors = create(**processors)
    return created


@pytest.mark.parametrize(
    ("model_id", "base"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("apac.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("amazon.nova-lite-v1:0:300k", "amazon.nova-lite-v1:0"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0:8k", "amazon.titan-embed-text-v2:0"),
        (ACCOUNT_ARN + "inference-profile/global.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0"),
        ("deepseek.v3.2", "deepseek.v3.2"),
        ("openai.gpt-oss-120b-1:0", "openai.gpt-oss-120b-1:0"),
    ],
)
def test_the_base_model_id_has_no_region_arn_or_context_size(model_id: str, base: str) -> None:
    """Every form of an id that the service takes comes down to the model's own."""
    assert base_model_id(model_id) == base


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic"),
        ("global.anthropic.claude-opus-4-6-v1", "anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic"),
        ("amazon.titan-embed-text-v2:0", "titan_text_embeddings_v2"),
        ("us.amazon.nova-premier-v1:0", "converse"),
        ("us.amazon.nova-2-lite-v1:0", "converse"),
        ("meta.llama3-3-70b-instruct-v1:0", "converse"),
        ("us.meta.llama4-scout-17b-instruct-v1:0", "converse"),
        ("mistral.ministral-3-8b-instruct", "converse"),
        ("mistral.devstral-2-123b", "converse"),
        ("deepseek.v3-v1:0", "converse"),
        ("qwen.qwen3-32b-v1:0", "converse"),
        ("openai.gpt-oss-20b-1:0", "converse"),
        ("google.gemma-3-27b-it", "converse"),
        ("zai.glm-4.7", "converse"),
        ("moonshotai.kimi-k2.5", "converse"),
        ("moonshot.kimi-k2-thinking", "converse"),
        ("minimax.minimax-m2.1", "converse"),
        ("nvidia.nemotron-nano-9b-v2", "converse"),
        ("writer.palmyra-vision-7b", "converse"),
    ],
)
def test_each_family_has_its_processor(model_id: str, name: str) -> None:
    """The model id alone decides."""
    assert Processors().name_for(model_id) == name
    assert type(Processors().for_model_id(model_id)) is type(Processors().by_name()[name])


@pytest.mark.parametrize(
    "model_id",
    [
        "cohere.embed-v4:0",
        "us.cohere.embed-v4:0",
        "ai21.jamba-1-5-large-v1:0",
        "stability.sd3-5-large-v1:0",
        "amazon.titan-embed-text-v1",
        "amazon.nova-canvas-v1:0",
        "us.deepseek.r1-v1:0",
        "us.anthropic.claude-sonnet-5-v1",
        "anthropic.claude-v2:1",
    ],
)
def test_models_outside_batch_inference_are_refused_as_such(model_id: str) -> None:
    """The message says that the service is the reason, and names the model."""
    with pytest.raises(RequestError, match="does not offer") as error:
        Processors().for_model_id(model_id)
    assert base_model_id(model_id) in str(error.value)


@pytest.mark.parametrize(
    "model_id",
    [
        "us.deepseek.v3-v1:0",
        "global.qwen.qwen3-32b-v1:0",
        "eu.mistral.mistral-large-3-675b-instruct",
        "us.openai.gpt-oss-120b-1:0",
        "us.amazon.titan-embed-text-v2:0",
        ACCOUNT_ARN + "inference-profile/us.deepseek.v3.2",
    ],
)
def test_a_region_prefix_on_a_model_without_profiles_is_refused(model_id: str) -> None:
    """The message gives the id without it; whoever knows better names the processor."""
    with pytest.raises(RequestError, match="no cross-region inference profile") as error:
        Processors().for_model_id(model_id)
    meant = base_model_id(model_id)
    assert f"set it to {meant!r}" in str(error.value)
    name = Processors().name_for(meant)
    assert Processors().name_for(model_id, name) == name


def test_the_catalogue_agrees_on_which_models_have_profiles() -> None:
    """Every model that profiles lead to is taken with their prefix, and every other one without a prefix alone."""
    for model in models().values():
        if model.batch and model.family not in {"titan-image", "nova-embed"}:
            for prefix in ("us", "global"):
                try:
                    Processors().name_for(f"{prefix}.{model.id}")
                except RequestError:
                    assert model.access == "base", model.id
                else:
                    assert model.access != "base" or model.id.startswith("writer."), model.id


def test_an_unknown_model_is_named_with_what_there_is() -> None:
    """The message lists the processors, since one of them may fit."""
    with pytest.raises(RequestError, match="acme") as error:
        Processors().for_model_id("acme.large-v1:0")
    assert all(name in str(error.value) for name in Processors().by_name())


@pytest.mark.parametrize("resource", ["application-inference-profile/a1b2c3d4", "custom-model/amazon.titan/x1y2z3"])
def test_an_arn_that_hides_the_model_needs_a_name(resource: str) -> None:
    """The message says which field to set; with it, the named processor is taken."""
    with pytest.raises(RequestError, match="set processor"):
        Processors().for_model_id(ACCOUNT_ARN + resource)
    assert type(Processors().for_model_id(ACCOUNT_ARN + resource, "anthropic")) is AnthropicProcessor


def test_a_name_beats_the_model_id() -> None:
    """Claude can be asked through Converse, and a wrong name is told."""
    processor = Processors().for_model_id("anthropic.claude-3-haiku-20240307-v1:0", "converse")
    assert processor.model_invocation_type == "Converse"
    assert Processors().name_for("anthropic.claude-3-haiku-20240307-v1:0", "converse") == "converse"
    with pytest.raises(RequestError, match="'bedrock' is unknown"):
        Processors().for_model_id("anthropic.claude-3-haiku-20240307-v1:0", "bedrock")


def test_a_processor_that_is_added_wins() -> None:
    """It takes models that no shipped one takes, and those that it shares with one; the others stay."""
    processors = my_processors()
    assert type(processors.for_model_id("cohere.command-r-v1:0")) is CohereProcessor
    assert type(processors.for_model_id("us.amazon.nova-pro-v1:0")) is CohereProcessor
    assert processors.for_model_id("us.amazon.nova-lite-v1:0").model_invocation_type == "Converse"
    assert list(processors.by_name()) == ["anthropic", "titan_text_embeddings_v2", "converse", "cohere"]


def test_parameters_reach_the_processor() -> None:
    """They override the settings for this one lookup, and not the settings themselves."""
    processors = Processors(anthropic=AnthropicProcessor(max_tokens=5, top_k=3))
    processor = processors.for_model_id("anthropic.claude-3-haiku-20240307-v1:0", parameters={"max_tokens": 6})
    assert isinstance(processor, AnthropicProcessor)
    assert (processor.max_tokens, processor.top_k, processors.anthropic.max_tokens) == (6, 3, 5)


@pytest.mark.parametrize(
    ("model_id", "name", "parameters"),
    [
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", None, {"temperature": 0, "top_p": 1}),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "converse", {"temperature": 0, "top_p": 1}),
        ("global.anthropic.claude-opus-5-v1", None, {"temperature": 0}),
    ],
)
def test_sampling_that_the_model_refuses_is_caught_before_it_is_sent(
    model_id: str, name: str | None, parameters: dict[str, Any]
) -> None:
    """The service would accept the job and fail each of its records."""
    with pytest.raises(RequestError, match="temperature"):
        Processors().for_model_id(model_id, name, parameters)
    assert Processors().for_model_id(model_id, name)
    assert Processors().for_model_id("anthropic.claude-3-haiku-20240307-v1:0", name, parameters)


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (Processors(), (1024, None)),
        (Processors(anthropic=AnthropicProcessor(max_tokens=7)), (7, None)),
        (my_processors(anthropic=AnthropicProcessor(system_prompt=dg.EnvVar("CLAUDE_PROMPT"))), (1024, "Be brief.")),
    ],
)
def test_an_asset_receives_the_processors(
    resource: Processors, expected: tuple[int, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster hands over defaults, settings, environment variables and subclasses as they were given."""
    monkeypatch.setitem(os.environ, "CLAUDE_PROMPT", "Be brief.")

    @dg.asset
    def seen(processors: Processors) -> list[Any]:
        return [processors.anthropic.max_tokens, processors.anthropic.system_prompt, type(processors).__name__]

    result = dg.materialize([seen], resources={"processors": resource})
    assert result.output_for_node("seen") == [*expected, type(resource).__name__]


def test_processors_load_without_the_heavy_libraries() -> None:
    """A run that waits for its job imports them, and must stay small."""
    code = (
        "import sys, bedrock_batch_assets.processors.registry; "
        "print(*{'pandas', 'pyarrow', 'datasets'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
