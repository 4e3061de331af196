"""What Python's csv module reads, by its own strict rules, to compare with."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_source import CsvSource

# Python's arguments for a dialect, and ours.
DIALECTS: Mapping[str, tuple[Mapping[str, Any], CsvDialect]] = {
    "RFC 4180": ({}, CsvDialect()),
    "backslash": ({"escapechar": "\\", "doublequote": False}, CsvDialect(escape="\\")),
    "backslash everywhere": (
        {"escapechar": "\\", "doublequote": False},
        CsvDialect(escape="\\", escape_unquoted=True),
    ),
    "semicolon": ({"delimiter": ";"}, CsvDialect(delimiter=";")),
    "tab": ({"delimiter": "\t"}, CsvDialect(delimiter="\t")),
}

Rows = list[list[str]]


def written(rows: Rows, dialect: str, *, line_end: str = "\n", quote_all: bool = False) -> str:
    """Rows as Python's writer writes them."""
    file = io.StringIO()
    quoting: Any = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator=line_end, quoting=quoting, **DIALECTS[dialect][0]).writerows(rows)
    return file.getvalue()


def read_by_python(text: str, dialect: str) -> Rows | None:
    """What Python's strict reader reads, header first; None if it refuses the text, or rows are of different lengths.

    A blank line is nothing, or in a table of one column a row whose cell is empty.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True, **DIALECTS[dialect][0]))
    except csv.Error:
        return None
    while rows and not rows[0]:
        rows.pop(0)
    if not rows:
        return None
    width = len(rows[0])
    rows = [row or [""] for row in rows if row or width == 1]
    return rows if len(rows) > 1 and all(len(row) == width for row in rows) else None


def read_by_us(text: str, dialect: CsvDialect, *, advise: bool = True) -> Rows | RequestError:
    """What the source reads, header first, or its error; with `advise`, that of a person, which takes more trials."""
    try:
        source = CsvSource("t.csv", io.BytesIO(text.encode()), dialect, advise=advise)
        rows = [
            [str(cell) for cell in row]
            for batch in source.batches()
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]
    except RequestError as error:
        return error
    return [source.schema.names, *rows]
