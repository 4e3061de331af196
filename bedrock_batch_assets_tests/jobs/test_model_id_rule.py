"""Model ids before anything is read: the service's own pattern decides, and the error proposes what was meant."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.jobs.model_id_rule import check_model_id
from bedrock_batch_assets.local_aws.models_table import PROFILE_REGIONS, models
from bedrock_batch_assets_tests.service_model import shape_pattern

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"
MODEL_ARN = f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"


@pytest.mark.parametrize(
    "model_id",
    [
        HAIKU,
        f"us.{HAIKU}",
        "global.anthropic.claude-opus-4-6-v1",
        "amazon.nova-lite-v1:0:300k",
        "deepseek.v3.2",
        "moonshotai.kimi-k2.5",
        MODEL_ARN,
        f"arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/{HAIKU}",
        f"{ACCOUNT}inference-profile/us.{HAIKU}",
        f"{ACCOUNT}application-inference-profile/a1b2c3d4e5f6",
        f"{ACCOUNT}custom-model/amazon.nova-lite-v1:0/abcdefghijkl",
    ],
)
def test_what_batch_inference_takes_passes(model_id: str) -> None:
    """Each documented form of an id is taken."""
    check_model_id(model_id)


def test_every_model_of_the_catalogue_passes() -> None:
    """The rule stands in the way of no model, by its id or by an inference profile that leads to it."""
    for model in models().values():
        check_model_id(model.id)
        for prefix in PROFILE_REGIONS if model.access != "base" else ():
            check_model_id(f"{prefix}.{model.id}")


@pytest.mark.parametrize(
    ("model_id", "meant"),
    [
        (f" {HAIKU}", HAIKU),
        (f"{HAIKU}\n", HAIKU),
        (f"\N{NO-BREAK SPACE}{HAIKU}\N{ZERO WIDTH SPACE}", HAIKU),
        ("anthropic. claude-3-haiku-20240307-v1:0", HAIKU),
        (
            f" arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}",
            f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}",
        ),
        (HAIKU.replace("anthropic", "Anthropic"), HAIKU),
        (f"bedrock/{HAIKU}", HAIKU),
        (f"bedrock/us.{HAIKU}", f"us.{HAIKU}"),
        (f"bedrock/us-east-1/{HAIKU}", HAIKU),
        (f"bedrock/converse/{HAIKU}", HAIKU),
        ("us.deepseek.v3.2", "deepseek.v3.2"),
        ("global.moonshotai.kimi-k2.5", "moonshotai.kimi-k2.5"),
        ("bedrock/us.deepseek.v3.2", "deepseek.v3.2"),
    ],
)
def test_an_id_that_is_nearly_right_is_put_right(model_id: str, meant: str) -> None:
    """Blanks, capitals, another program's prefix and a region prefix in the wrong place: the error names the id."""
    with pytest.raises(RequestError) as error:
        check_model_id(model_id)
    assert str(error.value).endswith(f": set it to {meant!r}.")
    check_model_id(meant)


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        (f"{ACCOUNT}provisioned-model/abcdefghijkl", "Provisioned Throughput"),
        (f"{ACCOUNT}imported-model/abcdefghijkl", "imported"),
        (f"{ACCOUNT}custom-model-deployment/abcdefghijkl", "deployed"),
        (f"{ACCOUNT}default-prompt-router/anthropic.claude:1", "prompt router"),
        ("arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine", "give the ARN of a foundation model"),
        (f"{ACCOUNT}foundation-model/{HAIKU}", "give the ARN of a foundation model"),
        ("Claude 3 Haiku", "bedrock-batch models"),
        ("anthropic/claude-3-haiku", "bedrock-batch models"),
        ("{{ model }}", "bedrock-batch models"),
        ("a" * 2049, "2049 characters"),
    ],
)
def test_an_id_that_is_wrong_is_refused_in_one_line(model_id: str, words: str) -> None:
    """The error names the field, says why if that is known, and what to give instead."""
    with pytest.raises(RequestError) as error:
        check_model_id(model_id)
    message = str(error.value)
    assert message.startswith("model_id ")
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(r"[a-z0-9.:/ A-Z-]{1,40}", fullmatch=True),
        st.sampled_from([HAIKU, f"us.{HAIKU}", "deepseek.v3.2", ACCOUNT + "inference-profile/us.x"]).flatmap(
            lambda known: st.tuples(st.just(known), st.integers(0, len(known)), st.characters()).map(
                lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
            )
        ),
    )
)
def test_the_rule_is_the_service_s_own(model_id: str) -> None:
    """Whatever the id is, it passes exactly if it fits botocore's description of CreateModelInvocationJob."""
    try:
        check_model_id(model_id)
    except RequestError:
        passes = False
    else:
        passes = True
    assert passes == bool(shape_pattern("CreateModelInvocationJob", "modelId").fullmatch(model_id))


def test_a_long_id_takes_no_time() -> None:
    """The service's pattern has nested repetitions: an id that fits it almost to the end is refused at once."""
    started = time.process_time()
    for piece in ("a", "a.", "a-", "a_", "a:", "a.b:", "-"):
        with pytest.raises(RequestError):
            check_model_id((piece * 2048)[:2047] + "!")
    assert time.process_time() - started < 1
