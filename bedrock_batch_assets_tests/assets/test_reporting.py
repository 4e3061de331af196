"""What becomes of errors in an asset's body."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError, FlexibleChecksumError, IncompleteReadError

from bedrock_batch_assets.assets.reporting import MAX_STEP_RETRIES, asset_run
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.runs.heartbeat import last_beat
from bedrock_batch_assets.storage.s3_errors import ObjectChangedError
from bedrock_batch_assets.tags import BATCH_TAG


@pytest.fixture
def context() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        yield SimpleNamespace(
            instance=instance,
            run=SimpleNamespace(run_id="one", tags={BATCH_TAG: "demo"}),
            partition_keys=["demo-00000"],
            log=SimpleNamespace(warning=lambda _: None),
            retry_number=0,
        )


def client_error(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


def upload_error(cause: ClientError) -> S3UploadFailedError:
    error = S3UploadFailedError("upload failed")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        client_error("SlowDown", 503),
        client_error("ThrottlingException", 429),
        client_error("InternalServerException", 500),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
        FlexibleChecksumError(error_msg="Expected checksum a did not match calculated checksum: b"),
        upload_error(client_error("InternalError", 500)),
        ObjectChangedError("s3://data/output was replaced while it was being read: start again."),
    ],
)
def test_outages_are_waited_out(context: Any, error: Exception) -> None:
    """Throttling, server errors, broken answers and replaced objects are tried again, later each time, for minutes."""
    waits = []
    for context.retry_number in range(MAX_STEP_RETRIES):
        with pytest.raises(dg.RetryRequested) as raised, asset_run(context):
            raise error
        assert raised.value.max_retries == MAX_STEP_RETRIES
        waits.append(raised.value.seconds_to_wait or 0)
    assert waits == sorted(waits)
    assert 600 < sum(waits) < 1800


@pytest.mark.parametrize("error", [client_error("ValidationException", 400), ValueError("a bug")])
def test_other_errors_fail_at_once(context: Any, error: Exception) -> None:
    """A refusal or a bug fails the step with what it says, and is not tried again."""
    with pytest.raises(type(error)) as raised, asset_run(context):
        raise error
    assert raised.value is error


def test_errors_for_people_are_shown_and_not_retried(context: Any) -> None:
    """An error that a person can mend becomes a failure with its message, which allows no retry."""
    with pytest.raises(dg.Failure) as raised, asset_run(context):
        raise BatchError("fill the columns")
    assert raised.value.description == "fill the columns"
    assert not raised.value.allow_retries


def test_a_person_learns_at_once_that_the_input_was_replaced(context: Any) -> None:
    """An input file that is replaced while it is read fails its run with one line: a person has just launched it."""
    with pytest.raises(dg.Failure) as raised, asset_run(context, is_started_by_person=True):
        raise ObjectChangedError("s3://data/in.csv was replaced while it was being read: start again.")
    assert raised.value.description == "s3://data/in.csv was replaced while it was being read: start again."


def test_a_run_leaves_signs_of_life(context: Any) -> None:
    """Every asset's body runs with a beat, so that a run whose process is gone can be told from one that waits."""
    with asset_run(context):
        beat = last_beat(context.instance, "one")
    assert beat is not None
