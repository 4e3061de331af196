"""How assets speak to people: errors without tracebacks, and metadata that reads well in the UI."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.heartbeat import beating

if TYPE_CHECKING:
    import pyarrow as pa

# Cells of a preview are cut to so many characters: metadata is stored with every materialization.
PREVIEW_CELL_CHARACTERS = 300
PREVIEW_ROWS = 5


@contextmanager
def asset_run(context: dg.AssetExecutionContext) -> Iterator[str]:
    """The frame of every asset's body: gives the partition key, and leaves signs of life while the body runs.

    An error that a person can mend becomes a step failure that shows its message and is not retried.
    """
    try:
        with beating(context.instance, context.run.run_id):
            yield _single_partition(context)
    except BatchError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


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
