"""How far a batch is, as a person watches it: cost so far, time left, and why rows failed."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bedrock_batch_assets.client.batch_status import BatchFacts, BatchStatus
from bedrock_batch_assets.client.webserver import Webserver
from bedrock_batch_assets.tags import runs_page

# Parts whose account is asked for at once.
_PARTS_PER_QUERY = 500


@dataclass(frozen=True)
class BatchView:
    """One look at a batch.

    Attributes:
        status: Its state.
        cost_usd: What its answers have cost so far; None if nothing is known of it.
        seconds_left: At the pace so far; None if nothing is done, or all.
        errors: The most frequent reasons of rows without an answer, and their rows.
        links: Pages of the UI, by name.
    """

    status: BatchStatus
    cost_usd: float | None = None
    seconds_left: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


class BatchViewer:
    """Looks at one batch again and again. Of each part, the account is read once."""

    def __init__(self, webserver: Webserver, now: Callable[[], float] = time.time) -> None:
        """Ask `webserver`; `now` gives seconds since the epoch."""
        self._webserver = webserver
        self._now = now
        self._accounts: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def view(self, facts: BatchFacts, status: BatchStatus) -> BatchView:
        """What to show of a batch."""
        accounts = [account for _, account in self._read(facts).values()]
        costs = [account["cost_usd"] for account in accounts if "cost_usd" in account]
        errors: Counter[str] = Counter()
        for account in accounts:
            errors.update(account.get("errors_by_reason") or {})
        links = {"runs": f"{self._webserver.url}{runs_page(facts.batch)}"}
        if facts.backfills:
            links["backfill"] = f"{self._webserver.url}/runs/b/{facts.backfills[0].id}"
        links["result"] = self._webserver.asset_link("result_table", facts.batch)
        cost = status.cost_usd if status.state.final else None
        return BatchView(
            status,
            cost_usd=cost if cost is not None else sum(costs) if costs else None,
            seconds_left=self._seconds_left(status),
            errors=dict(errors.most_common(5)),
            links=links,
        )

    def _read(self, facts: BatchFacts) -> dict[str, tuple[float, Mapping[str, Any]]]:
        """The accounts of the batch's parts as they are now."""
        current = {} if facts.manifest is None else facts.parts
        new = [key for key, part in current.items() if self._accounts.get(key, (0.0,))[0] != part.at]
        for first in range(0, len(new), _PARTS_PER_QUERY):
            found = self._webserver.materializations(
                "result_parts", new[first : first + _PARTS_PER_QUERY], metadata=True
            )
            self._accounts |= {key: (part.at, part.metadata) for key, part in found.items()}
        self._accounts = {key: account for key, account in self._accounts.items() if key in current}
        return self._accounts

    def _seconds_left(self, status: BatchStatus) -> float | None:
        if status.started_at is None or not 0 < status.rows_done < status.rows:
            return None
        return (self._now() - status.started_at) * (status.rows - status.rows_done) / status.rows_done
