"""Text answers as columns, straight from many output lines: no Python object per line, and mostly without the GIL.

Arrow's JSON reader takes what comes after the echo of each line. What it does not read as one plain answer per line is
left to `OutputParser`, so that which of the two has read a line makes no difference but that of speed.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bedrock_batch_assets.records.answer_blocks import UNKNOWN, AnswerBlock
from bedrock_batch_assets.records.parsing import ID_HEAD, MAX_TOKENS, OUTPUT_KEY, OutputParser
from bedrock_batch_assets.records.rendering import ID_BYTES, rows_of_characters
from bedrock_batch_assets.records.string_columns import MAX_BYTES, byte_range, valid_values

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.processors.base import TextPlaces

# Where a record id that this project has made ends, at the beginning of a line and at its end.
_HEAD_BYTES = len(ID_HEAD) + ID_BYTES + 1
_ID_TAIL = b'"}\n'


@dataclass(slots=True)
class CutLines:
    """Lines, and what is to be read of them.

    Attributes:
        lines: Whole, and none of them blank.
        tails: The id and what comes after the echo, as JSON but for a brace before it, of those that have both.
        without_tail: The places of the others.
        id_is_first: Whether the id comes before the echo. The service's documentation has it there, its files have it
            last. One file has one of the two.
        size_bytes: Of the lines.
    """

    lines: list[bytes] = field(default_factory=list)
    tails: list[bytes] = field(default_factory=list)
    without_tail: list[int] = field(default_factory=list)
    id_is_first: bool = False
    size_bytes: int = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines, and cut them: soon after they were read, as long as they are in the processor's cache."""
        self.size_bytes += sum(map(len, lines))
        likely_size = 0
        for line in lines:
            # Most outputs are no longer than twice the one before: most of the echo need not be searched. Where a later
            # key was found than the output's own, braces do not match in what is cut off, and it is no JSON.
            start = line.find(OUTPUT_KEY, -likely_size)
            if start < 0:
                start = line.find(OUTPUT_KEY)
            if start < 0:
                if not line.isspace():
                    self.without_tail.append(len(self.lines))
                    self.lines.append(line)
                continue
            likely_size = 2 * (len(line) - start)
            if not self.tails:
                self.id_is_first = line.startswith(ID_HEAD)
            if not self.id_is_first:
                self.tails.append(line[start:])
            elif line.startswith(ID_HEAD):
                self.tails.append(line[1:_HEAD_BYTES] + b"," + line[start:])
            else:
                self.without_tail.append(len(self.lines))
            self.lines.append(line)


class TextColumns:
    """Reads the lines of one processor's text answers."""

    def __init__(self, places: TextPlaces, parser: OutputParser) -> None:
        """Prepare the reader.

        Args:
            places: Where a body has its answer.
            parser: For the lines that are not read here.
        """
        self._places = places
        self._parser = parser
        self._schema = _schema(places)

    def read(self, cut: CutLines) -> AnswerBlock:
        """What the lines say, in order."""
        found = self._answers(cut) if cut.tails else None
        if found is None:
            return self._parsed(cut.lines)
        block, plain = found
        if len(block) == len(cut.lines):
            return block
        read = np.delete(np.arange(len(cut.lines)), cut.without_tail)[plain]
        others = np.setdiff1d(np.arange(len(cut.lines)), read, assume_unique=True)
        return AnswerBlock.merged([block, self._parsed([cut.lines[place] for place in others])], [read, others])

    def _parsed(self, lines: list[bytes]) -> AnswerBlock:
        return AnswerBlock.of_records(self._parser.parse_lines(lines), is_text=True)

    def _answers(self, cut: CutLines) -> tuple[AnswerBlock, npt.NDArray[np.int64]] | None:
        """The plain answers among some lines, and which lines they are; None if they are to be read one by one."""
        data = b"{".join([b"", *cut.tails])
        if not data.endswith(b"\n"):
            data += b"\n"
        records = self._decoded(data)
        if records is None:
            return None
        offsets, characters = byte_range(records.column("recordId"))
        if not (np.diff(offsets) == ID_BYTES).all():
            return None
        identifiers = characters[offsets[0] : offsets[-1]].reshape(-1, ID_BYTES)
        # Two records in one line and one in two would be as many: each line is to have its own.
        ends = np.cumsum([len(tail) + 1 for tail in cut.tails])
        ends[-1] = len(data)
        starts = np.append(0, ends[:-1]) + len(ID_HEAD) if cut.id_is_first else ends - len(_ID_TAIL) - ID_BYTES
        if not np.array_equal(identifiers, np.frombuffer(data, np.uint8)[starts[:, np.newaxis] + np.arange(ID_BYTES)]):
            return None
        return self._columns(records.column("modelOutput"), rows_of_characters(identifiers))

    def _decoded(self, data: bytes) -> pa.RecordBatch | None:
        """The records of some lines, or None if there is anything in them that Arrow refuses."""
        import pyarrow.json

        if len(data) >= MAX_BYTES:
            return None
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(data),
                pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
                pyarrow.json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="ignore"),
            )
            # The reader does not check the bytes of strings.
            table.validate(full=True)
        except pa.ArrowException:
            return None
        [records] = table.combine_chunks().to_batches()
        return records

    def _columns(
        self, outputs: pa.StructArray, rows: npt.NDArray[np.int64]
    ) -> tuple[AnswerBlock, npt.NDArray[np.int64]]:
        blocks = _member(outputs, self._places.blocks)
        firsts = np.frombuffer(blocks.buffers()[1], np.int32)[: len(blocks) + 1]
        texts = blocks.values.field("text")
        offsets, characters = byte_range(texts)
        is_text = np.diff(offsets) > 0
        if self._places.block_type is not None:
            types, codes = _coded(blocks.values.field("type"))
            is_text &= _chosen(types, {self._places.block_type})[codes]
        input_tokens, are_counts = _token_counts(_member(outputs, self._places.input_tokens))
        output_tokens, are_counts_too = _token_counts(_member(outputs, self._places.output_tokens))
        is_plain = (np.diff(firsts) == 1) & are_counts & are_counts_too
        lines = np.flatnonzero(is_plain)
        lines = lines[is_text[firsts[lines]]]
        starts, ends = offsets[firsts[lines]].astype(np.int64), offsets[firsts[lines] + 1]
        reasons, codes = _coded(_member(outputs, self._places.stop_reason))
        block = AnswerBlock(
            rows=rows[lines],
            starts=starts - offsets[0],
            lengths=ends - starts,
            truncated=_chosen(reasons, self._places.truncation_reasons)[codes[lines]],
            stop_reasons=codes[lines],
            reasons=reasons,
            input_tokens=input_tokens[lines],
            output_tokens=output_tokens[lines],
            corrupt=np.zeros(len(lines), np.bool_),
            retryable=np.zeros(len(lines), np.bool_),
            errors={},
            contents=[characters[offsets[0] : offsets[-1]]],
        )
        return block, lines


def _schema(places: TextPlaces) -> pa.Schema:
    """What to read of a line: an id, and the places in its body."""
    block = {"text": pa.string()} if places.block_type is None else {"type": pa.string(), "text": pa.string()}
    body: dict[str, Any] = {}
    for path, kind in (
        (places.blocks, pa.list_(pa.struct(block))),
        (places.stop_reason, pa.string()),
        (places.input_tokens, pa.int64()),
        (places.output_tokens, pa.int64()),
    ):
        members = body
        for name in path[:-1]:
            members = members.setdefault(name, {})
        members[path[-1]] = kind
    return pa.schema({"recordId": pa.string(), "modelOutput": _struct(body)})


def _struct(members: dict[str, Any]) -> pa.StructType:
    return pa.struct([(name, _struct(kind) if isinstance(kind, dict) else kind) for name, kind in members.items()])


def _member(values: pa.StructArray, path: tuple[str, ...]) -> pa.Array:
    """A member of each struct. It is null if a struct on the way is: Arrow's JSON reader sees to that."""
    for name in path:
        values = values.field(name)
    return values


def _token_counts(values: pa.Int64Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The numbers, `UNKNOWN` for a null, and which of them can be one of tokens."""
    numbers = np.frombuffer(values.buffers()[1], np.int64)[: len(values)]
    are_counts = (numbers > -MAX_TOKENS) & (numbers < MAX_TOKENS)
    if values.null_count:
        is_known = valid_values(values)
        return np.where(is_known, numbers, UNKNOWN), are_counts | ~is_known
    return numbers, are_counts


def _coded(values: pa.StringArray) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """The texts that occur, and for each value its index among them."""
    coded = values.dictionary_encode("encode")
    return coded.dictionary.to_pylist(), np.frombuffer(coded.indices.buffers()[1], np.int32)[: len(values)].astype(
        np.int64
    )


def _chosen(texts: Sequence[str | None], choice: Set[str]) -> npt.NDArray[np.bool_]:
    return np.array([text in choice for text in texts], np.bool_)
