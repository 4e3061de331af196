import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor


def test_parameters_make_a_copy() -> None:
    """The fields that are not named keep their values, in a new object."""
    original = AnthropicProcessor(max_tokens=5, temperature=0.5)
    changed = original.with_parameters({"temperature": None, "top_k": 4})
    assert (changed.max_tokens, changed.temperature, changed.top_k) == (5, None, 4)
    assert (original.max_tokens, original.temperature, original.top_k) == (5, 0.5, None)


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    """A typing error does not silently leave a parameter at its default."""
    with pytest.raises(RequestError, match=r"'max_token'.*AnthropicProcessor.*max_tokens"):
        AnthropicProcessor().with_parameters({"max_token": 5})


def test_a_value_that_does_not_fit_is_named() -> None:
    """The message holds the field and the bound, and no traceback of the validator."""
    with pytest.raises(RequestError, match=r"temperature.*less than or equal to 1"):
        AnthropicProcessor().with_parameters({"temperature": 2})
