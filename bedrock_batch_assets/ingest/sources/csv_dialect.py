"""How the cells of a CSV file are written: what separates, quotes and escapes them."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

from bedrock_batch_assets.request import TAB_NAMES, CsvSettings

BACKSLASH = "\\"


class Marks(NamedTuple):
    """The bytes that have a meaning in a file of some dialect; None for those that it does not have."""

    delimiter: int
    quote: int | None
    escape: int | None
    escape_unquoted: bool | None


@dataclass(frozen=True, slots=True)
class CsvDialect:
    r"""The settings of `csv` in a request; None for what is not given. Nothing given means RFC 4180 in UTF-8.

    Attributes:
        delimiter: What separates cells; a comma if not given.
        quote: What encloses cells; a double quote if not given, and no character at all if it is empty.
        escape: What makes a quote inside quotes text, as in Spark's and MySQL's `\"`. If not given, or if it is the
            quote itself, a quote inside quotes is doubled.
        escape_unquoted: Whether the escape character has its meaning outside quotes, too. Writers differ (Spark writes
            it there as text, Python's csv module and MySQL as an escape), so cells that need it are refused if it is
            not given.
        encoding: Python's name of the file's encoding; UTF-8, with or without a byte order mark, if not given.
        null_text: Cells of this text, without quotes, are null; no cell is null if it is not given.
    """

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    escape_unquoted: bool | None = None
    encoding: str | None = None
    null_text: str | None = None

    @classmethod
    def of(cls, settings: CsvSettings | None) -> Self:
        """The dialect of a request, whose settings are checked."""
        if settings is None:
            return cls()
        given = {field.name: getattr(settings, field.name) for field in fields(cls)}
        if given["delimiter"] in TAB_NAMES:
            given["delimiter"] = "\t"
        return cls(**given)

    def with_settings(self, **changes: Any) -> Self:
        """The dialect with other settings."""
        return replace(self, **changes)

    @property
    def marks(self) -> Marks:
        """The bytes with a meaning."""
        quote = '"' if self.quote is None else self.quote
        escape = self.escape if self.escape and self.escape != quote else None
        return Marks(
            ord(self.delimiter or ","),
            ord(quote) if quote else None,
            ord(escape) if escape else None,
            # Without quotes there is no other place for it.
            True if not quote and self.escape_unquoted is None else self.escape_unquoted,
        )

    def as_setting(self) -> str:
        """The settings that are given, as they are written in a request: valid JSON, and valid YAML too."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in values.items() if value is not None}
        return f"csv: {json.dumps(given, ensure_ascii=False)}"
