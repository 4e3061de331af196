from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.processors.converse import ConverseOutput, ConverseProcessor


def read(body: dict[str, Any], **parameters: Any) -> ModelAnswer:
    output = msgspec.json.decode(msgspec.json.encode(body), type=ConverseOutput)
    return ConverseProcessor(**parameters).process_output(output)


def text_body(text: str, stop_reason: str = "end_turn") -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": stop_reason}


def test_parameters_that_are_not_set_are_not_sent() -> None:
    """Without any, the request is the message alone, with no empty inferenceConfig."""
    message = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert ConverseProcessor(max_tokens=None).process_input("Hi") == message
    assert ConverseProcessor().process_input("Hi") == {**message, "inferenceConfig": {"maxTokens": 1024}}


def test_every_parameter_reaches_the_request() -> None:
    """They are spelled as the Converse API spells them."""
    processor = ConverseProcessor(
        max_tokens=9,
        temperature=0,
        top_p=1,
        stop_sequences=["END"],
        system_prompt="Be brief.",
        additional_model_request_fields={"top_k": 50},
    )
    body = processor.process_input("Hi")
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0, "topP": 1, "stopSequences": ["END"]}
    assert body["system"] == [{"text": "Be brief."}]
    assert body["additionalModelRequestFields"] == {"top_k": 50}


@pytest.mark.parametrize("parameters", [{"max_tokens": 0}, {"temperature": 1.1}, {"top_p": 2}])
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    """What Converse refuses for every model does not reach a job."""
    with pytest.raises(ValidationError):
        ConverseProcessor(**parameters)


def test_nulls_and_reasoning_add_nothing_to_the_text() -> None:
    """The service writes every member of a union, the unused ones as null."""
    nulls = {"image": None, "document": None, "toolUse": None, "cachePoint": None}
    body = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {**nulls, "text": None, "reasoningContent": {"reasoningText": {"text": "hmm", "signature": None}}},
                    {**nulls, "text": "Hello ", "reasoningContent": None},
                    {**nulls, "text": "you", "reasoningContent": None},
                ],
            }
        },
        "stopReason": "max_tokens",
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokens": None},
        "metrics": {"latencyMs": 1},
        "trace": None,
    }
    assert read(body) == ModelAnswer(
        response="Hello you", stop_reason="max_tokens", truncated=True, input_tokens=3, output_tokens=2
    )


@pytest.mark.parametrize("stop_reason", ["max_tokens", "length", "model_context_window_exceeded"])
def test_reasons_that_mean_out_of_room_are_truncation(stop_reason: str) -> None:
    """Each model family has its own word for it; the end of a turn is not among them."""
    assert read(text_body("x", stop_reason)).truncated
    assert not read(text_body("x")).truncated


def test_reasoning_in_the_text_is_cut_for_models_that_put_it_there() -> None:
    """Only a leading section goes, and only for gpt-oss: elsewhere a prompt may have asked for the tag."""
    text = "<reasoning>a\nb</reasoning>\nHello <reasoning>c</reasoning>"
    gpt_oss = ConverseProcessor().for_model("openai.gpt-oss-120b-1:0")
    assert gpt_oss.process_output(msgspec.convert(text_body(text), ConverseOutput)).response == (
        "Hello <reasoning>c</reasoning>"
    )
    nova = ConverseProcessor().for_model("amazon.nova-lite-v1:0")
    assert nova.process_output(msgspec.convert(text_body(text), ConverseOutput)).response == text
    assert read(text_body(text), strip_reasoning=False).response == text
    kept = ConverseProcessor(strip_reasoning=False).for_model("openai.gpt-oss-120b-1:0")
    assert kept.strip_reasoning is False


@pytest.mark.parametrize("body", [{}, {"output": None}, {"output": {"message": None}}, {"content": []}])
def test_a_body_of_another_family_is_not_an_answer(body: dict[str, Any]) -> None:
    """It is told apart from an empty answer."""
    with pytest.raises(ValueError, match=r"output\.message\.content"):
        read(body)
    assert read({"output": {"message": {"content": []}}}).response == ""
