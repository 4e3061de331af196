"""How the cells of a CSV file are written: what separates, quotes and escapes them."""

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

from bedrock_batch_assets.errors import RequestError

BACKSLASH = "\\"
# What people write for a tab if their editor or shell gives them none.
_TAB_NAMES = ("\\t", "tab", "TAB")
# Codecs that Python counts among the text encodings, and that no file is written in.
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "unicode-escape"}


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
    def checked(cls, settings: Mapping[str, Any]) -> Self:
        """A dialect from its settings.

        Raises:
            RequestError: A setting cannot be used. Names it.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        unknown = sorted(set(given) - set(cls.names()))
        if unknown:
            raise RequestError(f"csv has unknown fields: {', '.join(unknown)}. It takes {', '.join(cls.names())}.")
        for name in ("delimiter", "quote", "escape", "encoding", "null_text"):
            if name in given and not isinstance(given[name], str):
                raise RequestError(f"csv.{name} is {json.dumps(given[name], default=str)}: it must be a text.")
        unquoted = given.get("escape_unquoted", True)
        if not isinstance(unquoted, bool):
            raise RequestError(f"csv.escape_unquoted is {json.dumps(unquoted, default=str)}: it must be true or false.")
        if given.get("delimiter") in _TAB_NAMES:
            given["delimiter"] = "\t"
        dialect = cls(**given)
        dialect._check()
        return dialect

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings."""
        return tuple(field.name for field in fields(cls))

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
        given = {name: getattr(self, name) for name in self.names() if getattr(self, name) is not None}
        return f"csv: {json.dumps(given, ensure_ascii=False)}"

    def _check(self) -> None:
        for name in ("delimiter", "quote", "escape"):
            text = getattr(self, name)
            if text is None or (text == "" and name == "quote"):
                continue
            if len(text) != 1 or not text.isascii() or text in "\r\n\0":
                more = ", or empty if the file has no quotes" if name == "quote" else ""
                raise RequestError(f"csv.{name} is {json.dumps(text)}: it must be a single ASCII character{more}.")
        marks = self.marks
        if marks.delimiter in {marks.quote, marks.escape}:
            raise RequestError(f"csv.delimiter is {self.delimiter!r}, and so is another mark: each must be of its own.")
        if self.escape_unquoted is not None and marks.escape is None:
            raise RequestError("csv.escape_unquoted is given without csv.escape: give both, or none.")
        if self.null_text is not None:
            quote = "" if marks.quote is None else chr(marks.quote)
            if any(mark in self.null_text for mark in (chr(marks.delimiter), quote, "\r", "\n") if mark):
                raise RequestError(
                    f"csv.null_text is {json.dumps(self.null_text)}: a cell without quotes cannot hold the delimiter, "
                    "a quote or a line end."
                )
        if self.encoding is not None:
            _check_encoding(self.encoding)


def _check_encoding(name: str) -> None:
    try:
        codec = codecs.lookup(name)
        # The attribute is what `bytes.decode` looks at to keep codecs such as base64 away.
        usable = codec._is_text_encoding and codec.incrementaldecoder is not None
    except (LookupError, ValueError) as error:
        raise RequestError(
            f"csv.encoding is {json.dumps(name)}, which is no encoding that Python knows: name one such as cp1252, "
            "latin-1, utf-16 or shift_jis."
        ) from error
    if not usable or codec.name in _NOT_FOR_FILES:
        raise RequestError(
            f"csv.encoding is {json.dumps(name)}, which is no encoding of files: name one such as cp1252."
        )
