import json

import pytest

from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, TITAN, messages_body
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws, refused

MESSAGES = [{"role": "user", "content": [{"text": "Tell a joke about trains"}]}]


def test_invoke_model_is_billed_as_on_demand(local_aws: LocalAws) -> None:
    """InvokeModel answers with the family's body and adds one on-demand entry to the ledger."""
    body = json.dumps(messages_body("Tell a joke about trains"))
    answer = local_aws.client("bedrock-runtime").invoke_model(modelId=HAIKU, body=body)
    output = json.loads(answer["body"].read())
    assert answer["contentType"] == "application/json"
    assert "trains" in output["content"][0]["text"]
    (entry,) = local_aws.ledger()
    assert (entry["mode"], entry["jobArn"], entry["modelId"]) == ("on-demand", None, HAIKU)
    assert entry["outputTokens"] == output["usage"]["output_tokens"]
    assert local_aws.ledger_summary()["onDemandRecords"] == 1


def test_converse(local_aws: LocalAws) -> None:
    """Converse answers in the shape that boto3 knows, through a profile's ARN, too."""
    runtime = local_aws.client("bedrock-runtime")
    for model_id in (f"us.{HAIKU}", f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU}"):
        answer = runtime.converse(modelId=model_id, messages=MESSAGES, inferenceConfig={"maxTokens": 100})
        assert "trains" in answer["output"]["message"]["content"][0]["text"]
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"]["totalTokens"] > 0


@pytest.mark.parametrize(
    ("model_id", "body", "message"),
    [
        (HAIKU, {"max_tokens": 1}, "Field required"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", messages_body("hi"), "on-demand throughput isn't supported"),
        ("nobody.model", {}, "model identifier is invalid"),
        ("cohere.embed-english-v3", {}, "unsupported model"),
    ],
)
def test_refusals(local_aws: LocalAws, model_id: str, body: dict[str, object], message: str) -> None:
    """Wrong bodies and models are ValidationExceptions, and not billed."""
    with refused("ValidationException", message, status=400):
        local_aws.client("bedrock-runtime").invoke_model(modelId=model_id, body=json.dumps(body))
    assert local_aws.ledger() == []


def test_on_demand_calls_can_be_throttled(local_aws: LocalAws) -> None:
    """Rates hold for the runtime's operations, too."""
    local_aws.put_settings({"request_rates": {"Converse": 0.001}})
    runtime = local_aws.client("bedrock-runtime", retries=False)
    runtime.converse(modelId=HAIKU, messages=MESSAGES)
    with refused("ThrottlingException", status=429):
        runtime.converse(modelId=HAIKU, messages=MESSAGES)


def test_foundation_models(local_aws: LocalAws) -> None:
    """ListFoundationModels lists the table, its filters work, and each can be had alone."""
    bedrock = local_aws.client("bedrock")
    summaries = bedrock.list_foundation_models()["modelSummaries"]
    assert {HAIKU, TITAN, "deepseek.v3.2"} <= {model["modelId"] for model in summaries}
    assert all(1 <= len(model["modelName"]) <= 20 for model in summaries)
    embedding = bedrock.list_foundation_models(byOutputModality="EMBEDDING", byProvider="Amazon")["modelSummaries"]
    assert TITAN in {model["modelId"] for model in embedding}
    assert HAIKU not in {model["modelId"] for model in embedding}
    details = bedrock.get_foundation_model(modelIdentifier=HAIKU)["modelDetails"]
    assert details["inferenceTypesSupported"] == ["ON_DEMAND", "INFERENCE_PROFILE"]
    assert bedrock.get_foundation_model(modelIdentifier=details["modelArn"])["modelDetails"] == details
    with refused("ResourceNotFoundException", status=404):
        bedrock.get_foundation_model(modelIdentifier="nobody.model-v1")
    with refused("ValidationException", "byOutputModality"):
        bedrock.list_foundation_models(byOutputModality="SMELL")


def test_inference_profiles(local_aws: LocalAws) -> None:
    """Profiles of the Region are listed, with the models behind them, and can be had by id and ARN."""
    bedrock = local_aws.client("bedrock")
    summaries = bedrock.list_inference_profiles(typeEquals="SYSTEM_DEFINED")["inferenceProfileSummaries"]
    ids = {profile["inferenceProfileId"] for profile in summaries}
    assert f"us.{HAIKU}" in ids
    assert "us.qwen.qwen3-32b-v1:0" not in ids
    assert not any(profile_id.startswith("eu.") for profile_id in ids)
    profile = bedrock.get_inference_profile(inferenceProfileIdentifier=f"us.{HAIKU}")
    assert profile["models"][0]["modelArn"].endswith(f"::foundation-model/{HAIKU}")
    by_arn = bedrock.get_inference_profile(inferenceProfileIdentifier=profile["inferenceProfileArn"])
    assert by_arn["inferenceProfileId"] == f"us.{HAIKU}"
    assert bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"] == []
    with refused("ResourceNotFoundException", status=404):
        bedrock.get_inference_profile(inferenceProfileIdentifier=f"eu.{HAIKU}")
