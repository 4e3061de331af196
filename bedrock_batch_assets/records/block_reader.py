"""Output lines into blocks of columns, many lines at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bedrock_batch_assets.records.ahead import mapped_ahead
from bedrock_batch_assets.records.answer_blocks import AnswerBlock
from bedrock_batch_assets.records.parsing import BinaryReader, OutputParser, line_blocks
from bedrock_batch_assets.records.text_columns import CutLines, TextColumns

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor

# Enough that what is done once for all of them is not felt; more are not faster (measured).
_LINES_TOGETHER = 1_024
# Threads that take turns with the GIL lose less where the turns are few (measured: 1,024 are slower, 8,192 no faster).
_LINES_CUT_TOGETHER = 4_096
# A few such blocks are in memory at a time, however long the lines are.
_BYTES_CUT_TOGETHER = 8 << 20


class BlockReader:
    """Reads the output files of one processor's records."""

    def __init__(self, processor: BaseProcessor) -> None:
        self._parser = OutputParser(processor)
        self._is_text = processor.kind == "text"
        places = processor.text_places() if self._is_text else None
        self._columns = TextColumns(places, self._parser) if places is not None else None

    def read(self, source: BinaryReader | Iterable[bytes]) -> Iterator[AnswerBlock]:
        """The lines of a file, in order, but blank ones."""
        if self._columns is not None:
            return mapped_ahead(self._columns.read, _cut(source))
        return map(self._parsed, _many_lines(source))

    def _parsed(self, lines: list[bytes]) -> AnswerBlock:
        return AnswerBlock.of_records(self._parser.parse_lines(lines), self._is_text)


def _many_lines(source: BinaryReader | Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of a file, enough at a time that what is done once for all of them is not felt."""
    waiting: list[bytes] = []
    for lines in line_blocks(source):
        waiting += lines
        if len(waiting) >= _LINES_TOGETHER:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _cut(source: BinaryReader | Iterable[bytes]) -> Iterator[CutLines]:
    waiting = CutLines()
    for lines in line_blocks(source):
        waiting.add(lines)
        if len(waiting.lines) >= _LINES_CUT_TOGETHER or waiting.size_bytes >= _BYTES_CUT_TOGETHER:
            yield waiting
            waiting = CutLines()
    if waiting.lines:
        yield waiting
