"""The first thing on the page of a result table: where it is, how to read it, what is in it, and what it cost."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import dagster as dg

from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.records.durations import duration
from bedrock_batch_assets.storage.manifests import BatchManifest, PartSummary
from bedrock_batch_assets.tags import runs_page


def table_panel(
    batch: BatchManifest,
    total: PartSummary,
    cost: Mapping[str, Any],
    uri: str,
    *,
    seconds: float | None,
    backfill: str | None,
    console_url: str,
) -> dg.MarkdownMetadataValue:
    """What is in the table, as Markdown. Its links are those of Dagster's own UI.

    It has less than 1,000 characters if names are not very long: Dagster's UI folds longer ones up (seen in 1.13.27).

    Args:
        batch: The batch.
        total: The table's account.
        cost: As `cost.forecast.cost_metadata` gives it.
        uri: The table's folder, `s3://…/`.
        seconds: From the input to the table; None if that is not known.
        backfill: The id of the batch's last backfill; None if it had none.
        console_url: The jobs' page in the AWS console.
    """
    spent = usd(cost["cost_usd"]) if "cost_usd" in cost else cost["cost"]
    facts = [
        ("cost", spent),
        ("tokens", f"{total.input_tokens:,} in, {total.output_tokens:,} out"),
        ("model", f"`{batch.model_id}`"),
        ("input", _source(batch)),
    ]
    if total.reused:
        facts.insert(1, ("answers that were paid for elsewhere", f"{total.reused:,}"))
    if seconds is not None:
        facts.insert(0, ("from input to table", duration(seconds)))
    chunks = "/assets/batch_job_outputs?view=partitions"
    statuses = [f"{rows:,} {status} ({rows / total.rows:.2%})" for status, rows in total.statuses().items() if rows]
    backfill_link = f"[its backfill](/runs/b/{backfill}) · " if backfill is not None else ""
    return dg.MetadataValue.md(
        "\n".join(
            [
                f"**{total.rows:,} rows** in `{uri}`",
                "",
                f"- {', '.join(statuses)}",
                *(f"- {name}: {text}" for name, text in facts),
                f"- {backfill_link}[all runs of this batch]({runs_page(batch.batch)}) · [its chunks]({chunks}) · "
                f"[jobs in the AWS console]({console_url})",
            ]
        )
    )


def how_to_read(batch: BatchManifest, uri: str, *, has_failed_rows: bool) -> dg.MarkdownMetadataValue:
    """Lines to copy that read the table, and its rows without a whole answer if there are any."""
    if batch.output_format is OutputFormat.csv:
        read, scan = "pd.concat(map(pd.read_csv, files))  # files: the parts, in order", f"read_csv('{uri}*.csv')"
    else:
        read, scan = f'pd.read_parquet("{uri}")', f"read_parquet('{uri}*.parquet')"
    failed = f'read_result("{batch.batch}").query("record_status != \'ok\'")'
    lines = [
        "```python",
        "from bedrock_batch_assets import read_result",
        f'read_result("{batch.batch}")  # or as_="dataset"',
        read,
        *(["# the rows without a whole answer", failed] * has_failed_rows),
        "```",
        "```sql",
        "-- DuckDB",
        f"select * from {scan};",
        *([f"-- the rows without a whole answer\nselect * from {scan} where record_status <> 'ok';"] * has_failed_rows),
        "```",
    ]
    return dg.MetadataValue.md("\n".join(lines))


def _source(batch: BatchManifest) -> str:
    request = batch.request
    source = request.get("s3_uri") or f"{request.get('dataset_id')} ({request.get('split')})"
    return f"`{source}`, [how it was read](/assets/input_dataset?partition={quote(batch.batch)})"
