"""What a result table shows of the rows that have no whole answer: the reasons, and rows to look at."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from bedrock_batch_assets.assets.reporting import PREVIEW_ROWS
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.records.reasons import Reason, shortened
from bedrock_batch_assets.storage.manifests import BatchManifest, PartEntry, PartSummary
from bedrock_batch_assets.storage.resource import BatchStorage

# Rows that are shown, each the first one of a reason: each costs two small reads from S3.
ROWS_SHOWN = 5
_PROMPT_CHARACTERS = 80


def rows_of_reasons(
    batch: BatchManifest, total: PartSummary, storage: BatchStorage, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """The first row of each of the most frequent reasons, as a Parquet table has it, but for the table's first rows.

    Args:
        batch: The batch.
        total: The table's account.
        storage: The bucket.
        keys: The parts of the table, in order.
    """
    from bedrock_batch_assets.parquet.files import DamagedPartError, read_row

    if batch.output_format is OutputFormat.csv:
        return []
    rows = []
    for reason in total.reasons[:ROWS_SHOWN]:
        if reason.first_row < PREVIEW_ROWS:
            continue
        place, part = _part_of(batch, reason.first_row)
        try:
            with storage.objects.open_reader(keys[place]) as file:
                rows.append(read_row(file, reason.first_row - part.first_row))
        except DamagedPartError:
            # The check of the rows says so.
            continue
    return rows


def reasons_table(batch: BatchManifest, total: PartSummary, storage: BatchStorage) -> dg.MarkdownMetadataValue:
    """The reasons as a table: status, rows, reason, and number and prompt of the first row."""
    lines = ["| rows | record_status | record_error | first row | its prompt |", "| ---: | --- | --- | ---: | --- |"]
    shown: dict[str, int] = {}
    prompts = _prompts(batch, total.reasons[:ROWS_SHOWN], storage)
    prompts += [""] * (len(total.reasons) - len(prompts))
    for reason, prompt in zip(total.reasons, prompts, strict=True):
        shown[reason.status] = shown.get(reason.status, 0) + reason.rows
        cells = [f"{reason.rows:,}", reason.status, reason.text, f"{reason.first_row + 1:,}", prompt]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    for status, rows in total.statuses().items():
        if status != "ok" and rows > shown.get(status, 0):
            lines.append(f"| {rows - shown.get(status, 0):,} | {status} | other reasons | | |")
    return dg.MetadataValue.md("\n".join(lines))


def in_words(reasons: Sequence[Reason]) -> str:
    """The most frequent reason of rows without an answer, as a sentence; empty if there is none."""
    return next((f" Most often: {item.describe()}" for item in reasons if item.status in {"error", "missing"}), "")


def _part_of(batch: BatchManifest, row: int) -> tuple[int, PartEntry]:
    return next(
        (place, part)
        for place, part in enumerate(batch.table_parts())
        if part.first_row <= row < part.first_row + part.row_count
    )


def _prompts(batch: BatchManifest, reasons: Sequence[Reason], storage: BatchStorage) -> list[str]:
    """The prompt of each first row, or its text for an embedding model, cut short. Empty if it cannot be read."""
    from bedrock_batch_assets.parquet.files import read_rows
    from bedrock_batch_assets.prompt_templates import PromptTemplate
    from bedrock_batch_assets.records.preview import preview_rows
    from bedrock_batch_assets.records.rendering import EMBEDDING_COLUMN

    if not reasons or not batch.shows_values:
        return []
    template = PromptTemplate.parse(f"{{{EMBEDDING_COLUMN}}}" if batch.template is None else batch.template)
    prompts = [""] * len(reasons)
    try:
        with storage.objects.open_reader(batch.rows_key) as file:
            for place, reason in enumerate(reasons):
                found = next(iter(read_rows(file, reason.first_row, 1, columns=list(template.columns))))
                # A row that was skipped has no prompt.
                with suppress(ValueError):
                    prompts[place] = shortened(template.render(preview_rows(found)[0]), _PROMPT_CHARACTERS)
    except BatchError:
        # A person may have deleted the input: the table is whole without it.
        pass
    return prompts


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
