"""The rows of a pilot: some of a table's, rendered as a batch would send them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bedrock_batch_assets.parquet.files import read_rows
from bedrock_batch_assets.records.reasons import shortened

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.chunk_plan import RowSizes
    from bedrock_batch_assets.records.rendering import RecordRenderer

_PROMPT_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row of a pilot.

    Attributes:
        row: Its index in the table.
        prompt: Its prompt, or its text for an embedding model, cut short.
        body: Its `modelInput`.
        size: Bytes of its record as a JSON line.
        characters: Of the whole prompt.
    """

    row: int
    prompt: str
    body: dict[str, Any]
    size: int
    characters: int


def choose_rows(sizes: RowSizes, count: int, *, seed: int | None) -> list[int]:
    """The indexes of some rows that can be sent, in order.

    Args:
        sizes: Of the table's records; 0 for a row that is not sent.
        count: How many rows to take; all that there are, if there are fewer.
        seed: Which random rows; None for the first ones.
    """
    sendable = sizes.sent_before(len(sizes))
    count = min(count, sendable)
    # Not for cryptography: the same seed takes the same rows, so that a pilot can be repeated.
    places = range(count) if seed is None else sorted(random.Random(seed).sample(range(sendable), count))
    return [sizes.row_after_sent(place + 1) - 1 for place in places]


def sample(path: Path, rows: list[int], renderer: RecordRenderer) -> list[SampleRow]:
    """Render some rows of a stored table.

    Args:
        path: The table, as `ingest` stored it.
        rows: The rows, by their index; each can be sent.
        renderer: Of the table.
    """
    found = []
    for row in rows:
        batch = next(iter(read_rows(path, row, 1)))
        line = renderer.render(batch, row).jsonl
        body = msgspec.json.decode(line)["modelInput"]
        (texts,) = renderer.texts(batch)
        prompt = renderer.template.render(texts)
        found.append(SampleRow(row, shortened(prompt, _PROMPT_CHARACTERS), body, len(line), len(prompt)))
    return found
