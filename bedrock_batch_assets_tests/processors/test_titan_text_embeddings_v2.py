import msgspec
import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import (
    TitanEmbeddingOutput,
    TitanTextEmbeddingsV2Processor,
)


def test_the_body_asks_for_floats_of_the_chosen_length() -> None:
    """Dimensions and normalisation reach the body as they were set."""
    assert TitanTextEmbeddingsV2Processor(dimensions=256, normalize=False).process_input("Hi") == {
        "inputText": "Hi",
        "dimensions": 256,
        "normalize": False,
        "embeddingTypes": ["float"],
    }


def test_other_lengths_are_refused() -> None:
    """The message names the field and the lengths that there are."""
    with pytest.raises(RequestError, match=r"dimensions.*1024, 512 or 256"):
        TitanTextEmbeddingsV2Processor().with_parameters({"dimensions": 384})


def test_the_answer_is_the_vector_and_its_tokens() -> None:
    """The second copy of the vector, under `embeddingsByType`, is not needed."""
    line = b'{"embedding":[0.5,-1],"inputTextTokenCount":3,"embeddingsByType":{"float":[0.5,-1]}}'
    output = msgspec.json.decode(line, type=TitanEmbeddingOutput)
    assert TitanTextEmbeddingsV2Processor().process_output(output) == ModelAnswer(embedding=[0.5, -1], input_tokens=3)


def test_a_body_without_vector_is_not_an_answer() -> None:
    """It is an error, and not an empty vector."""
    with pytest.raises(ValueError, match="embedding"):
        TitanTextEmbeddingsV2Processor().process_output(msgspec.convert({"message": "x"}, TitanEmbeddingOutput))
