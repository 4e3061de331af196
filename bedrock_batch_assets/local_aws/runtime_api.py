"""The on-demand operations: InvokeModel and Converse, whole or as a stream, and CountTokens."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from bedrock_batch_assets.local_aws import event_stream, parameters, streamed_answers
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.fake_models import families
from bedrock_batch_assets.local_aws.fake_models.base import Answer as ModelAnswer
from bedrock_batch_assets.local_aws.fake_models.base import BodyError, Call
from bedrock_batch_assets.local_aws.http_messages import Answer, Request, json_answer
from bedrock_batch_assets.local_aws.ledger import Entry, Ledger, canonical
from bedrock_batch_assets.local_aws.model_ids import INVALID_ARN, resolve
from bedrock_batch_assets.local_aws.models_table import Model
from bedrock_batch_assets.local_aws.settings import Settings

_TIER_HEADER = "X-Amzn-Bedrock-Service-Tier"


class RuntimeApi:
    """Answers with the same fake models as batch inference, and bills each call as on-demand."""

    def __init__(self, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        self._ledger = ledger
        self._settings = settings

    def invoke(self, request: Request, model_id: str, *, stream: bool = False) -> Answer:
        """InvokeModel, or InvokeModelWithResponseStream.

        Raises:
            ServiceError: ValidationException: the model or the body is refused.
        """
        model, answer, tier = self._answer(request, model_id, "InvokeModel")
        if not stream:
            told = [(_TIER_HEADER, tier)] if tier != "default" else []
            return _whole(answer, told)
        if model.is_embedding:
            raise ServiceError("ValidationException", "The model is unsupported for streaming")
        events = streamed_answers.invoke_events(model.family, answer.output, answer.input_tokens, answer.output_tokens)
        return _streamed(events, [("X-Amzn-Bedrock-Content-Type", "application/json")])

    def converse(self, request: Request, model_id: str, *, stream: bool = False) -> Answer:
        """Converse, or ConverseStream.

        Raises:
            ServiceError: ValidationException: the model or the body is refused.
        """
        _, answer, tier = self._answer(request, model_id, "Converse")
        if stream:
            return _streamed(streamed_answers.converse_events(answer.output))
        if tier != "default":
            answer = msgspec.structs.replace(answer, output={**answer.output, "serviceTier": {"type": tier}})
        return _whole(answer)

    def count_tokens(self, request: Request, model_id: str) -> Answer:
        """CountTokens, which nobody is billed for.

        Raises:
            ServiceError: ValidationException: the model or the body is refused.
        """
        body = request.json()
        parameters.check("bedrock-runtime", "CountTokens", {**body, "modelId": model_id})
        model = self._model(model_id, request.region)
        # Bedrock does not count for Claude models that only inference profiles reach (user guide, CountTokens).
        if model.is_embedding or (model.family == "anthropic" and model.access == "profile"):
            raise ServiceError("ValidationException", "The provided model doesn't support counting tokens.")
        [(kind, content)] = body["input"].items()
        if kind == "converse":
            counted = _asked(Call(model, content, 0, batch=False), "Converse")
        else:
            counted = _asked(Call(model, _decoded(content.get("body", "")), 0, batch=False), "InvokeModel")
        return json_answer({"inputTokens": counted.input_tokens})

    def _model(self, model_id: str, region: str) -> Model:
        try:
            return resolve(model_id, region, self._settings().application_profiles)[0]
        except ServiceError as error:
            if error.message != INVALID_ARN or model_id.startswith("arn:"):
                raise
            raise ServiceError(
                "ValidationException",
                f"Invocation of model ID {model_id} with on-demand throughput isn't supported. Retry your request "
                "with the ID or ARN of an inference profile that contains this model.",
            ) from error

    def _answer(
        self, request: Request, model_id: str, invocation_type: families.InvocationType
    ) -> tuple[Model, ModelAnswer, str]:
        parameters.check("bedrock-runtime", "CountTokens", {"modelId": model_id, "input": {}})
        model = self._model(model_id, request.region)
        body = request.json()
        tier = request.headers.get(_TIER_HEADER.lower(), "default")
        if invocation_type == "Converse" and isinstance(body, dict) and "serviceTier" in body:
            # No part of the record: a batch has no tiers.
            tier = body.pop("serviceTier")["type"]
        if tier == "flex" and not model.has_flex_tier:
            raise ServiceError("ValidationException", f"The service tier flex is not supported for {model.id}.")
        digest = hashlib.sha256(canonical(body))
        seed = int.from_bytes(digest.digest()[:8], "big")
        answer = _asked(Call(model, body, seed, batch=False), invocation_type)
        self._ledger.add(
            [
                Entry(
                    digest=digest.hexdigest(),
                    mode="on-demand",
                    model_id=model.id,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                    tier=tier,
                )
            ]
        )
        return model, answer, tier


def _asked(call: Call, invocation_type: families.InvocationType) -> ModelAnswer:
    try:
        return families.answer(call, invocation_type)
    except BodyError as error:
        raise ServiceError("ValidationException", error.message) from error


def _decoded(body: str) -> Any:
    """The body of an InvokeModel request, as CountTokens carries it: in base64."""
    try:
        return msgspec.json.decode(base64.b64decode(body, validate=True))
    except (ValueError, msgspec.DecodeError) as error:
        raise ServiceError("ValidationException", "The provided request is not valid.") from error


def _whole(answer: ModelAnswer, more: Iterable[tuple[str, str]] = ()) -> Answer:
    headers = [
        ("X-Amzn-Bedrock-Input-Token-Count", str(answer.input_tokens)),
        ("X-Amzn-Bedrock-Output-Token-Count", str(answer.output_tokens)),
        ("X-Amzn-Bedrock-Invocation-Latency", "1"),
        *more,
    ]
    return json_answer(answer.output, headers=headers)


def _streamed(events: bytes, headers: list[tuple[str, str]] | None = None) -> Answer:
    return Answer(200, events, [("Content-Type", event_stream.CONTENT_TYPE), *(headers or [])])
