"""What the instance says of batches during one tick of the sensor: each question is asked once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster import DagsterInstance
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus

from bedrock_batch_assets.partitions import batches, chunks
from bedrock_batch_assets.runs.event_log import InputEvent
from bedrock_batch_assets.runs.identity import RunIdentity, identify
from bedrock_batch_assets.runs.statuses import not_finished_statuses
from bedrock_batch_assets.tags import BATCH_TAG, INPUT_EVENT_TAG, VERSION_TAG

# The clocks of the run that wrote an event and of the daemon that made a backfill differ by less.
CLOCK_MARGIN_SECONDS = 2 * 3600.0
# Backfills are large: so many are in memory at a time.
_BACKFILLS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class AskedBackfill:
    """A backfill of one batch: what it was asked for, and when (seconds since the epoch).

    `input_event` is None for one that an earlier release asked for, or a person who copied its tags.
    """

    backfill_id: str
    status: BulkActionStatus
    batch: str
    version: str
    input_event: str | None
    created_at: float

    @property
    def is_over(self) -> bool:
        """Whether it starts no more runs, and ends none."""
        return self.status in BULK_ACTION_TERMINAL_STATUSES


class Facts:
    """What the instance says during one tick, read when it is first asked for."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance
        self._backfills: Sequence[AskedBackfill] = ()
        self._backfills_since = float("inf")

    @cached_property
    def batches(self) -> frozenset[str]:
        """The batch partitions that there are."""
        assert batches.name is not None
        return frozenset(self.instance.get_dynamic_partitions(batches.name))

    @cached_property
    def chunks(self) -> frozenset[str]:
        """The chunk partitions that there are."""
        assert chunks.name is not None
        return frozenset(self.instance.get_dynamic_partitions(chunks.name))

    @cached_property
    def in_progress(self) -> Sequence[tuple[RunIdentity, dg.DagsterRun]]:
        """The runs of batches that have not ended."""
        runs = self.instance.get_runs(filters=dg.RunsFilter(statuses=not_finished_statuses()))
        return [(identity, run) for run in runs if (identity := identify(self.instance, run)) is not None]

    def backfills(self, batch: str, version: str, event: InputEvent) -> list[AskedBackfill]:
        """The batch's backfills of this version that can have been made for the event, newest first; cancelled too."""
        since = event.timestamp - CLOCK_MARGIN_SECONDS
        if since < self._backfills_since:
            self._backfills = _backfills_since(self.instance, since)
            self._backfills_since = since
        return [item for item in self._backfills if (item.batch, item.version) == (batch, version)]

    def settled(self, batches: Collection[str]) -> Mapping[str, str]:
        """By batch: the name of the input's materialization for which all was asked for that it needs."""
        keys = {_settled_key(batch): batch for batch in batches}
        values = self.instance.run_storage.get_cursor_values(set(keys)) if keys else {}
        return {keys[key]: value for key, value in values.items() if value}

    def settle(self, batch: str, event: InputEvent) -> None:
        """Keep that nothing more is to be asked for this materialization, whatever becomes of the batch.

        It is as durable as the runs, and says what the backfills say, or that there was nothing to ask for: it spares
        reading them again.
        """
        self.instance.run_storage.set_cursor_values({_settled_key(batch): event.name})


def _settled_key(batch: str) -> str:
    # The small key-value store that the heartbeats are in, too.
    return f"bedrock_batch_asked/{batch}"


def _backfills_since(instance: DagsterInstance, since: float) -> list[AskedBackfill]:
    # Not by tag: in a storage that was migrated, that finds no backfill that never had a run.
    filters = BulkActionsFilter(created_after=datetime.fromtimestamp(max(0.0, since), UTC))
    found: list[AskedBackfill] = []
    cursor: str | None = None
    while True:
        page = instance.get_backfills(filters=filters, cursor=cursor, limit=_BACKFILLS_PER_PAGE)
        for backfill in page:
            tags = backfill.tags
            if BATCH_TAG in tags and VERSION_TAG in tags:
                found.append(
                    AskedBackfill(
                        backfill.backfill_id,
                        backfill.status,
                        tags[BATCH_TAG],
                        tags[VERSION_TAG],
                        tags.get(INPUT_EVENT_TAG),
                        backfill.backfill_timestamp,
                    )
                )
        if len(page) < _BACKFILLS_PER_PAGE:
            return found
        cursor = page[-1].backfill_id
