"""What the instance says of batches during one tick of the sensor: each question is asked once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster import DagsterInstance

from bedrock_batch_assets.internals.dagster_internals import Backfill, backfills, read_values, write_values
from bedrock_batch_assets.partitions import batches, chunks
from bedrock_batch_assets.runs.event_log import InputEvent
from bedrock_batch_assets.runs.identity import RunIdentity, identify
from bedrock_batch_assets.runs.statuses import not_finished_statuses
from bedrock_batch_assets.tags import BATCH_TAG, VERSION_TAG

# The clocks of the run that wrote an event and of the daemon that made a backfill differ by less.
CLOCK_MARGIN_SECONDS = 2 * 3600.0
_VALUES_PER_QUERY = 500


class Facts:
    """What the instance says during one tick, read when it is first asked for."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance
        self._backfills: Sequence[Backfill] = ()
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

    def backfills(self, batch: str, version: str, event: InputEvent) -> list[Backfill]:
        """The batch's backfills of this version that can have been made for the event, newest first; cancelled too."""
        since = max(0.0, event.timestamp - CLOCK_MARGIN_SECONDS)
        if since < self._backfills_since:
            # Not by tag: in a storage that was migrated, that finds no backfill that never had a run.
            self._backfills = backfills(self.instance, created_after=datetime.fromtimestamp(since, UTC))
            self._backfills_since = since
        wanted = {BATCH_TAG: batch, VERSION_TAG: version}
        return [item for item in self._backfills if wanted.items() <= item.tags.items()]

    def settled(self, batches: Collection[str]) -> Mapping[str, str]:
        """By batch: the name of the input's materialization for which all was asked for that it needs."""
        keys = {_settled_key(batch): batch for batch in batches}
        found: dict[str, str] = {}
        for first in range(0, len(keys), _VALUES_PER_QUERY):
            values = read_values(self.instance, list(keys)[first : first + _VALUES_PER_QUERY])
            found |= {keys[key]: value for key, value in values.items() if value}
        return found

    def settle(self, batch: str, event: InputEvent) -> None:
        """Keep that nothing more is to be asked for this materialization, whatever becomes of the batch.

        It is as durable as the runs, and says what the backfills say, or that there was nothing to ask for: it spares
        reading them again.
        """
        write_values(self.instance, {_settled_key(batch): event.name})


def _settled_key(batch: str) -> str:
    # The small key-value store that the heartbeats are in, too.
    return f"bedrock_batch_asked/{batch}"
