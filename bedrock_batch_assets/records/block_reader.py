"""Output lines into blocks of columns, many lines at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bedrock_batch_assets.records.answer_blocks import AnswerBlock
from bedrock_batch_assets.records.parsing import BinaryReader, OutputParser, OutputRecord, line_blocks
from bedrock_batch_assets.records.prefetch import map_prefetched
from bedrock_batch_assets.records.text_columns import CutLines, TextColumns

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor

# Enough records that work per block costs little, and few enough for their vectors to stay in the
# processor's cache (measured).
_RECORDS_TOGETHER = 128
# Threads that take turns with the GIL lose less if the turns are few (measured: 1,024 are slower, 8,192 no faster).
_LINES_CUT_TOGETHER = 4_096
# A few blocks of this size are in memory at a time, however long the lines are.
_BYTES_CUT_TOGETHER = 8 << 20


class BlockReader:
    """Reads the output files of one processor's records."""

    def __init__(self, processor: BaseProcessor) -> None:
        self._parser = OutputParser(processor)
        self._is_text = processor.kind == "text"
        places = processor.text_places() if self._is_text else None
        self._columns = TextColumns(places, self._parser) if places is not None else None

    def read(self, source: BinaryReader | Iterable[bytes]) -> Iterator[AnswerBlock]:
        """The lines of a file that are not blank, in order."""
        if self._columns is not None:
            return map_prefetched(self._columns.read, _cut(source))
        return self._parsed(source)

    def _parsed(self, source: BinaryReader | Iterable[bytes]) -> Iterator[AnswerBlock]:
        records: list[OutputRecord] = []
        for lines in line_blocks(source):
            records += self._parser.parse_lines(lines)
            if len(records) >= _RECORDS_TOGETHER:
                yield AnswerBlock.of_records(records, self._is_text)
                records = []
        if records:
            yield AnswerBlock.of_records(records, self._is_text)


def _cut(source: BinaryReader | Iterable[bytes]) -> Iterator[CutLines]:
    waiting = CutLines()
    for lines in line_blocks(source):
        waiting.add(lines)
        if len(waiting.lines) >= _LINES_CUT_TOGETHER or waiting.size_bytes >= _BYTES_CUT_TOGETHER:
            yield waiting
            waiting = CutLines()
    if waiting.lines:
        yield waiting
