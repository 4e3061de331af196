"""Batches and models as tables for a terminal."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bedrock_batch_assets.client.batch_status import BatchStatus, ChunkState, TableState
from bedrock_batch_assets.client.models import GRANTED, NOT_GRANTED, ModelOffer
from bedrock_batch_assets.client.progress import in_words
from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.records.durations import duration

if TYPE_CHECKING:
    from rich.table import Table

    from bedrock_batch_assets.client.doctor import Finding

SHOWN_REASONS = 5
_STATE_STYLES = {"done": "green", "failed": "red", "canceled": "yellow", "running": "cyan", "reading input": "cyan"}


def status_table(statuses: Sequence[BatchStatus]) -> "Table":
    """All batches, one line each."""
    table = _table("batch", "state", "model")
    table.add_column("chunks", justify="right")
    table.add_column("records", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("age", justify="right")
    table.add_column("result table")
    for status in statuses:
        total = sum(status.chunks.values())
        done = status.chunks.get(ChunkState.succeeded, 0)
        words = in_words(status)
        table.add_row(
            status.batch,
            _state(status),
            status.model_id or "",
            f"{done} of {total}" + (f" ({words})" if words else "") if total else "",
            f"{status.rows_done:,} of {status.rows:,}" if total else "",
            cost_in_words(status),
            _age(status),
            status.table.value,
        )
    return table


def status_details(status: BatchStatus) -> "Table":
    """One batch, one line a fact."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("batch", status.batch)
    table.add_row("state", _state(status))
    if status.version is not None:
        table.add_row("model", status.model_id or "")
        table.add_row("input version", status.version)
        reused = [f"{status.rows_reused:,} reused"] if status.rows_reused else []
        reused += [f"{status.rows_repeated:,} repeat a row"] if status.rows_repeated else []
        table.add_row("records", "; ".join([f"{status.rows_done:,} of {status.rows:,}", *reused]))
        counts = ", ".join(f"{status.chunks[state]} {state.value}" for state in ChunkState if status.chunks.get(state))
        table.add_row("chunks", counts)
    if status.jobs:
        table.add_row("jobs in flight", ", ".join(f"{count} {name}" for name, count in sorted(status.jobs.items())))
    result = status.table.value
    if status.table is TableState.earlier:
        result += f" (version {status.table_version})"
    table.add_row("result table", result)
    if status.records:
        table.add_row("record_status", ", ".join(f"{count:,} {name}" for name, count in status.records.items()))
        table.add_row("tokens", f"{status.input_tokens or 0:,} in, {status.output_tokens or 0:,} out")
        table.add_row("cost", cost_in_words(status) or "not known: see BEDROCK_BATCH_PRICES in docs/cost.md")
    for reason in status.reasons[:SHOWN_REASONS]:
        table.add_row(reason.status, reason.describe())
    for failure in status.failures:
        table.add_row(f"[red]{failure.chunk or 'failed'}[/]", escape(f"{failure.reason} {failure.url}"))
    more = len(status.failed_chunks) - len(status.failures)
    if status.failed_chunks and more > 0:
        table.add_row("", f"and {more} more chunks failed")
    return table


def _age(status: BatchStatus) -> str:
    return "" if status.started_at is None else duration(max(0.0, time.time() - status.started_at), short=True)


def cost_in_words(status: BatchStatus) -> str:
    """What the batch's answers have cost, in USD; empty if that is not known."""
    return "" if status.cost_usd is None else usd(status.cost_usd)


def models_table(offers: Sequence[ModelOffer]) -> "Table":
    """Models, one line each."""
    table = _table("provider", "model")
    table.add_column("model_id in a request", overflow="fold")
    table.add_column("access")
    table.add_column("processor")
    for offer in offers:
        style = {GRANTED: "green", NOT_GRANTED: "red"}.get(offer.access, "dim")
        name = offer.name + (" (legacy)" if offer.lifecycle == "LEGACY" else "")
        processor = f"{offer.processor} ({offer.kind})" if offer.processor else "none"
        table.add_row(offer.provider, name, "\n".join(offer.ids), f"[{style}]{offer.access}[/]", processor)
    return table


def findings_table(findings: "Sequence[Finding]") -> "Table":
    """Findings of `bedrock-batch doctor`, one line each."""
    table = _table("", "topic", "finding")
    styles = {"ok": "[green]ok[/]", "problem": "[red]problem[/]", "unknown": "[yellow]unknown[/]"}
    for finding in findings:
        table.add_row(styles[finding.state], finding.topic, finding.text)
    return table


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _state(status: BatchStatus) -> str:
    style = _STATE_STYLES.get(status.state.value, "")
    return f"[{style}]{status.state.value}[/]" if style else status.state.value
