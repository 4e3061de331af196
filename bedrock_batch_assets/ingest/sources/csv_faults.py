"""The messages about a CSV file that cannot be read as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_advice import CsvFileError, Reading, setting_advice
from bedrock_batch_assets.ingest.sources.csv_blocks import MAX_ROW_BYTES, PlacedError
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_structure import Problem, StructureError
from bedrock_batch_assets.ingest.sources.text_pieces import NotDecodableError, likely_encodings

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.ingest.sources.csv_header import RawHeader

HEADER = "the header"
_DOUBLE_QUOTES = (
    "Double every quote inside a quoted cell, or set csv.quote and csv.escape to what the file's writer used."
)


def row_at(row: int) -> str:
    """A row of the file, as messages name it."""
    return f"row {row} (counted below the header)"


def placed(name: str, error: PlacedError, dialect: CsvDialect) -> CsvFileError:
    """The structure is in doubt at a row."""
    where = f"{name}: {row_at(error.row)}"
    seen = repr(error.seen)
    line = f"on line {error.line}"
    lines = line if error.line == error.end_line else f"on lines {error.line} to {error.end_line}"
    quote = repr(dialect.quote or '"')
    escape = json.dumps(dialect.escape)
    match error.problem:
        case Problem.text_after_quote:
            return CsvFileError(
                f"{where} has text after the {quote} that closes a cell: {seen}, {lines}", _DOUBLE_QUOTES
            )
        case Problem.never_closed:
            return CsvFileError(
                f"{where} opens a quote and never closes it: {seen}, {line}",
                f"Close it, or, if it is text, double it and enclose its cell in {quote}.",
            )
        case Problem.too_long:
            return CsvFileError(
                f"{where} is longer than {MAX_ROW_BYTES >> 20} MiB: {seen}, {line}",
                "Most likely a quote is opened and never closed: close it, or shorten the row.",
            )
        case Problem.blank_before_quote:
            return CsvFileError(
                f"{where} has a blank before a {quote} that opens a cell for some readers, and is text for others: "
                f"{seen}, {line}",
                "Take the blank away, or enclose the whole cell in quotes and double those inside.",
            )
        case Problem.escape_unquoted:
            return CsvFileError(
                f"{where} has the escape character {escape} outside quotes, where writers differ about it: {seen}, "
                f"{line}",
                "Set csv.escape_unquoted to false if it is text there, as Spark writes it, and to true if it makes the "
                "next character text, as Python's csv module and MySQL write it; or set csv.null_text if the cell "
                "stands for null.",
                is_settled=True,
            )
        case Problem.escape_at_end:
            return CsvFileError(
                f"{where} ends with the escape character {escape}, and the file with it: {seen}, {line}",
                f"Write {escape} twice if it is text, or complete the file.",
            )
        case Problem.doubled_quote:
            return CsvFileError(
                f"{where} has a doubled {quote} inside quotes, where csv.escape says that {escape} makes quotes text: "
                f"{seen}, {line}",
                "Escape quotes in one way throughout the file; if that is by doubling, leave csv.escape out.",
            )
        case _:
            return CsvFileError(
                f"{where} has the escape character {escape} before a character that needs none, where readers differ "
                f"about it: {seen}, {line}",
                f"Write {escape} twice if it is text, or set csv.null_text if the cell stands for null.",
            )


def ragged(name: str, row: int, line: int, text: str, *, expected: int, found: int) -> CsvFileError:
    """A row has another number of cells than the header."""
    return CsvFileError(
        f"{name}: {row_at(row)} has {found} cells where the header has {expected}: {text!r}, on line {line}",
        "Quote cells that hold the delimiter (a quote in the middle of a cell quotes nothing), or mend the row.",
    )


def backslash(
    name: str, where: str, seen: str, line: int | None, dialect: CsvDialect, other: CsvDialect, reading: Reading
) -> CsvFileError:
    """A closing quote comes after a backslash, and the whole file can be read with backslashes as escape characters."""
    place = "" if line is None else f", on line {line}"
    as_text = dialect.with_settings(escape=dialect.quote or '"').as_setting()
    return CsvFileError(
        f"{name}: {where} has a backslash before a quote, which may make the quote text: {seen!r}{place}",
        f"{setting_advice(other, dialect, reading)} Set {as_text} instead if the backslash is text and the quote "
        "closes the cell.",
        is_settled=True,
    )


def other_delimiter(name: str, column: str, dialect: CsvDialect, other: CsvDialect, reading: Reading) -> CsvFileError:
    """The file is a table of a single column, or one of more columns with another delimiter."""
    return CsvFileError(
        f"{name} has a single column, {column!r}, if commas separate its cells",
        f"{setting_advice(other, dialect, reading)} Set {dialect.with_settings(delimiter=',').as_setting()} instead if "
        "it has a single column.",
        is_settled=True,
    )


def check_header(name: str, header: RawHeader, dialect: CsvDialect) -> None:
    """Check that the header is text, and that a line `sep=` before it agrees with the dialect.

    Raises:
        CsvFileError: It does not.
    """
    separator = header.separator
    if separator is not None and separator != chr(dialect.marks.delimiter):
        if dialect.delimiter is not None:
            raise CsvFileError(
                f"{name} begins with the line 'sep={separator}', and csv.delimiter is {dialect.delimiter!r}",
                "Set csv.delimiter to what the line says, or take the line away.",
            )
        raise CsvFileError(
            f"{name} begins with the line 'sep={separator}', which names its delimiter for Excel",
            f"Set {dialect.with_settings(delimiter=separator).as_setting()} in the request.",
            is_settled=True,
        )
    text = header.text
    if len(text) > 1 and dialect.encoding is None and (not any(text[1::2]) or not any(text[::2])):
        raise CsvFileError(
            f"{name}: every other byte of the header is zero, as in UTF-16",
            "Save the file as UTF-8.",
            encodings=["utf-16-be" if text[0] == 0 else "utf-16-le"],
        )


def broken_header(name: str, error: StructureError) -> CsvFileError:
    """The header's quoting is in doubt."""
    return CsvFileError(
        f"{name}: the header cannot be parsed ({error.problem.value})",
        "Quote names that hold the delimiter, and double quotes inside them.",
    )


def not_decodable(name: str, error: NotDecodableError, line: int, encoding: str | None, file: BinaryIO) -> CsvFileError:
    """A byte does not belong to the file's encoding."""
    what = f"byte 0x{error.byte:02x} at offset {error.offset} (line {line})"
    if encoding is not None:
        return CsvFileError(
            f"{name} is not {encoding}: {what}",
            "Set csv.encoding to the encoding that the file has, or leave it out if that is UTF-8.",
            encodings=likely_encodings(name, file),
        )
    # Valid UTF-8 before it means that the file is damaged rather than in another encoding.
    others = likely_encodings(name, file) or (["cp1252", "latin-1"] if error.is_alone else [])
    return CsvFileError(
        f"{name} is not UTF-8: {what}", "Save the file as UTF-8, or set csv.encoding.", encodings=others
    )


def unparsable(name: str, error: pa.ArrowInvalid, done: int) -> CsvFileError:
    """The parser refuses the file for another reason."""
    return CsvFileError(f"{name} cannot be parsed as CSV after row {done}: {str(error).rstrip('.')}", "Mend the file.")


def miscounted(name: str, done: int) -> RequestError:
    """The parser and the scanner have counted different rows: a fault of this platform, found before rows are lost."""
    return RequestError(
        f"{name}: up to row {done} the rows were counted in two ways, with different results, so that none of them can "
        "be trusted. This is a fault of bedrock_batch_assets: please report it with the file; until it is mended, give "
        "the table as Parquet."
    )
