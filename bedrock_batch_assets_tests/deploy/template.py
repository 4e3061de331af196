"""The CloudFormation templates, as the tests read and deploy them."""

from pathlib import Path
from typing import Any

import yaml

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

STACK = "bedrock-batch"
_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_TEMPLATE = _DEPLOY / "data.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms of functions, such as `!Ref`, as the values that they have."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix: value}


_Loader.add_multi_constructor("!", _function)


def read_template(name: str = "data.yaml") -> dict[str, Any]:
    """A template; `!Ref Bucket` is `{"Ref": "Bucket"}`."""
    found: dict[str, Any] = yaml.load((_DEPLOY / name).read_text(), Loader=_Loader)
    return found


def deploy(aws: LocalAws) -> dict[str, str]:
    """Deploy the template, as `aws cloudformation deploy` does. Returns the resources' ids by their names in it."""
    client = aws.client("cloudformation")
    client.create_stack(StackName=STACK, TemplateBody=_TEMPLATE.read_text(), Capabilities=["CAPABILITY_IAM"])
    resources = client.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
    # The stand-in lists what it does not make without a name.
    return {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in resources if item["LogicalResourceId"]}
