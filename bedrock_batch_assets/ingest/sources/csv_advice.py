"""What to set so that a CSV file can be read: tried, not guessed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_dialect import BACKSLASH, CsvDialect

DELIMITERS = (",", ";", "\t", "|")
# How many bytes of a larger file are tried.
MAX_TRIED_BYTES = 256 << 20


class CsvFileError(RequestError):
    """A fault of a CSV file, before it is known which setting would help.

    Attributes:
        what: A sentence without its full stop: the file, the place, and what is there.
        remedy: A sentence that says what to do if no other setting reads the file.
        encodings: Encodings that the file may have instead of the request's.
        is_settled: Whether `remedy` says all, so that no other settings are to be tried.
    """

    def __init__(self, what: str, remedy: str, *, encodings: Sequence[str] = (), is_settled: bool = False) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy
        self.encodings = encodings
        self.is_settled = is_settled


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a file could be read with other settings: `is_whole` unless it was too large to be tried to its end."""

    is_whole: bool


# A function that tries a dialect; it returns None if the file cannot be read with it.
Trial = Callable[[CsvDialect], Reading | None]


def advised(fault: CsvFileError, dialect: CsvDialect, trial: Trial) -> RequestError:
    """The error that a person gets: what is wrong, and the setting that reads the file, if there is one."""
    if fault.is_settled:
        return RequestError(str(fault))
    for other in _likely(dialect, fault.encodings):
        if reading := trial(other):
            return RequestError(f"{fault.what}. {setting_advice(other, dialect, reading)}")
    without_quotes = dialect.with_settings(quote="", escape=None, escape_unquoted=None)
    if dialect.marks.quote is not None and not fault.encodings and trial(without_quotes):
        return RequestError(
            f"{fault.what}. {fault.remedy} Or set {without_quotes.as_setting()} in the request, if its quotes enclose "
            "nothing and are text like any other."
        )
    return RequestError(str(fault))


def other_delimiter(dialect: CsvDialect, header: str, trial: Trial) -> tuple[CsvDialect, Reading] | None:
    """A dialect with another delimiter that the header holds and the file can be read with."""
    for delimiter in DELIMITERS:
        if delimiter in header and ord(delimiter) != dialect.marks.delimiter:
            for other in _with_escapes(dialect.with_settings(delimiter=delimiter)):
                if reading := trial(other):
                    return other, reading
    return None


def setting_advice(other: CsvDialect, dialect: CsvDialect, reading: Reading) -> str:
    """A sentence that says what to set, and what that does."""
    how_far = "the whole file" if reading.is_whole else f"at least its first {MAX_TRIED_BYTES >> 20} MiB"
    if other == CsvDialect():
        return f"Leave csv out of the request: {how_far} can be read without it."
    advice = f"Set {other.as_setting()} in the request: {how_far} can be read with that."
    if other.escape_unquoted is not None and dialect.escape_unquoted is None:
        kept = "Spark's files, where a backslash outside quotes is text"
        dropped = "those of Python's csv module and MySQL, where it is an escape character"
        advice += f" (escape_unquoted is false for {kept}, and true for {dropped}.)"
    return advice


def _likely(dialect: CsvDialect, encodings: Sequence[str]) -> Iterator[CsvDialect]:
    """Other dialects, the most likely ones first."""
    for base in [dialect.with_settings(encoding=name) for name in encodings] or [dialect]:
        yield from (other for other in _with_escapes(base) if other != dialect)
        for delimiter in DELIMITERS:
            if ord(delimiter) != base.marks.delimiter:
                yield from _with_escapes(base.with_settings(delimiter=delimiter))
        yield base.with_settings(quote="'" if base.marks.quote == ord('"') else None)


def _with_escapes(dialect: CsvDialect) -> Iterator[CsvDialect]:
    yield dialect
    if dialect.marks.escape is not None:
        yield dialect.with_settings(escape=None, escape_unquoted=None)
    elif dialect.marks.quote is not None:
        yield dialect.with_settings(escape=BACKSLASH)
        yield dialect.with_settings(escape=BACKSLASH, escape_unquoted=False)
        yield dialect.with_settings(escape=BACKSLASH, escape_unquoted=True)
