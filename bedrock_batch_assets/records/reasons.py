"""Why rows have no whole answer, counted by reason.

Messages of the service hold ids and numbers of their own, as in "prompt is too long: 201234 tokens". So reasons are
compared by their text without these, and shown as the first row has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Numbers, and words that are ids: eight hexadecimal digits or more, with dashes between them.
_OWN_PART = re.compile(r"\b[0-9a-f]{8}[0-9a-f-]*\b|\d+")
_LONGEST_TEXT = 200
# So that memory does not grow if every row has a reason of its own: beyond these, rows are counted together.
_MOST_REASONS = 1_000
_OTHER = "other reasons"


@dataclass(frozen=True, slots=True)
class Reason:
    """Rows of one `record_status` that share a reason.

    Attributes:
        status: The rows' status: error, truncated, skipped or missing.
        text: The reason, as the first row has it; at most 200 characters.
        rows: How many rows there are.
        first_row: Index of the first row in the whole batch.
    """

    status: str
    text: str
    rows: int
    first_row: int

    def describe(self) -> str:
        """One line: `4 rows, the first is row 18: 400: bad request`. Rows are counted from 1 here."""
        return f"{self.rows:,} rows, the first is row {self.first_row + 1:,}: {self.text}"


def shortened(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis: at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


class ReasonCounts:
    """Counts rows by status and reason."""

    def __init__(self) -> None:
        """Begin with no rows."""
        self._reasons: dict[tuple[str, str], Reason] = {}

    def add(self, reason: Reason) -> None:
        """Count the rows of a reason."""
        text = shortened(reason.text, _LONGEST_TEXT)
        key = reason.status, _OWN_PART.sub("#", text)
        if key not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            text, key = _OTHER, (reason.status, _OTHER)
        known = self._reasons.get(key)
        if known is None:
            self._reasons[key] = Reason(reason.status, text, reason.rows, reason.first_row)
        else:
            text, first_row = min((known.first_row, known.text), (reason.first_row, text))[::-1]
            self._reasons[key] = Reason(reason.status, text, known.rows + reason.rows, first_row)

    def most_frequent(self, count: int) -> list[Reason]:
        """The reasons with most rows, in that order."""
        return sorted(self._reasons.values(), key=lambda reason: (-reason.rows, reason.first_row))[:count]


def added_up(reasons: Iterable[Reason], most: int) -> list[Reason]:
    """Reasons of several parts, equal ones counted together: at most `most`, those with most rows first."""
    counts = ReasonCounts()
    for reason in reasons:
        counts.add(reason)
    return counts.most_frequent(most)
