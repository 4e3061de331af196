"""Why S3 refuses a HEAD request. Its answer has no body, and so neither a code nor a reason: a GET has both.

An object is asked for its first byte, a bucket for one of its keys. That costs one request for each refusal.
"""

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bedrock_batch_assets.error_codes import passes_by_itself

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What botocore calls a refusal without a body: by its HTTP status. A missing object is a 404, and needs no reason.
_REFUSALS = {"HeadObject": frozenset({"400", "403"}), "HeadBucket": frozenset({"400"})}
# The context of a request is a dictionary that botocore hands from event to event.
_PARAMETERS = "bedrock_batch_assets.head_parameters"


def note_parameters(client: "S3Client") -> None:
    """Let a client note in each HEAD request what it is about."""
    for operation in _REFUSALS:
        client.meta.events.register(f"provide-client-params.s3.{operation}", _note)


def _note(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_PARAMETERS] = params


def find_reason(client: "S3Client", operation: str, code: str, context: dict[str, Any]) -> dict[str, Any] | None:
    """Why S3 refuses a HEAD request.

    Args:
        client: An S3 client that notes parameters.
        operation: The request's operation.
        code: The code that botocore made of the answer.
        context: The request's context. The reason is asked for once in the life of a request.

    Returns:
        The error of the GET request, with `Code` and `Message`; it is empty if there is nothing to find out, and None
        if the GET was answered, so that the HEAD may be, too.
    """
    if code not in _REFUSALS.get(operation, ()) or _PARAMETERS not in context:
        return {}
    parameters = context.pop(_PARAMETERS)
    try:
        if operation == "HeadBucket":
            client.list_objects_v2(Bucket=parameters["Bucket"], MaxKeys=1)
        else:
            client.get_object(Bucket=parameters["Bucket"], Key=parameters["Key"], Range="bytes=0-0")["Body"].close()
    except ClientError as error:
        found: dict[str, Any] = dict(error.response.get("Error", {}))
        name = str(found.get("Code", ""))
        # An empty object has no first byte.
        return None if name in {"416", "InvalidRange"} or passes_by_itself(name) else found
    except BotoCoreError:
        return {}
    return None
