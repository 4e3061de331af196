"""What the UI shows of assets: errors without tracebacks, and metadata that reads well."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from bedrock_batch_assets.aws.error_kinds import is_passing
from bedrock_batch_assets.aws.renewal import waiting_for_renewal
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.internals.plain_failures import plain_failure
from bedrock_batch_assets.runs.database import is_outage
from bedrock_batch_assets.runs.heartbeat import beating, keep_beating
from bedrock_batch_assets.runs.identity import tag_run
from bedrock_batch_assets.storage.s3_errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa

PREVIEW_ROWS = 5
# In the place of values that may not be stored in Dagster's database.
HIDDEN = "not shown, since preview is off"
# In a preview of a result these come first of the columns that the join adds.
_ANSWER_FIRST = ("record_status", "response", "embedding", "record_error")

# If an outage of S3 or Bedrock outlasts boto3's own retries (half a minute), the step is tried again after 5 s,
# then 10 s and so on up to 2 minutes, for 17 minutes in all.
MAX_STEP_RETRIES = 12
_FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 120.0


@contextmanager
def asset_run(context: dg.AssetExecutionContext, *, is_started_by_person: bool = False) -> Iterator[str]:
    """The frame of every asset's body: it yields the partition key, and writes heartbeats while the body runs.

    An error that a person can mend becomes a step failure that shows its message and is not retried. One that passes
    by itself is waited out: every body can be run again, since what it has paid for is found again. Credentials that
    have expired are waited for inside the call that they were refused in, so that nothing is done again: see
    `aws/renewal.py`.

    Args:
        context: The asset's.
        is_started_by_person: Whether a person has just launched it: then credentials that are refused from the start,
            and an address that cannot be reached, fail at once.
    """
    try:
        tag_run(context.instance, context.run)
        with (
            beating(context.instance, context.run.run_id),
            waiting_for_renewal(context.log.warning, from_start=not is_started_by_person),
        ):
            yield _single_partition(context)
    except Exception as error:
        is_for_people = isinstance(error, BatchError)
        cause = _passing_cause(error)
        if cause is not None and not (is_for_people and is_started_by_person):
            seconds = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2**context.retry_number)
            context.log.warning(f"{cause}, trying again in {seconds:g} s: {error}")
            keep_beating(context.instance, context.run.run_id, seconds)
            raise dg.RetryRequested(max_retries=MAX_STEP_RETRIES, seconds_to_wait=seconds) from error
        if is_for_people:
            raise plain_failure(str(error)) from None
        raise
    except RunStopped as stopped:
        raise plain_failure(str(stopped)) from None


class RunStopped(BaseException):  # no error: a person wanted it
    """A person, or a newer input, has ended the run, and Dagster knows that. The message says what becomes of its job.

    Not an Exception, as Dagster's own interruption is none: nothing on the way may take it for an error.
    """


def _passing_cause(error: Exception) -> str | None:
    """What is wrong, if trying again may help; else None."""
    if is_outage(error):
        return "Dagster's database does not answer as it should"
    if isinstance(error, ObjectChangedError):
        # A run that works on the same chunk, after a second click for example, has written the object anew.
        return "Another run has changed what this one was reading"
    return "AWS does not answer as it should" if is_passing(error) else None


def preview(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A few rows as a table; cells are shown as short text, and an answer right behind its status."""
    names = list(rows[0]) if rows else []
    if _ANSWER_FIRST[0] in names:
        place = names.index(_ANSWER_FIRST[0])
        names = [
            *names[:place],
            *(name for name in _ANSWER_FIRST if name in names),
            *(name for name in names[place:] if name not in _ANSWER_FIRST),
        ]
    records = [dg.TableRecord({name: _cell(name, row[name]) for name in names}) for row in rows]
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


def _cell(name: str, value: Any) -> str:
    from bedrock_batch_assets.records.preview import cut_short

    # Metadata is stored with every materialization.
    return "" if value is None else cut_short(name, str(value))
