"""Amazon Titan: text embeddings and multimodal embeddings."""

from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.fake_models.base import Answer, BodyError, Call, read_body
from bedrock_batch_assets.local_aws.fake_models.prose import token_count
from bedrock_batch_assets.local_aws.fake_models.vectors import unit_vector, vector

# "Titan Text Embeddings V2" in the user guide: up to 8,192 tokens or 50,000 characters.
_MAX_CHARACTERS = 50_000


class TextBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of Titan Text Embeddings V2. V1 takes `inputText` alone."""

    inputText: str  # noqa: N815
    dimensions: Literal[1024, 512, 256] = 1024
    normalize: bool = True
    embeddingTypes: list[Literal["float", "binary"]] | None = None  # noqa: N815


def embed_text(call: Call) -> Answer:
    """Answer a Titan Text Embeddings body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, TextBody, "schema")
    _check_text(body.inputText)
    tokens = token_count(body.inputText)
    numbers = (unit_vector if body.normalize else vector)(call.seed, body.dimensions)
    kinds = body.embeddingTypes or ["float"]
    by_type: dict[str, Any] = {}
    if "float" in kinds:
        by_type["float"] = numbers
    if "binary" in kinds:
        by_type["binary"] = [1 if number > 0 else 0 for number in numbers]
    output: dict[str, Any] = {"embedding": numbers} if "float" in kinds else {}
    return Answer(output | {"embeddingsByType": by_type, "inputTextTokenCount": tokens}, tokens, 0)


class EmbeddingConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The vector's length."""

    outputEmbeddingLength: Literal[256, 384, 1024] = 1024  # noqa: N815


class ImageBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The request body of Titan Multimodal Embeddings G1: a text, a base64 image, or both."""

    inputText: str | None = None  # noqa: N815
    inputImage: str | None = None  # noqa: N815
    embeddingConfig: EmbeddingConfig | None = None  # noqa: N815


def embed_image(call: Call) -> Answer:
    """Answer a Titan Multimodal Embeddings body.

    Raises:
        BodyError: The body is not one that the model takes.
    """
    body = read_body(call, ImageBody, "schema")
    if body.inputText is None and body.inputImage is None:
        raise BodyError("Bad Request: inputText or inputImage is required.")
    if body.inputText is not None:
        _check_text(body.inputText)
    config = body.embeddingConfig or EmbeddingConfig()
    tokens = token_count(body.inputText) if body.inputText else 0
    output = {
        "embedding": unit_vector(call.seed, config.outputEmbeddingLength),
        "inputTextTokenCount": tokens,
        "message": None,
    }
    return Answer(output, max(1, tokens), 0)


def _check_text(text: str) -> None:
    if not text:
        raise BodyError(
            "Malformed input request: #/inputText: expected minLength: 1, actual: 0, please reformat your input and "
            "try again."
        )
    if len(text) > _MAX_CHARACTERS:
        raise BodyError(
            f"Malformed input request: #/inputText: expected maxLength: {_MAX_CHARACTERS}, actual: {len(text)}, "
            "please reformat your input and try again."
        )
