import pytest

from bedrock_batch_assets.local_aws.fake_models.prose import token_count, write


@pytest.mark.parametrize(
    ("review", "sentiment"),
    [
        ("I love this film, it is wonderful.", "positive"),
        ("Terrible. A waste of time.", "negative"),
        ("It came on Tuesday.", "neutral"),
    ],
)
def test_sentiments(review: str, sentiment: str) -> None:
    """A question about sentiment gets the one word that fits the text."""
    prompt = f"Classify the sentiment as positive, negative or neutral. Answer in one word.\n\n{review}"
    assert write(prompt, 1, 100).text == sentiment


def test_the_same_prompt_is_answered_alike() -> None:
    """Text follows from prompt and seed alone, and is about the prompt's last words."""
    prompt = "Answer the question: how do glaciers shape valleys?"
    assert write(prompt, 7, 100) == write(prompt, 7, 100)
    assert len({write(prompt, seed, 100).text for seed in range(512)}) > 10
    assert all("valleys" in write(prompt, seed, 100).text.lower() for seed in range(64))


@pytest.mark.parametrize("prompt", ["", " ", "a", "?!", "x" * 100_000, "é\u2028\x00"])
def test_any_prompt_is_answered(prompt: str) -> None:
    """Empty, short, long and odd prompts get a text, too."""
    text = write(prompt, 3, 1000)
    assert text.text
    assert text.end == "end"
    assert text.input_tokens == token_count(prompt) >= 1
    assert text.output_tokens == token_count(text.text)
