"""The on-demand operations: InvokeModel and Converse."""

import hashlib
from collections.abc import Callable

from bedrock_batch_assets.local_aws import parameters
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.fake_models import families
from bedrock_batch_assets.local_aws.fake_models.base import BodyError, Call
from bedrock_batch_assets.local_aws.http_messages import Answer, Request, json_answer
from bedrock_batch_assets.local_aws.ledger import Entry, Ledger, canonical
from bedrock_batch_assets.local_aws.model_ids import INVALID_ARN, resolve
from bedrock_batch_assets.local_aws.settings import Settings


class RuntimeApi:
    """Answers with the same fake models as batch inference, and bills each call as on-demand."""

    def __init__(self, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        self._ledger = ledger
        self._settings = settings

    def invoke(self, request: Request, model_id: str) -> Answer:
        """InvokeModel.

        Raises:
            ServiceError: ValidationException: the model or the body is refused.
        """
        return self._answer(request, model_id, "InvokeModel")

    def converse(self, request: Request, model_id: str) -> Answer:
        """Converse.

        Raises:
            ServiceError: ValidationException: the model or the body is refused.
        """
        return self._answer(request, model_id, "Converse")

    def _answer(self, request: Request, model_id: str, invocation_type: families.InvocationType) -> Answer:
        parameters.check("bedrock-runtime", "CountTokens", {"modelId": model_id, "input": {}})
        try:
            model, _ = resolve(model_id, request.region, self._settings().application_profiles)
        except ServiceError as error:
            if error.message != INVALID_ARN or model_id.startswith("arn:"):
                raise
            raise ServiceError(
                "ValidationException",
                f"Invocation of model ID {model_id} with on-demand throughput isn't supported. Retry your request "
                "with the ID or ARN of an inference profile that contains this model.",
            ) from error
        body = request.json()
        digest = hashlib.sha256(canonical(body))
        seed = int.from_bytes(digest.digest()[:8], "big")
        try:
            answer = families.answer(Call(model, body, seed, batch=False), invocation_type)
        except BodyError as error:
            raise ServiceError("ValidationException", error.message) from error
        self._ledger.add(
            [
                Entry(
                    digest=digest.hexdigest(),
                    mode="on-demand",
                    model_id=model.id,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                )
            ]
        )
        headers = [
            ("X-Amzn-Bedrock-Input-Token-Count", str(answer.input_tokens)),
            ("X-Amzn-Bedrock-Output-Token-Count", str(answer.output_tokens)),
            ("X-Amzn-Bedrock-Invocation-Latency", "1"),
        ]
        return json_answer(answer.output, headers=headers)
