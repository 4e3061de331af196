"""What a person is told when a batch has ended."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

State = Literal["done", "failed", "refused", "over budget"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message about one batch.

    Attributes:
        batch: The batch.
        state: How it ended. "over budget" is a batch that was refused since it may cost more than `max_cost_usd`.
        reason: Why, in one sentence; empty if it is done.
        rows: Rows of the table by `record_status`; empty if there is none.
        cost_usd: What the answers cost; None if that is not known.
        url: The page of the UI to look at; empty if its address is not configured.
    """

    batch: str
    state: State
    reason: str = ""
    rows: Mapping[str, int] = {}
    cost_usd: float | None = None
    url: str = ""

    def text(self) -> str:
        """The message in words: `Batch demo is done: 700 rows (690 ok, 10 error), 0.01 USD. http://…`."""
        parts = [f"Batch {self.batch} is done" if self.state == "done" else f"Batch {self.batch}: {self.state}"]
        if self.rows:
            counts = ", ".join(f"{count:,} {status}" for status, count in self.rows.items() if count)
            parts.append(f": {sum(self.rows.values()):,} rows ({counts})")
        if self.cost_usd is not None:
            parts.append(f", {self.cost_usd:,.2f} USD" if self.cost_usd >= 1 else f", {self.cost_usd:.6f} USD")
        parts.append(".")
        if self.reason:
            parts.append(f" {self.reason}")
        if self.url:
            parts.append(f" {self.url}")
        return "".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The notice as plain data, with its text."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "text": self.text()}
