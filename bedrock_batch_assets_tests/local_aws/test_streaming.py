"""The streaming operations and CountTokens, as boto3 reads them."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, TITAN, messages_body
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

NOVA = "amazon.nova-lite-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
MESSAGES: Any = [{"role": "user", "content": [{"text": "Tell a joke about  tea"}]}]


@pytest.mark.parametrize("model_id", [HAIKU, NOVA, GPT_OSS])
def test_a_conversation_in_pieces_is_the_same_as_whole(local_aws: LocalAws, model_id: str) -> None:
    """ConverseStream's events put together are Converse's answer, and each call is billed once."""
    client = local_aws.client("bedrock-runtime")
    whole = client.converse(modelId=model_id, messages=MESSAGES)
    events = list(client.converse_stream(modelId=model_id, messages=MESSAGES)["stream"])
    texts: dict[int, str] = {}
    for event in events:
        if delta := event.get("contentBlockDelta"):
            words = delta["delta"].get("text") or delta["delta"].get("reasoningContent", {}).get("text", "")
            texts[delta["contentBlockIndex"]] = texts.get(delta["contentBlockIndex"], "") + words
    blocks = whole["output"]["message"]["content"]
    expected = [block.get("text") or block["reasoningContent"]["reasoningText"]["text"] for block in blocks]
    assert [texts[index] for index in range(len(texts))] == expected
    assert events[0]["messageStart"] == {"role": "assistant"}
    assert events[-2]["messageStop"]["stopReason"] == whole["stopReason"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]
    assert len(local_aws.ledger()) == 2


def test_claudes_own_stream_is_its_message(local_aws: LocalAws) -> None:
    """InvokeModelWithResponseStream gives Anthropic's events, whose texts together are InvokeModel's."""
    client = local_aws.client("bedrock-runtime")
    body = json.dumps(messages_body("Tell a joke about tea"))
    whole = json.loads(client.invoke_model(modelId=HAIKU, body=body)["body"].read())
    stream = client.invoke_model_with_response_stream(modelId=HAIKU, body=body)["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert text == whole["content"][0]["text"]
    assert [event["type"] for event in events][:2] == ["message_start", "content_block_start"]
    assert events[-1]["type"] == "message_stop"
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == whole["usage"]["output_tokens"]
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_other_models_stream_their_answer(local_aws: LocalAws) -> None:
    """Nova streams Converse's events, and an embedding model cannot stream."""
    client = local_aws.client("bedrock-runtime")
    body = json.dumps({"messages": MESSAGES})
    whole = json.loads(client.invoke_model(modelId=NOVA, body=body)["body"].read())
    stream = client.invoke_model_with_response_stream(modelId=NOVA, body=body)["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert text == whole["output"]["message"]["content"][0]["text"]
    with pytest.raises(ClientError, match="unsupported for streaming"):
        client.invoke_model_with_response_stream(modelId=TITAN, body=json.dumps({"inputText": "a"}))


def test_counted_tokens_are_those_that_are_billed(local_aws: LocalAws) -> None:
    """CountTokens tells the input tokens of the same request, in either form, and costs nothing."""
    client = local_aws.client("bedrock-runtime")
    body = json.dumps(messages_body("Tell a joke about tea")).encode()
    counted = [
        client.count_tokens(modelId=HAIKU, input={"converse": {"messages": MESSAGES}})["inputTokens"],
        client.count_tokens(modelId=HAIKU, input={"invokeModel": {"body": body}})["inputTokens"],
    ]
    assert local_aws.ledger() == []
    converse = client.converse(modelId=HAIKU, messages=MESSAGES)
    message = json.loads(client.invoke_model(modelId=HAIKU, body=body)["body"].read())
    assert counted == [converse["usage"]["inputTokens"], message["usage"]["input_tokens"]]
    with pytest.raises(ClientError, match="counting tokens"):
        client.count_tokens(modelId=TITAN, input={"invokeModel": {"body": b'{"inputText":"a"}'}})
    with pytest.raises(ClientError, match="not valid"):
        client.count_tokens(modelId=HAIKU, input={"invokeModel": {"body": b"{"}})
