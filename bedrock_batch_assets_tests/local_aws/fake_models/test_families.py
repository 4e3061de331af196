from typing import Any

import pytest

from bedrock_batch_assets.local_aws.fake_models.base import Answer, BodyError, Call
from bedrock_batch_assets.local_aws.fake_models.families import InvocationType, answer
from bedrock_batch_assets.local_aws.models_table import models
from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, TITAN, messages_body

HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS_5 = "anthropic.claude-opus-5"
NOVA = "amazon.nova-micro-v1:0"
NOVA_EMBED = "amazon.nova-2-multimodal-embeddings-v1:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
LLAMA_4 = "meta.llama4-scout-17b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2407-v1:0"
MISTRAL_SMALL = "mistral.mistral-small-2402-v1:0"
DEEPSEEK = "deepseek.v3-v1:0"
GPT = "openai.gpt-oss-20b-1:0"
QWEN = "qwen.qwen3-32b-v1:0"

CHAT = [{"role": "user", "content": "Tell a joke about trains"}]
BLOCKS = [{"role": "user", "content": [{"text": "Tell a joke about trains"}]}]


def ask(model_id: str, body: Any, kind: InvocationType = "InvokeModel", **more: Any) -> Answer:
    return answer(Call(models()[model_id], body, seed=12345, **more), kind)


def test_anthropic() -> None:
    """The Messages output, with the tokens that are billed."""
    got = ask(HAIKU, messages_body("Tell a joke about trains"))
    output = got.output
    assert output["type"] == "message"
    assert output["role"] == "assistant"
    assert output["stop_reason"] == "end_turn"
    assert output["stop_sequence"] is None
    assert output["id"].startswith("msg_")
    assert "trains" in output["content"][0]["text"]
    assert output["usage"]["input_tokens"] == got.input_tokens
    assert output["usage"]["output_tokens"] == got.output_tokens


def test_nova() -> None:
    """The Nova output."""
    got = ask(NOVA, {"schemaVersion": "messages-v1", "messages": BLOCKS, "inferenceConfig": {"maxTokens": 50}})
    assert got.output["output"]["message"]["role"] == "assistant"
    assert "trains" in got.output["output"]["message"]["content"][0]["text"]
    assert got.output["stopReason"] == "end_turn"
    assert got.output["usage"]["totalTokens"] == got.input_tokens + got.output_tokens


def test_converse_in_batch_carries_the_nulls_of_its_unions() -> None:
    """A content block of a batch output has every member, null if not set; on demand it has what is set."""
    body = {"messages": BLOCKS, "system": [{"text": "Be brief."}], "inferenceConfig": {"maxTokens": 50, "topP": 0.9}}
    block = ask(QWEN, body, "Converse").output["output"]["message"]["content"][0]
    assert {"text", "image", "toolUse", "reasoningContent"} <= block.keys()
    assert [name for name, value in block.items() if value is not None] == ["text"]
    plain = ask(QWEN, body, "Converse", batch=False).output
    assert plain["output"]["message"]["content"][0].keys() == {"text"}
    assert plain["usage"].keys() == {"inputTokens", "outputTokens", "totalTokens"}
    assert plain["metrics"]["latencyMs"] > 0


def test_gpt_oss_reasons() -> None:
    """gpt-oss prefixes its reasoning in its own body, and has it in a block of its own with Converse."""
    text = ask(GPT, {"messages": CHAT}).output["choices"][0]["message"]["content"]
    assert text.startswith("<reasoning>")
    blocks = ask(GPT, {"messages": BLOCKS}, "Converse").output["output"]["message"]["content"]
    assert [block["reasoningContent"] is None for block in blocks] == [False, True]


def test_openai_chat() -> None:
    """The chat completion output."""
    got = ask(QWEN, {"messages": [{"role": "system", "content": "Be brief."}, *CHAT], "max_completion_tokens": 50})
    assert got.output["object"] == "chat.completion"
    choice = got.output["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert "trains" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert got.output["usage"] == {
        "prompt_tokens": got.input_tokens,
        "completion_tokens": got.output_tokens,
        "total_tokens": got.input_tokens + got.output_tokens,
    }


def test_llama() -> None:
    """The Llama output."""
    got = ask(LLAMA, {"prompt": "Tell a joke about trains", "max_gen_len": 50, "temperature": 0.5})
    assert got.output.keys() == {"generation", "prompt_token_count", "generation_token_count", "stop_reason"}
    assert got.output["prompt_token_count"] == got.input_tokens
    assert got.output["stop_reason"] == "stop"


def test_mistral_and_deepseek() -> None:
    """Chat and completion outputs of Mistral, and both shapes that DeepSeek takes."""
    message = ask(MISTRAL, {"messages": CHAT, "max_tokens": 50}).output["choices"][0]["message"]
    assert message == {"role": "assistant", "content": message["content"], "tool_calls": None}
    assert ask(MISTRAL_SMALL, {"prompt": "<s>[INST] hi [/INST]"}).output["outputs"][0]["stop_reason"] == "stop"
    assert ask(DEEPSEEK, {"prompt": "hi"}).output["choices"][0]["stop_reason"] == "stop"
    assert ask(DEEPSEEK, {"messages": CHAT}).output["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_titan_text(dimensions: int) -> None:
    """The vector has the dimensions asked for and, unless asked otherwise, length 1; a seed gives one vector."""
    got = ask(TITAN, {"inputText": "trains", "dimensions": dimensions})
    vector = got.output["embedding"]
    assert len(vector) == dimensions
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-5)
    assert got.output["embeddingsByType"] == {"float": vector}
    assert got.output["inputTextTokenCount"] == got.input_tokens == 2
    assert got.output_tokens == 0
    long = ask(TITAN, {"inputText": "trains", "dimensions": dimensions, "normalize": False}).output["embedding"]
    assert sum(number * number for number in long) == pytest.approx(256, abs=1e-3)
    other = answer(Call(models()[TITAN], {"inputText": "x", "dimensions": dimensions}, seed=54321), "InvokeModel")
    assert other.output["embedding"] != vector


def test_titan_text_binary() -> None:
    """Binary embeddings alone come without `embedding`."""
    output = ask(TITAN, {"inputText": "trains", "embeddingTypes": ["binary"]}).output
    assert "embedding" not in output
    assert set(output["embeddingsByType"]["binary"]) == {0, 1}
    both = ask(TITAN, {"inputText": "trains", "embeddingTypes": ["float", "binary"]}).output
    assert both.keys() == {"embedding", "embeddingsByType", "inputTextTokenCount"}


@pytest.mark.parametrize("dimensions", [256, 384, 1024])
def test_multimodal_embeddings(dimensions: int) -> None:
    """Titan Multimodal and Nova Multimodal vectors."""
    output = ask(TITAN_IMAGE, {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": dimensions}}).output
    assert len(output["embedding"]) == dimensions
    assert output["message"] is None
    parameters = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": dimensions,
                  "text": {"truncationMode": "END", "value": "hi"}}  # fmt: skip
    body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters}
    (item,) = ask(NOVA_EMBED, body).output["embeddings"]
    assert item["embeddingType"] == "TEXT"
    assert len(item["embedding"]) == dimensions


LIMITED: list[tuple[str, dict[str, Any], InvocationType, tuple[str | int, ...], str]] = [
    (HAIKU, messages_body("Tell a joke about trains", max_tokens=3), "InvokeModel", ("stop_reason",), "max_tokens"),
    (NOVA, {"messages": BLOCKS, "inferenceConfig": {"maxTokens": 3}}, "InvokeModel", ("stopReason",), "max_tokens"),
    (HAIKU, {"messages": BLOCKS, "inferenceConfig": {"maxTokens": 3}}, "Converse", ("stopReason",), "max_tokens"),
    (LLAMA, {"prompt": "hi", "max_gen_len": 3}, "InvokeModel", ("stop_reason",), "length"),
    (MISTRAL, {"messages": CHAT, "max_tokens": 3}, "InvokeModel", ("choices", 0, "stop_reason"), "length"),
    (MISTRAL_SMALL, {"prompt": "hi", "max_tokens": 3}, "InvokeModel", ("outputs", 0, "stop_reason"), "length"),
    (DEEPSEEK, {"prompt": "hi", "max_tokens": 3}, "InvokeModel", ("choices", 0, "stop_reason"), "length"),
    (QWEN, {"messages": CHAT, "max_tokens": 3}, "InvokeModel", ("choices", 0, "finish_reason"), "length"),
]


@pytest.mark.parametrize(("model_id", "body", "kind", "path", "reason"), LIMITED)
def test_the_token_limit_is_honoured(
    model_id: str, body: dict[str, Any], kind: InvocationType, path: tuple[str | int, ...], reason: str
) -> None:
    """An answer that would be longer is cut, and says so."""
    got = ask(model_id, body, kind)
    place: Any = got.output
    for name in path:
        place = place[name]
    assert place == reason
    assert got.output_tokens == 3


def test_a_stop_sequence_ends_the_text() -> None:
    """The text ends before a stop sequence, which is named."""
    output = ask(HAIKU, messages_body("Tell a joke about trains", stop_sequences=["trains", "train"])).output
    assert output["stop_reason"] == "stop_sequence"
    assert output["stop_sequence"] in {"trains", "train"}
    assert "train" not in output["content"][0]["text"]


WRONG: list[tuple[str, Any, InvocationType, str]] = [
    (HAIKU, messages_body("hi", modelId=HAIKU), "InvokeModel", "modelId: Extra inputs are not permitted"),
    (HAIKU, {"anthropic_version": "bedrock-2023-05-31", "messages": CHAT}, "InvokeModel", "max_tokens: Field required"),
    (HAIKU, messages_body("hi", anthropic_version="x"), "InvokeModel", "anthropic_version"),
    (HAIKU, messages_body("hi", messages=[{"role": "user"}]), "InvokeModel", "messages.0.content: Field required"),
    (HAIKU, messages_body("hi", messages=[]), "InvokeModel", "first message must use"),
    (HAIKU, messages_body("hi", max_tokens=5000), "InvokeModel", "exceeds the model limit of 4096"),
    (HAIKU, messages_body("hi", max_tokens=0), "InvokeModel", "max_tokens"),
    (HAIKU, messages_body("hi", temperature=1.5), "InvokeModel", "temperature: range: 0..1"),
    (HAIKU, messages_body(" "), "InvokeModel", "non-empty"),
    (HAIKU, messages_body("hi", system=[{"type": "text", "text": "x", "cache_control": {}}]), "InvokeModel", "caching"),
    (HAIKU, messages_body("hi", tools=[{"name": "t"}]), "InvokeModel", "tools"),
    (HAIKU_45, messages_body("hi", temperature=0, top_p=1), "InvokeModel", "`temperature` and `top_p` cannot both"),
    (OPUS_5, messages_body("hi", temperature=0), "InvokeModel", "`temperature` is not supported"),
    (HAIKU, "text", "InvokeModel", "Malformed input request"),
    (NOVA, {"messages": BLOCKS, "max_tokens": 3}, "InvokeModel", "extraneous key [max_tokens] is not permitted"),
    (NOVA, {"inferenceConfig": {}}, "InvokeModel", "required key [messages] not found"),
    (NOVA, {"messages": BLOCKS, "inferenceConfig": {"maxTokens": 10_001}}, "InvokeModel", "model limit of 10000"),
    (NOVA, {"messages": CHAT}, "InvokeModel", "#/messages/0/content"),
    (LLAMA_4, {"prompt": "hi", "max_gen_len": 8193}, "InvokeModel", "model limit of 8192"),
    (LLAMA, {"temperature": 0}, "InvokeModel", "required key [prompt] not found"),
    (LLAMA, {"messages": CHAT}, "InvokeModel", "extraneous key [messages] is not permitted"),
    (MISTRAL, {"messages": CHAT, "stop": []}, "InvokeModel", "extraneous key [stop]"),
    (QWEN, {"messages": CHAT, "max_tokens": 32_769}, "InvokeModel", "model limit of 32768"),
    (QWEN, {"messages": []}, "InvokeModel", "messages"),
    (QWEN, {"messages": CHAT, "response_format": {}}, "InvokeModel", "response_format"),
    (TITAN, {"inputText": ""}, "InvokeModel", "expected minLength: 1"),
    (TITAN, {"inputText": "x" * 50_001}, "InvokeModel", "expected maxLength: 50000"),
    (TITAN, {"inputText": "x", "dimensions": 100}, "InvokeModel", "#/dimensions"),
    (TITAN, {"prompt": "x"}, "InvokeModel", "Malformed input request"),
    (TITAN_IMAGE, {}, "InvokeModel", "inputText or inputImage"),
    (QWEN, {"messages": BLOCKS, "modelId": QWEN}, "Converse", "modelId: Extra inputs are not permitted"),
    (QWEN, {"messages": BLOCKS, "toolConfig": {}}, "Converse", "toolConfig"),
    (QWEN, {"messages": [{"role": "user", "content": [{"cachePoint": {}}]}]}, "Converse", "prompt caching"),
    (QWEN, {"messages": [{"role": "user", "content": []}]}, "Converse", "content field in the Message object is empty"),
    (QWEN, {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "Converse", "start with a user message"),
    (HAIKU_45, {"messages": BLOCKS, "inferenceConfig": {"temperature": 0, "topP": 1}}, "Converse", "cannot both"),
    (TITAN, {"messages": BLOCKS}, "Converse", "doesn't support the model"),
]


@pytest.mark.parametrize(("model_id", "body", "kind", "message"), WRONG)
def test_wrong_bodies_are_refused(model_id: str, body: Any, kind: InvocationType, message: str) -> None:
    """What a model does not take is refused with code 400 and a message that names it."""
    with pytest.raises(BodyError) as raised:
        ask(model_id, body, kind)
    assert message in raised.value.message
    assert raised.value.code == 400


MINIMAL: dict[str, dict[str, Any]] = {
    "anthropic": messages_body("hi"),
    "nova": {"messages": BLOCKS},
    "llama": {"prompt": "hi"},
    "mistral": {"messages": CHAT},
    "mistral-large": {"prompt": "hi"},
    "mistral-text": {"prompt": "hi"},
    "deepseek": {"prompt": "hi"},
    "openai": {"messages": CHAT},
    "titan-text": {"inputText": "hi"},
    "titan-image": {"inputText": "hi"},
    "nova-embed": {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", "text": {"value": "hi"}},
    },
}


@pytest.mark.parametrize("model_id", [model.id for model in models().values() if model.batch])
def test_every_model_of_the_table_answers(model_id: str) -> None:
    """Each model that batch inference supports answers its family's smallest body."""
    model = models()[model_id]
    assert ask(model_id, MINIMAL[model.family]).input_tokens >= 1
    if not model.is_embedding:
        assert ask(model_id, {"messages": BLOCKS}, "Converse").output_tokens >= 1
