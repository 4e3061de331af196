"""The CloudFormation stack that has the platform's bucket, role and queue: its outputs as environment variables."""

import re

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.errors import ConfigurationError

# CloudFormation takes letters and digits alone as names of outputs. These belong to no environment variable.
_NOT_VARIABLES = frozenset({"PlatformPolicyArn", "CommandLinePolicyArn"})
# A stack without the first of these is another one.
_NEEDED = ("BEDROCK_BATCH_BUCKET", "BEDROCK_BATCH_ROLE_ARN")


def stack_environment(stack: str, connection: AwsClients) -> dict[str, str]:
    """The environment variables that a stack of `deploy/data.yaml` stands for: `BEDROCK_BATCH_BUCKET` and so on.

    Args:
        stack: Name or ARN of the stack.
        connection: The account and the Region that it is in.

    Raises:
        ConfigurationError: There is no such stack, it is not finished, it is another one, or access to it is denied.
    """
    from botocore.exceptions import ClientError

    from bedrock_batch_assets.aws.error_kinds import error_code, error_message
    from bedrock_batch_assets.aws.errors import errors_explained

    client = connection.client("cloudformation")
    try:
        with errors_explained("cloudformation:DescribeStacks", stack):
            found = client.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error_code(error) != "ValidationError":
            raise
        raise ConfigurationError(
            f"There is no stack {stack!r} in {client.meta.region_name}: {error_message(error)}. Deploy it first, or "
            "name its Region with --region."
        ) from error
    if not found["StackStatus"].endswith("_COMPLETE") or found["StackStatus"].startswith(("DELETE", "ROLLBACK")):
        raise ConfigurationError(
            f"The stack {stack!r} is {found['StackStatus']}: wait until it is complete, or look at its events."
        )
    outputs = {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}
    variables = {_variable(name): value for name, value in outputs.items() if name not in _NOT_VARIABLES}
    missing = [name for name in _NEEDED if name not in variables]
    if missing:
        raise ConfigurationError(
            f"The stack {stack!r} has no output for {missing[0]}: it was not made from deploy/data.yaml."
        )
    return variables


def _variable(output: str) -> str:
    """`BedrockBatchRoleArn` is `BEDROCK_BATCH_ROLE_ARN`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", output).upper()
