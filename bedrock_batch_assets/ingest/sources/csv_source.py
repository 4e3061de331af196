"""CSV tables: streamed, every cell kept as the text that it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources import csv_faults as faults
from bedrock_batch_assets.ingest.sources.csv_advice import (
    DELIMITERS,
    MAX_TRIED_BYTES,
    CsvFileError,
    Reading,
    advised,
    other_delimiter,
)
from bedrock_batch_assets.ingest.sources.csv_blocks import BlockStream, PlacedError
from bedrock_batch_assets.ingest.sources.csv_dialect import BACKSLASH, CsvDialect
from bedrock_batch_assets.ingest.sources.csv_escapes import EscapedText
from bedrock_batch_assets.ingest.sources.csv_header import RawHeader, read_header
from bedrock_batch_assets.ingest.sources.csv_structure import Problem, StructureError, StructureScanner
from bedrock_batch_assets.ingest.sources.text_pieces import BOM, NotDecodableError, line_ends, text_pieces

# Bytes read at a time: so few that they are still in the processor's cache when they are parsed, and that Arrow, which
# reads ahead, keeps few of them in memory.
_BLOCK_BYTES = 1 << 20
# What a block may have for Arrow: more than any row.
_MAX_ARROW_BLOCK_BYTES = (1 << 31) - 1
# Arrow's message for a row of another number of cells (cpp/src/arrow/csv/parser.cc, MismatchingColumns). Its handler
# of such rows is not called if their text is not UTF-8, and that without escape characters is not.
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


class CsvSource:
    """A CSV file: header first, RFC 4180 and UTF-8 unless its dialect says otherwise, gzip found by its first bytes.

    All columns are text, verbatim: `007` stays `007`, `NA` stays `NA`. An empty cell and `""` are both the empty
    string; null are only the cells that are the dialect's `null_text`. Lines end with LF, CRLF or CR; inside quotes
    each of them is text. Blank lines are skipped, except in a table of a single column: there a blank line is a row
    whose text is empty.

    What quotes mean is not guessed: `StructureScanner` refuses what readers differ about. The parser and the scanner
    count the rows independently, and have to agree, so that no row is lost inside a cell in silence.
    """

    def __init__(
        self,
        name: str,
        file: BinaryIO,
        dialect: CsvDialect | None = None,
        *,
        allow_no_rows: bool = False,
        advise: bool = True,
    ) -> None:
        """Read the header.

        Args:
            name: What to call the file in messages, e.g. its URI.
            file: The bytes, seekable; read front to back.
            dialect: How it is written; RFC 4180 in UTF-8 if not given.
            allow_no_rows: Whether it may have no rows, as a part of a table may.
            advise: Whether to find out, for an error, which other settings read the file.

        Raises:
            RequestError: The file is empty, not in its encoding, its header is broken, or another delimiter than the
                comma finds more columns in it.
        """
        self.name = name
        self._file = file
        self._dialect = dialect or CsvDialect()
        self._allow_no_rows = allow_no_rows
        self._advise = advise
        # By RFC 4180 a backslash before a closing quote is text, and in other dialects the quote does not close.
        self._watch = self._dialect.escape is None and self._dialect.marks.quote is not None
        self._stream: BlockStream | None = None
        try:
            columns = self._open()
            self._check_single_column(columns)
        except CsvFileError as fault:
            raise self._advised(fault) from fault
        self.schema = pa.schema([pa.field(column, pa.string()) for column in columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order, in batches of about a MiB of CSV text, more only if a single row has more.

        Raises:
            RequestError: A row has another number of cells than the header, its quoting is in doubt, or a byte is not
                in the file's encoding. Names the row, counted from 1 below the header, the line, and the setting that
                reads the file, if there is one.
        """
        done = 0
        try:
            try:
                for batch in self._parsed():
                    done += batch.num_rows
                    yield batch
            except _DoubtfulBackslashError:
                # The backslash is text after all. That is rare, so the beginning is read again.
                self._open()
                for batch in self._parsed():
                    if batch.num_rows > done:
                        yield batch.slice(done)
                    done = max(done - batch.num_rows, 0)
        except CsvFileError as fault:
            raise self._advised(fault) from fault
        finally:
            self._stop()

    def _open(self) -> list[str]:
        """Read the header, prepare for the rows below it, and return the names of the columns."""
        self._stop()
        dialect = self._dialect
        pieces = text_pieces(
            self.name, self._file, _BLOCK_BYTES, encoding=dialect.encoding, escape=dialect.marks.escape
        )
        try:
            header = read_header(self.name, pieces, dialect, watch_backslashes=self._watch)
            columns = self._columns(header)
        except StructureError as error:
            if error.problem is Problem.backslash_before_quote:
                self._check_backslash(faults.HEADER, f'{BACKSLASH}"', line=None)
                return self._open()
            raise faults.broken_header(self.name, error) from error
        except NotDecodableError as error:
            line = 1 + line_ends(error.text)
            raise faults.not_decodable(self.name, error, line, dialect.encoding, self._file) from error
        faults.check_header(self.name, header, dialect)
        self._stream = BlockStream(
            chain([header.rest], pieces),
            dialect,
            line=header.next_line,
            single_column=len(columns) == 1,
            watch_backslashes=self._watch,
        )
        return columns

    def _columns(self, header: RawHeader) -> list[str]:
        marks = self._dialect.marks
        text = header.text + b"\n"
        escaped = None
        if marks.escape is not None and marks.escape in text:
            escaped = EscapedText(marks, None)
            scanner = StructureScanner(marks, single_column=False)
            scanner.scan(text)
            text = escaped.without_escapes(text, scanner.escapes, scanner.escapes_quoted)
        if text.startswith(BOM):
            # This is a second byte order mark, which belongs to the name: Arrow drops the first.
            text = BOM + text
        most = text.count(bytes([marks.delimiter])) + 1
        table = pa_csv.read_csv(
            pa.BufferReader(text),
            read_options=pa_csv.ReadOptions(
                autogenerate_column_names=True, block_size=len(text) + 1, use_threads=False
            ),
            parse_options=self._parse_options(is_single=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={f"f{number}": pa.string() for number in range(most)},
                null_values=[],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        cells = [column.chunk(0) for column in table.columns]
        return [(escaped.restored(cell) if escaped else cell)[0].as_py() for cell in cells]

    def _check_single_column(self, columns: list[str]) -> None:
        """Refuse a single column that is a table of more columns with another delimiter.

        Raises:
            CsvFileError: It is.
        """
        if len(columns) > 1 or self._dialect.delimiter is not None:
            return
        if not self._advise:
            if any(delimiter in columns[0] for delimiter in DELIMITERS[1:]):
                raise CsvFileError(f"{self.name} has a single column", "Set csv.delimiter.")
            return
        found = other_delimiter(self._dialect, columns[0], self._trial)
        if found is not None:
            raise faults.other_delimiter(self.name, columns[0], self._dialect, *found)
        # The trials have moved the file's position.
        self._open()

    def _parsed(self) -> Iterator[pa.RecordBatch]:
        stream = self._stream
        assert stream is not None
        done = 0
        try:
            reader = self._reader(stream)
            while (batch := _next_batch(reader, stream)) is not None:
                done += batch.num_rows
                if not stream.take(done):
                    raise faults.miscounted(self.name, done)
                if batch.num_rows:
                    columns = batch.columns
                    if stream.escaped is not None:
                        columns = [stream.escaped.restored(column) for column in columns]
                    yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
        except PlacedError as error:
            if error.problem is Problem.backslash_before_quote:
                self._check_backslash(faults.row_at(error.row), error.seen, line=error.line)
                raise _DoubtfulBackslashError from error
            raise faults.placed(self.name, error, self._dialect) from error
        except NotDecodableError as error:
            line = stream.line + line_ends(error.text)
            raise faults.not_decodable(self.name, error, line, self._dialect.encoding, self._file) from error
        except pa.ArrowInvalid as error:
            if ragged := _RAGGED.search(str(error)):
                row, expected, found = map(int, ragged.groups())
                line, text = stream.record_at(row)
                raise faults.ragged(self.name, row, line, text, expected=expected, found=found) from error
            if "Empty CSV file" not in str(error):
                raise faults.unparsable(self.name, error, done) from error
        except GeneratorExit:
            stream.stop(wait=True)
            raise
        if done != stream.rows:
            raise faults.miscounted(self.name, done)
        if not done and not self._allow_no_rows:
            raise RequestError(f"{self.name} has a header and no rows: put rows below it.")

    def _reader(self, stream: BlockStream) -> pa_csv.CSVStreamingReader:
        # Generated names: those of the file may be unusable (empty, doubled), which another check reports.
        names = [str(index) for index in range(len(self.schema))]
        null_text = self._dialect.null_text
        return pa_csv.open_csv(
            stream,
            # One thread: row numbers in errors are known only so, and rendering is the slower part.
            read_options=pa_csv.ReadOptions(column_names=names, block_size=_MAX_ARROW_BLOCK_BYTES, use_threads=False),
            parse_options=self._parse_options(is_single=len(names) == 1),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[] if null_text is None else [null_text],
                strings_can_be_null=null_text is not None,
                quoted_strings_can_be_null=False,
                check_utf8=False,  # It was checked before, where the place is known.
            ),
        )

    def _parse_options(self, *, is_single: bool) -> pa_csv.ParseOptions:
        marks = self._dialect.marks
        return pa_csv.ParseOptions(
            delimiter=chr(marks.delimiter),
            quote_char=False if marks.quote is None else chr(marks.quote),
            double_quote=marks.quote is not None,
            newlines_in_values=marks.quote is not None,
            ignore_empty_lines=not is_single,
        )

    def _check_backslash(self, where: str, seen: str, *, line: int | None) -> None:
        """Find out whether the backslashes before quotes may be escape characters; if not, watch them no more.

        Raises:
            CsvFileError: The file can be read in that way.
        """
        self._watch = False
        if not self._advise:
            raise CsvFileError(f"{self.name} has backslashes before quotes", "Set csv.escape.")
        self._stop()
        for unquoted in (None, False, True):
            other = self._dialect.with_settings(escape=BACKSLASH, escape_unquoted=unquoted)
            if reading := self._trial(other):
                raise faults.backslash(self.name, where, seen, line, self._dialect, other, reading)

    def _trial(self, dialect: CsvDialect) -> Reading | None:
        """Read the file with other settings: how far that goes, or None if it cannot be read so."""
        try:
            source = CsvSource(self.name, self._file, dialect, allow_no_rows=self._allow_no_rows, advise=False)
            if dialect.marks.delimiter != self._dialect.marks.delimiter and len(source.schema) == 1:
                return None
            for _ in source.batches():
                if source.bytes_read > MAX_TRIED_BYTES:
                    return Reading(is_whole=False)
        except RequestError:
            return None
        return Reading(is_whole=True)

    @property
    def bytes_read(self) -> int:
        """Bytes of the text below the header that were read so far, as UTF-8."""
        return self._stream.bytes_read if self._stream is not None else 0

    def _advised(self, fault: CsvFileError) -> RequestError:
        self._stop()
        return advised(fault, self._dialect, self._trial) if self._advise else fault

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.stop()


def _next_batch(reader: pa_csv.CSVStreamingReader, stream: BlockStream) -> pa.RecordBatch | None:
    stream.want()
    return next(reader, None)


class _DoubtfulBackslashError(Exception):
    """A closing quote comes after a backslash, and the file cannot be read with backslashes as escape characters."""
