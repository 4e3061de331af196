"""Which records an output file settles, and which have to be asked for again.

A record is settled if it has an answer, or an error that asking again would not change. The join's own reader decides
it, so that a row with an answer is never asked for again, and a row without one is never forgotten.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

from bedrock_batch_assets.records.block_reader import BlockReader
from bedrock_batch_assets.records.parsing import ID_HEAD, BinaryReader, line_blocks
from bedrock_batch_assets.records.rendering import row_of

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor


def settled_rows(source: BinaryReader | Iterable[bytes], processor: BaseProcessor) -> Iterator[int]:
    """The rows of the batch whose records an output file settles, in the order of its lines.

    Args:
        source: A binary file, or its content in blocks.
        processor: The one that the records were rendered with.
    """
    for block in BlockReader(processor).read(source):
        yield from block.rows[(block.rows >= 0) & ~block.retryable].tolist()


def records_without(jsonl: Iterable[bytes], settled: Container[int]) -> list[bytes]:
    """The lines of a rendered JSONL file whose rows are not settled, in order, with their newlines."""
    left: list[bytes] = []
    # The renderer writes the id first, so the id is found without parsing the record.
    start = len(ID_HEAD)
    for lines in line_blocks(jsonl):
        left.extend(line for line in lines if row_of(line[start : line.index(b'"', start)].decode()) not in settled)
    return left
