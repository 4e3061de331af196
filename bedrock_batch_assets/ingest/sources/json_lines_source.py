"""JSON Lines: one object a line, one row an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.json_lines_faults import doubled_key, explained
from bedrock_batch_assets.ingest.sources.json_lines_values import Kind, column, column_type, joined, kinds_of
from bedrock_batch_assets.ingest.sources.partition_columns import PartitionColumns
from bedrock_batch_assets.ingest.sources.text_pieces import NotDecodableError, line_ends, text_pieces

_BLOCK_BYTES = 1 << 20
_MAX_ROW_BYTES = 256 << 20
# Objects whose keys are data, such as ids, would make a column of each key.
_MOST_COLUMNS = 10_000

_Row = dict[str, msgspec.Raw]
_rows = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some whole lines, and the rows that they are."""

    text: bytes
    line: int
    rows: list[_Row]


class JsonLinesSource:
    """One or more files of JSON Lines in UTF-8, with or without byte order mark, gzip found by its first bytes.

    The columns are all keys that any row has, in the order of their first appearance; a key that a row lacks is null
    there. A column has the type that holds all its values as they are (see `column_type`): text, integer (int64),
    number (float64), boolean; and text as it is written in the file for objects, arrays, numbers that are too long for
    the others, and mixtures. Blank lines are skipped.

    So that types need not be guessed from the first rows, the files are read twice.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_file: Callable[[str], BinaryIO],
        *,
        partitions: PartitionColumns | None = None,
        max_rows: int | None = None,
    ) -> None:
        """Read all rows for their columns.

        Args:
            names: The files, at least one; what to call them in messages.
            open_file: Opens one of them as a seekable binary file.
            partitions: Columns that the files' folders give.
            max_rows: Rows beyond these are not looked at.

        Raises:
            RequestError: A line is no JSON object, has a key twice, or holds a value that no column can hold. Names
                file, line and column.
        """
        self.name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        self._names = names
        self._open_file = open_file
        self._partitions = partitions or PartitionColumns()
        self._max_rows = max_rows
        self._row_count = 0
        kinds = self._column_kinds()
        if not self._row_count:
            raise RequestError(f"{self.name} holds no rows: put one object a line into it.")
        if not kinds:
            raise RequestError(f"All objects of {self.name} are empty: keys are columns, so give them some.")
        self._file_schema = pa.schema([pa.field(key, column_type(kind)) for key, kind in kinds.items()])
        self.schema = self._partitions.added_to(self._file_schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order.

        Raises:
            RequestError: A file has changed since its columns were found.
        """
        left = self._row_count
        for name in self._names:
            for block in _blocks(name, self._open_file(name)):
                batch = self._batch(name, block.rows[:left])
                yield batch
                left -= batch.num_rows
                if not left:
                    return

    def _column_kinds(self) -> dict[str, Kind]:
        kinds: dict[str, Kind] = {}
        for name in self._names:
            for block in _blocks(name, self._open_file(name)):
                left = None if self._max_rows is None else self._max_rows - self._row_count
                rows = block.rows if left is None else block.rows[:left]
                self._add_kinds(name, block, rows, kinds)
                self._row_count += len(rows)
                if self._row_count == self._max_rows:
                    return kinds
        return kinds

    def _add_kinds(self, name: str, block: _Block, rows: Sequence[_Row], kinds: dict[str, Kind]) -> None:
        for row in rows:
            if not row.keys() <= kinds.keys():
                for key in row:
                    kinds.setdefault(key, Kind.nothing)
        if len(kinds) > _MOST_COLUMNS:
            raise RequestError(
                f"{name} has more than {_MOST_COLUMNS:,} different keys up to line "
                f"{block.line + line_ends(block.text)}: keys are columns here, so give all rows the same ones."
            )
        colons = 0
        for key in kinds:
            values = [row.get(key) for row in rows]
            array = joined(values)
            colons += array.count(b":")
            kinds[key] |= kinds_of(array, values)
        # Every key is followed by a colon; all other colons are in values or keys.
        pairs = sum(map(len, rows))
        if len(rows) < len(block.rows) or colons + pairs != block.text.count(b":") or any(":" in key for key in kinds):
            _check_keys(name, block, len(rows))

    def _batch(self, name: str, rows: Sequence[_Row]) -> pa.RecordBatch:
        columns = []
        for field in self._file_schema:
            values = [row.get(field.name) for row in rows]
            try:
                columns.append(column(joined(values), values, field.type))
            except (msgspec.ValidationError, pa.ArrowException, OverflowError) as error:
                raise RequestError(f"{name} has changed while it was read ({error}): start again.") from error
        if any(not row.keys() <= set(self._file_schema.names) for row in rows):
            raise RequestError(f"{name} has changed while it was read: start again.")
        batch = pa.RecordBatch.from_arrays(columns, schema=self._file_schema)
        if self._partitions.fields:
            columns += self._partitions.values(name, batch, self.schema)
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        return batch


def _blocks(name: str, file: BinaryIO) -> Iterator[_Block]:
    line = 1
    for text in _whole_lines(name, file):
        try:
            rows = _rows.decode_lines(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _located(name, line, text) from error
        if len(rows) != _line_count(text):
            raise _located(name, line, text)
        if rows:
            yield _Block(text, line, rows)
        line += line_ends(text)


def _whole_lines(name: str, file: BinaryIO) -> Iterator[bytes]:
    """The text of a file, in blocks of whole lines."""
    waiting: list[bytes] = []
    size = 0
    line = 1
    pieces = text_pieces(name, file, _BLOCK_BYTES)
    try:
        for piece in pieces:
            cut = piece.rfind(b"\n") + 1
            if cut:
                block = b"".join([*waiting, piece[:cut]])
                line += line_ends(block)
                yield block
                waiting, size = [], 0
            waiting.append(piece[cut:])
            size += len(piece) - cut
            if size > _MAX_ROW_BYTES:
                raise RequestError(
                    f"{name}, line {line} is longer than {_MAX_ROW_BYTES >> 20} MiB: write one object a line."
                )
    except NotDecodableError as error:
        line += line_ends(b"".join([*waiting, error.text]))
        raise RequestError(
            f"{name} is not UTF-8: byte 0x{error.byte:02x} at offset {error.offset} (line {line}). Save the file as "
            "UTF-8."
        ) from error
    if rest := b"".join(waiting):
        yield rest


def _line_count(text: bytes) -> int:
    """Lines that are not blank."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if b"\n\n" not in text and b"\n\r" not in text and b"\n " not in text and b"\n\t" not in text and text[0] > 32:
        return lines
    return sum(1 for line in text.split(b"\n") if line.strip())


def _located(name: str, first_line: int, text: bytes) -> RequestError:
    """The error of the first line that is no object."""
    for number, line in enumerate(text.split(b"\n"), start=first_line):
        if not line.strip():
            continue
        try:
            if len(_rows.decode_lines(line)) == 1:
                continue
            reason = "there is more than one object on it"
        except (msgspec.DecodeError, RecursionError) as error:
            reason = str(error)
        return explained(name, number, line, reason)
    return RequestError(f"{name} cannot be read as JSON Lines from line {first_line} on: write one object a line.")


def _check_keys(name: str, block: _Block, row_count: int) -> None:
    """Find a row that has a key twice."""
    lines = ((number, line) for number, line in enumerate(block.text.split(b"\n"), start=block.line) if line.strip())
    for (number, line), _ in zip(lines, range(row_count), strict=False):
        if doubled_key(line) is not None:
            raise explained(name, number, line, "")
