"""How assets speak to people: errors without tracebacks, and metadata that reads well in the UI."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from bedrock_batch_assets.aws import is_passing
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.runs.heartbeat import beating

if TYPE_CHECKING:
    import pyarrow as pa

# Cells of a preview are cut to so many characters: metadata is stored with every materialization.
PREVIEW_CELL_CHARACTERS = 300
PREVIEW_ROWS = 5

# An outage of S3 or Bedrock that boto3's own tries (half a minute) do not outlast: the step is tried again after 5 s,
# then 10 s and so on up to 2 minutes, for 17 minutes in all. Beats are written while an asset's body runs alone, so
# a wait stays well below the time after which a run on another host counts as dead.
MAX_STEP_RETRIES = 12
_FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 120.0


@contextmanager
def asset_run(context: dg.AssetExecutionContext) -> Iterator[str]:
    """The frame of every asset's body: gives the partition key, and leaves signs of life while the body runs.

    An error that a person can mend becomes a step failure that shows its message and is not retried. One that passes
    by itself is waited out: every body can be run again, since what it has paid for is found again.
    """
    try:
        with beating(context.instance, context.run.run_id):
            yield _single_partition(context)
    except BatchError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except Exception as error:
        if not _passes_by_itself(error):
            raise
        seconds = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2**context.retry_number)
        context.log.warning(f"AWS does not answer as it should, trying again in {seconds:g} s: {error}")
        raise dg.RetryRequested(max_retries=MAX_STEP_RETRIES, seconds_to_wait=seconds) from error


def _passes_by_itself(error: BaseException | None) -> bool:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, S3UploadFailedError):
        # The transfer manager wraps the error and keeps it as the context alone.
        error = error.__context__
    return isinstance(error, BotoCoreError | ClientError) and is_passing(error)


def preview(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A few rows as a table; cells are shown as short text."""
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    names = list(rows[0]) if rows else []
    schema = dg.TableSchema(columns=[dg.TableColumn(name=name, type="string") for name in names])
    return dg.MetadataValue.table(records, schema=schema)


def column_schema(schema: "pa.Schema") -> dg.TableSchemaMetadataValue:
    """The columns of an Arrow schema, as Dagster shows them."""
    return dg.MetadataValue.table_schema(
        dg.TableSchema(columns=[dg.TableColumn(name=field.name, type=str(field.type)) for field in schema])
    )


def _single_partition(context: dg.AssetExecutionContext) -> str:
    """The run's one partition key.

    Raises:
        BatchError: The run covers a range of partitions: one run owns one job.
    """
    keys = context.partition_keys
    if len(keys) != 1:
        raise BatchError(
            f"This run covers {len(keys)} partitions, but one run works on one: launch the backfill again with "
            "one run per partition."
        )
    return str(keys[0])


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= PREVIEW_CELL_CHARACTERS else text[: PREVIEW_CELL_CHARACTERS - 1] + "…"
