"""What a job may do with the role that it was given, by the role's policies.

The service works on S3 with that role (Amazon Bedrock User Guide, "Create a custom service role for batch inference").
A role without any policy, as the stand-in's command line makes one, may do everything: it is there to get started.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class Need:
    """An action on a resource, as policies name them."""

    action: str
    resource: str


def job_needs(
    model_arn: str, input_bucket: str, input_keys: Sequence[str], output_bucket: str, output_prefix: str
) -> Iterator[Need]:
    """What a job does with its role, in the order in which it does it."""
    yield Need("s3:ListBucket", f"arn:aws:s3:::{input_bucket}")
    for key in input_keys:
        yield Need("s3:GetObject", f"arn:aws:s3:::{input_bucket}/{key}")
    yield Need("s3:PutObject", f"arn:aws:s3:::{output_bucket}/{output_prefix}")
    if ":inference-profile/" in model_arn or ":application-inference-profile/" in model_arn:
        yield Need("bedrock:InvokeModel", model_arn)


def first_denied(policies: Sequence[str], needs: Iterator[Need]) -> Need | None:
    """The first need that no policy allows; None if there is none, or no policy at all.

    Conditions are taken for met: what they compare (the account, the job) is always this one here.
    """
    statements = [statement for policy in policies for statement in _list(json.loads(policy)["Statement"])]
    if not statements:
        return None
    return next((need for need in needs if not any(_allows(statement, need) for statement in statements)), None)


def _allows(statement: Mapping[str, Any], need: Need) -> bool:
    return statement["Effect"] == "Allow" and all(
        any(fnmatchcase(wanted, pattern) for pattern in _list(statement.get(name, ())))
        for name, wanted in (("Action", need.action), ("Resource", need.resource))
    )


def _list(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str | Mapping) else list(value)
