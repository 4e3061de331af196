"""The bill: every record that was processed for pay."""

import threading
from collections import Counter
from typing import Any, Literal

import msgspec

Mode = Literal["batch", "on-demand"]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One billed record. `digest` is the SHA-256 of its `modelInput` as JSON with sorted keys, in hex.

    `tier` is the service tier of an on-demand record.
    """

    digest: str
    mode: Mode
    model_id: str
    input_tokens: int
    output_tokens: int
    record_id: str | None = None
    job_arn: str | None = None
    job_name: str | None = None
    tier: str = "default"


class Ledger:
    """All billed records, in the order of their processing. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def add(self, entries: list[Entry]) -> None:
        """Bill records."""
        with self._lock:
            self._entries.extend(entries)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries = []

    def all(self) -> list[Entry]:
        """Every entry."""
        with self._lock:
            return list(self._entries)

    def entries(self, job_arn: str | None = None) -> list[dict[str, Any]]:
        """The billed records, of one job if given."""
        return [
            {
                "jobArn": entry.job_arn,
                "jobName": entry.job_name,
                "recordId": entry.record_id,
                "digest": entry.digest,
                "modelId": entry.model_id,
                "mode": entry.mode,
                "serviceTier": entry.tier,
                "inputTokens": entry.input_tokens,
                "outputTokens": entry.output_tokens,
            }
            for entry in self.all()
            if job_arn is None or entry.job_arn == job_arn
        ]

    def summary(self) -> dict[str, Any]:
        """Totals by mode, and the digests that were billed more than once with their number."""
        entries = self.all()
        digests = Counter(entry.digest for entry in entries)
        return {
            "records": len(entries),
            "batchRecords": sum(entry.mode == "batch" for entry in entries),
            "onDemandRecords": sum(entry.mode == "on-demand" for entry in entries),
            "flexRecords": sum(entry.tier == "flex" for entry in entries),
            "inputTokens": sum(entry.input_tokens for entry in entries),
            "outputTokens": sum(entry.output_tokens for entry in entries),
            "distinctDigests": len(digests),
            "billedMoreThanOnce": {digest: times for digest, times in digests.items() if times > 1},
        }


def canonical(value: Any) -> bytes:
    """A JSON value in the one form that is digested: no spaces, keys sorted."""
    return msgspec.json.encode(value, order="sorted")
