"""CSV tables from S3: streamed, every cell kept as the text that it is."""

from __future__ import annotations

import csv
import gzip
import io
import threading
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.utf8 import Readable, Utf8Reader

# pyarrow parses block by block, and a row has to fit into one. It reads some 16 blocks ahead (measured: 419 MB at the
# peak of an ingestion with blocks of 4 MiB, 639 MB with 16), so blocks are small until a row asks for more.
_BLOCK_BYTES = 2 << 20
_LARGE_BLOCK_BYTES = 32 << 20
_MAX_HEADER_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class CsvSource:
    """A CSV file: comma-separated, header first, UTF-8 with or without BOM, gzip recognised by its first bytes.

    All columns are text, verbatim: `007` stays `007`, `NA` stays `NA`. An empty cell and `""` are both the empty
    string, never null. Lines end with LF, CRLF or CR; inside quotes each of them is text. Blank lines are skipped,
    except where the table has a single column: there a blank line is a row whose text is empty.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        """Read the header.

        Args:
            name: What to call the file in messages, e.g. its URI.
            file: The bytes, seekable; read front to back.

        Raises:
            RequestError: The file is empty, not UTF-8, or its header is broken.
        """
        self.name = name
        self._file = file
        columns, self._tail = self._open()
        self.schema = pa.schema([pa.field(column, pa.string()) for column in columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order, in batches of a few MiB of CSV text, more only where a single row has more.

        Raises:
            RequestError: A row has another number of cells than the header, a quote is never closed, or a byte is
                not UTF-8. Names the row, counted from 1 below the header.
        """
        done = 0
        try:
            for batch in self._parsed(_BLOCK_BYTES):
                done += batch.num_rows
                yield batch
        except _RowTooLongError:
            # Rare, so rather read the beginning again than have every file wait in large blocks.
            self._tail.stop()
            _, self._tail = self._open()
            skip = done
            try:
                for batch in self._parsed(_LARGE_BLOCK_BYTES):
                    if batch.num_rows > skip:
                        yield batch.slice(skip)
                        done += batch.num_rows - skip
                    skip = max(skip - batch.num_rows, 0)
            except _RowTooLongError as error:
                raise RequestError(
                    f"{self.name}: a row after row {done} (counted below the header) is longer than "
                    f"{_LARGE_BLOCK_BYTES >> 20} MiB: most likely a quote is opened and never closed; close it, or "
                    "shorten the row."
                ) from error

    def _open(self) -> tuple[list[str], _Tail]:
        """The header, and what comes below it."""
        self._file.seek(0)
        first = self._file.read(len(_GZIP_MAGIC))
        self._file.seek(0)
        raw = gzip.GzipFile(fileobj=self._file) if first == _GZIP_MAGIC else self._file
        with _gzip_errors_explained(self.name):
            header = _read_header(self.name, raw)
        checked = Utf8Reader(self.name, raw, first_bytes=header.rest, offset=header.size, line=header.lines + 1)
        return header.columns, _Tail(checked)

    def _parsed(self, block_bytes: int) -> Iterator[pa.RecordBatch]:
        count = len(self.schema)
        # Generated names: those of the file may be unusable (empty, twice the same), which is for others to say.
        names = [str(index) for index in range(count)]
        bad_rows: list[pa_csv.InvalidRow] = []

        def refuse(row: pa_csv.InvalidRow) -> str:
            bad_rows.append(row)
            return "error"

        done = 0
        last_cell = ""
        with _gzip_errors_explained(self.name):
            try:
                reader = pa_csv.open_csv(
                    self._tail,
                    # One thread: row numbers in errors are known only so, and rendering is the slower part.
                    read_options=pa_csv.ReadOptions(column_names=names, block_size=block_bytes, use_threads=False),
                    parse_options=pa_csv.ParseOptions(
                        newlines_in_values=True, ignore_empty_lines=count > 1, invalid_row_handler=refuse
                    ),
                    convert_options=pa_csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()),
                        null_values=[],
                        strings_can_be_null=False,
                        quoted_strings_can_be_null=False,
                        check_utf8=False,  # Utf8Reader did, and knows the place.
                    ),
                )
                for batch in reader:
                    if batch.num_rows:
                        done += batch.num_rows
                        last_cell = batch.column(count - 1)[batch.num_rows - 1].as_py()
                        yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
            except pa.ArrowInvalid as error:
                raise self._explain(error, bad_rows, done) from error
        self._check_last_quote(last_cell, done)

    def _explain(self, error: pa.ArrowInvalid, bad_rows: list[pa_csv.InvalidRow], done: int) -> Exception:
        if bad_rows:
            row = bad_rows[0]
            return RequestError(
                f"{self.name}: row {row.number} (counted below the header) has {row.actual_columns} cells where the "
                f"header has {row.expected_columns}: {_shortened(row.text)!r}. Quote cells that hold commas, or mend "
                "the row."
            )
        message = str(error)
        if "Empty CSV file" in message:
            return RequestError(f"{self.name} has a header and no rows: put rows below it.")
        if "straddling object" in message or "out of sync" in message:
            return _RowTooLongError()
        return RequestError(f"{self.name} cannot be parsed as CSV after row {done}: {message.rstrip('.')}.")

    def _check_last_quote(self, cell: str, done: int) -> None:
        """A quote that is never closed swallows all rows after it, and the parser says nothing."""
        if self._tail.last_byte != ord('"') and any(mark in cell for mark in ("\n", "\r", ",")):
            raise RequestError(
                f"{self.name}: row {done} (counted below the header) opens a quote and never closes it: "
                f"{_shortened(cell)!r}. Close it."
            )


class _RowTooLongError(Exception):
    """A row does not fit into a block."""


class _Header:
    def __init__(self, columns: list[str], rest: bytes, size: int, lines: int) -> None:
        self.columns = columns
        # What was read beyond the header.
        self.rest = rest
        # Bytes and lines before that, blank lines and BOM included.
        self.size = size
        self.lines = lines


class _Tail(io.RawIOBase):
    """Hands bytes on, and remembers the last one that is not a line end.

    No piece but the last ends with CR: pyarrow takes a LF at the beginning of a block for the rest of a CRLF in the
    block before and drops it, inside quotes too (pyarrow 26, found by test_any_table_survives).
    """

    def __init__(self, reader: Utf8Reader) -> None:
        super().__init__()
        self._reader = reader
        self._held = b""
        # pyarrow reads ahead in a thread of its own, also for some time after it has failed.
        self._lock = threading.Lock()
        self._stopped = False
        self.last_byte: int | None = None

    def readable(self) -> bool:
        return True

    def stop(self) -> None:
        """End here: from now on the file belongs to somebody else."""
        with self._lock:
            self._stopped = True

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            return b"" if self._stopped else self._next(size)

    def _next(self, size: int) -> bytes:
        piece, self._held = self._held, b""
        while more := self._reader.read(max(size - len(piece), 1) if size >= 0 else -1):
            piece += more
            if not piece.endswith(b"\r"):
                break
            if len(piece) > 1:
                piece, self._held = piece[:-1], b"\r"
                break
        ending = piece[-2:].rstrip(b"\r\n") or piece.rstrip(b"\r\n")
        if ending:
            self.last_byte = ending[-1]
        return piece


def _read_header(name: str, file: Readable) -> _Header:
    head = _read_fully(file, _MAX_HEADER_BYTES)
    if not head:
        raise RequestError(f"{name} is empty (0 bytes): upload a table with a header and rows.")
    at_end = len(head) < _MAX_HEADER_BYTES
    # Decoded for the check alone: a wrong byte is reported with its place.
    Utf8Reader(name, io.BytesIO(head)).check(head, final=at_end)
    start = len(_BOM) if head.startswith(_BOM) else 0
    lines = head[start:].splitlines(keepends=True)
    if not at_end and lines:
        lines.pop()  # Possibly cut off.
    blank = 0
    while blank < len(lines) and not lines[blank].strip(b"\r\n"):
        blank += 1
    if blank == len(lines) and at_end:
        raise RequestError(f"{name} holds nothing but blank lines: upload a table with a header and rows.")
    too_long = RequestError(f"{name}: the header is longer than {_MAX_HEADER_BYTES >> 20} MiB: is this a CSV file?")
    if blank == len(lines):
        raise too_long
    used = blank

    def take() -> Iterator[str]:
        nonlocal used
        for line in lines[blank:]:
            used += 1
            yield line.decode()

    try:
        columns = next(csv.reader(take(), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise RequestError(
            f"{name}: the header cannot be parsed ({error}): quote names that hold commas, double quotes inside them."
        ) from error
    if used == len(lines) and not at_end:
        raise too_long
    size = start + sum(map(len, lines[:used]))
    return _Header(columns, head[size:], size, used)


class _gzip_errors_explained:  # noqa: N801 - a context manager, used as one
    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
            raise RequestError(f"{self._name} is a broken gzip file ({error}): upload it again.") from error


def _read_fully(file: Readable, size: int) -> bytes:
    """`size` bytes, fewer only at the end: a gzip stream gives what it has."""
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _shortened(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[:limit] + "..."
