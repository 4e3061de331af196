from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from bedrock_batch_assets.processors.anthropic import AnthropicOutput, AnthropicProcessor
from bedrock_batch_assets.processors.base import ModelAnswer


def read(body: dict[str, Any]) -> ModelAnswer:
    return AnthropicProcessor().process_output(msgspec.json.decode(msgspec.json.encode(body), type=AnthropicOutput))


def test_parameters_that_are_not_set_are_not_sent() -> None:
    """The body has the required keys alone, since the service refuses nulls and takes its own defaults."""
    assert AnthropicProcessor().process_input("Hi") == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_every_parameter_reaches_the_body() -> None:
    """Zeros are values and are sent; the system prompt is `system`."""
    processor = AnthropicProcessor(
        max_tokens=7, temperature=0, top_p=0.5, top_k=0, stop_sequences=["END"], system_prompt="Be brief."
    )
    body = processor.process_input("Hi")
    assert {key: body[key] for key in body if key not in {"messages", "anthropic_version"}} == {
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 0,
        "stop_sequences": ["END"],
        "system": "Be brief.",
    }


@pytest.mark.parametrize("parameters", [{"max_tokens": 0}, {"temperature": 1.1}, {"top_p": -0.1}, {"top_k": 501}])
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    """What no Claude model takes does not reach a job."""
    with pytest.raises(ValidationError):
        AnthropicProcessor(**parameters)


def test_the_answer_is_the_text_blocks_alone() -> None:
    """Thinking, tool use and explicit nulls add nothing to the text."""
    answer = read(
        {
            "id": "msg_1",
            "content": [
                {"type": "thinking", "thinking": "hmm", "signature": "x"},
                {"type": "text", "text": "Hello "},
                {"type": "text", "text": None},
                {"type": "tool_use", "id": "t", "input": {}, "text": None},
                {"type": "text", "text": "you"},
            ],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": None},
        }
    )
    assert answer == ModelAnswer(response="Hello you", stop_reason="end_turn", input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    ("stop_reason", "truncated"),
    [
        ("max_tokens", True),
        ("model_context_window_exceeded", True),
        ("end_turn", False),
        ("stop_sequence", False),
        ("refusal", False),
        (None, False),
    ],
)
def test_truncation_is_read_from_the_stop_reason(stop_reason: str | None, truncated: bool) -> None:
    """Only the reasons that mean "out of room" do."""
    answer = read({"content": [{"type": "text", "text": "x"}], "stop_reason": stop_reason, "usage": None})
    assert (answer.truncated, answer.stop_reason, answer.input_tokens) == (truncated, stop_reason, None)


def test_no_blocks_are_an_empty_answer_and_no_content_is_not_an_answer() -> None:
    """An empty list is what a model may say; a body of another family is told apart from it."""
    assert read({"content": [], "stop_reason": "end_turn"}).response == ""
    with pytest.raises(ValueError, match="content"):
        read({"output": {"message": {}}})
