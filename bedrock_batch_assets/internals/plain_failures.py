"""Failures that the UI shows as one line: nobody needs a stack trace to read why a request was refused."""

from functools import cache

import dagster as dg

from bedrock_batch_assets.internals.dagster_parts import PRIVATE_PARTS


def plain_failure(description: str) -> dg.Failure:
    """A step failure that is not retried, and that shows its description alone.

    The same failure with a stack trace if the installed Dagster cannot leave that out.
    """
    kind = _plain_failure_type()
    return dg.Failure(description=description, allow_retries=False) if kind is None else kind(description)


@cache
def _plain_failure_type() -> type[dg.Failure] | None:
    try:
        from dagster._core.errors import DagsterUserCodeProcessError
        from dagster._utils.error import SerializableErrorInfo  # type: ignore[attr-defined]
    except ImportError as error:
        PRIVATE_PARTS.say_once("error without a trace", error)
        return None

    class PlainFailureError(DagsterUserCodeProcessError, dg.Failure):
        """A failure whose error, as Dagster stores it, is its description alone."""

        def __init__(self, description: str) -> None:
            info = SerializableErrorInfo(message=f"{description}\n", stack=[], cls_name=None)
            super().__init__(description, user_code_process_error_infos=[info])  # type: ignore[no-untyped-call]
            self.allow_retries = False

    return PlainFailureError
