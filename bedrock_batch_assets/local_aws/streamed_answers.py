"""A whole answer as the events of a stream, in the shapes that botocore's service model of bedrock-runtime has."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from bedrock_batch_assets.local_aws.event_stream import event
from bedrock_batch_assets.local_aws.models_table import Family

_PIECES = re.compile(r"\s*\S+")


def converse_events(output: dict[str, Any]) -> bytes:
    """The events of ConverseStream for a Converse answer."""
    message = output["output"]["message"]
    events = [event("messageStart", {"role": message["role"]})]
    for index, block in enumerate(message["content"]):
        if "text" in block:
            deltas: list[dict[str, Any]] = [{"text": piece} for piece in _pieces(block["text"])]
        else:
            reasoning = block["reasoningContent"]["reasoningText"]["text"]
            deltas = [{"reasoningContent": {"text": piece}} for piece in _pieces(reasoning)]
        events += [event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}) for delta in deltas]
        events.append(event("contentBlockStop", {"contentBlockIndex": index}))
    events.append(event("messageStop", {"stopReason": output["stopReason"]}))
    events.append(event("metadata", {"usage": output["usage"], "metrics": output["metrics"]}))
    return b"".join(events)


def invoke_events(family: Family, output: dict[str, Any], input_tokens: int, output_tokens: int) -> bytes:
    """The events of InvokeModelWithResponseStream for an InvokeModel answer.

    Claude's and Nova's streams have chunks of their own; the other models answer with one chunk that holds all.
    """
    metrics = {
        "inputTokenCount": input_tokens,
        "outputTokenCount": output_tokens,
        "invocationLatency": 1,
        "firstByteLatency": 1,
    }
    bodies = list(_anthropic(output) if family == "anthropic" else _nova(output) if family == "nova" else [output])
    bodies[-1] = {**bodies[-1], "amazon-bedrock-invocationMetrics": metrics}
    return b"".join(event("chunk", {"bytes": base64.b64encode(msgspec.json.encode(body)).decode()}) for body in bodies)


def _anthropic(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # Anthropic's API reference, "Streaming messages".
    usage = {**output["usage"], "output_tokens": 1}
    start = {**output, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(output["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
        for piece in _pieces(block["text"]):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": output["stop_reason"], "stop_sequence": output["stop_sequence"]}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


def _nova(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # Amazon Nova User Guide, "Complete request schema" and the streaming examples of InvokeModel.
    message = output["output"]["message"]
    yield {"messageStart": {"role": message["role"]}}
    for index, block in enumerate(message["content"]):
        for piece in _pieces(block["text"]):
            yield {"contentBlockDelta": {"delta": {"text": piece}, "contentBlockIndex": index}}
        yield {"contentBlockStop": {"contentBlockIndex": index}}
    yield {"messageStop": {"stopReason": output["stopReason"]}}
    yield {"metadata": {"usage": output["usage"], "metrics": {}, "trace": {}}}


def _pieces(text: str) -> list[str]:
    """The text in words: together they are the text."""
    words = _PIECES.findall(text)
    return [*words, text[len("".join(words)) :]] if len("".join(words)) < len(text) else words
