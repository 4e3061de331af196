"""Which model ids CreateModelInvocationJob takes: the service's own pattern, as botocore describes it.

boto3 checks the length of a model id and not its pattern. Without this check a wrong id would be found only when the
first job is asked for, after the whole input has been read and stored.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.internals.botocore_internals import service_description
from bedrock_batch_assets.processors.model_ids import base_model_id

# ARNs that Bedrock gives to models, and that its pattern for batch inference leaves out. The Amazon Bedrock User Guide
# says so of Provisioned Throughput (chapter "Process multiple prompts with batch inference").
_UNBATCHED_ARN = re.compile(
    r"arn:aws[^:]*:bedrock:[^:]*:[^:]*:(provisioned-model|imported-model|custom-model-deployment|[a-z-]*prompt-router)/.+"
)


def check_model_id(model_id: str) -> None:
    """Check a model id against the service's own rule, without a call to the service.

    Args:
        model_id: As the request has it.

    Raises:
        RequestError: The service would refuse it. The message proposes an id if there is one that is likely meant.
    """
    if not model_id.strip():
        raise RequestError("model_id is empty: give a Bedrock model id, inference profile id or ARN.")
    rule = _rule()
    if rule.takes(model_id):
        return
    if len(model_id) > rule.max_characters:
        raise RequestError(
            f"model_id has {len(model_id)} characters, and Bedrock takes at most {rule.max_characters}: give a Bedrock "
            "model id, inference profile id or ARN."
        )
    for meant, fault in _candidates(model_id):
        # The pattern also matches a word without a dot, which is no model's id.
        if ("." in meant or meant.startswith("arn:")) and rule.takes(meant):
            raise RequestError(f"model_id {model_id!r} {fault}: set it to {meant!r}.")
    if model_id.startswith("arn:"):
        why = ""
        if _UNBATCHED_ARN.fullmatch(model_id):
            why = " (it takes no Provisioned Throughput, no imported or deployed custom model and no prompt router)"
        raise RequestError(
            f"model_id {model_id!r} is not an ARN that batch inference takes{why}: give the ARN of a foundation model, "
            "an inference profile, an application inference profile or a custom model."
        )
    raise RequestError(
        f"model_id {model_id!r} is not an id that batch inference takes: give a Bedrock model id, inference profile id "
        "or ARN; `bedrock-batch models` lists them."
    )


@dataclass(frozen=True, slots=True)
class _ModelIdRule:
    """The service's rule for `modelId`: a pattern for the whole id, and its greatest length."""

    pattern: re.Pattern[str]
    max_characters: int

    def takes(self, model_id: str) -> bool:
        return len(model_id) <= self.max_characters and self.pattern.fullmatch(model_id) is not None


@cache
def _rule() -> _ModelIdRule:
    bedrock = service_description("bedrock")
    shapes = bedrock["shapes"]
    request = shapes[bedrock["operations"]["CreateModelInvocationJob"]["input"]["shape"]]
    model_id = shapes[request["members"]["modelId"]["shape"]]
    return _ModelIdRule(re.compile(model_id["pattern"]), model_id["max"])


def _candidates(model_id: str) -> Iterator[tuple[str, str]]:
    """Ids that may have been meant, likeliest first, and what is wrong with the given one then."""
    visible = "".join(character for character in model_id if character.isprintable() and not character.isspace())
    yield visible, "has blanks or invisible characters in it"
    lower = visible.lower()
    yield lower, "has capital letters in it"
    if not lower.startswith("arn:"):
        # Other programs prefix the provider, as in `bedrock/us-east-1/anthropic.claude-…`.
        name = lower.rpartition("/")[2]
        yield name, "has a path in front of the id"
        yield base_model_id(name), "has a region prefix that this model does not take"
