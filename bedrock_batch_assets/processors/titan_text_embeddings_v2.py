"""Amazon Titan Text Embeddings V2."""

import re
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field, field_validator

from bedrock_batch_assets.processors.base import BaseProcessor, ModelAnswer

# Amazon Bedrock User Guide, Amazon Titan Embeddings Text.
DIMENSIONS = (1024, 512, 256)


class TitanEmbeddingOutput(msgspec.Struct, gc=False):
    """The parts of a Titan embedding response that end up in the result table."""

    embedding: list[float] | None = None
    inputTextTokenCount: int | None = None  # noqa: N815  # the service's spelling


class TitanTextEmbeddingsV2Processor(BaseProcessor):
    """Amazon Titan Text Embeddings V2: the column `input_text` becomes a vector."""

    kind: ClassVar[Literal["text", "embedding"]] = "embedding"
    model_ids: ClassVar[tuple[re.Pattern[str], ...]] = (re.compile(r"amazon\.titan-embed-text-v2(:.+)?"),)
    input_is_template: ClassVar[bool] = True
    output_type: ClassVar[type[Any] | None] = TitanEmbeddingOutput
    vector_field: ClassVar[str | None] = "embedding"

    dimensions: int = Field(default=1024, description="Length of the vectors: 1024, 512 or 256.")
    normalize: bool = Field(default=True, description="Scale each vector to length 1.")

    @field_validator("dimensions")
    @classmethod
    def _known_dimensions(cls, dimensions: int) -> int:
        if dimensions not in DIMENSIONS:
            raise ValueError("dimensions must be 1024, 512 or 256")
        return dimensions

    def process_input(self, text: str) -> dict[str, Any]:
        """The body that asks for the vector of `text` as floats."""
        return {
            "inputText": text,
            "dimensions": self.dimensions,
            "normalize": self.normalize,
            "embeddingTypes": ["float"],
        }

    def process_output(self, model_output: TitanEmbeddingOutput) -> ModelAnswer:
        """The vector."""
        if model_output.embedding is None:
            raise ValueError("the model output has no 'embedding'")
        return ModelAnswer(embedding=model_output.embedding, input_tokens=model_output.inputTextTokenCount)
