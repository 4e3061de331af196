"""What one batch still needs, judged by what its events, runs and backfills say, and by no cursor."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

import dagster as dg
from dagster import DagsterInstance

from bedrock_batch_assets.asset_names import CHUNK_ASSETS
from bedrock_batch_assets.internals.dagster_internals import (
    BACKFILL_FINISHED,
    BACKFILL_ID_TAG,
    BACKFILL_REQUESTED,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
    Backfill,
)
from bedrock_batch_assets.partition_keys import is_batch_key
from bedrock_batch_assets.runs.event_log import InputEvent, asset_backfill, data_versions, newest_input
from bedrock_batch_assets.runs.identity import assets_of
from bedrock_batch_assets.runs.superseded import supersede_backfills
from bedrock_batch_assets.sensors.batch_facts import Facts
from bedrock_batch_assets.sensors.table_needs import table_need
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import BATCH_TAG, INPUT_EVENT_TAG, VERSION_TAG

# A batch with a problem that a person has to see is looked at again after this time.
PROBLEM_SECONDS = 30.0
# A sentence names so many chunks.
_CHUNKS_NAMED = 5


@dataclass
class Need:
    """What a look at one batch came to.

    Attributes:
        requests: What is asked for.
        problem: What keeps the batch from going on, for a person.
        note: What is waited for, for whoever looks at the sensor's page.
        look_again_in: Seconds after which it has to be looked at again, though nothing may have happened; None if an
            event will tell.
    """

    requests: list[dg.RunRequest] = field(default_factory=list)
    problem: str | None = None
    note: str | None = None
    look_again_in: float | None = None


class _Claim(Enum):
    """Whether the work on a materialization of the input was asked for.

    `ending`: not yet, since a backfill of the same content is still being ended, whose runs go first.
    """

    open = "open"
    ending = "ending"
    asked = "asked"


@dataclass(frozen=True)
class Judge:
    """Looks at batches, one after the other.

    Args:
        facts: What the instance says.
        storage: The bucket with the manifests.
        given_up: Batches and versions whose backfill Dagster has given up.
        taken_care_of: Partitions that somebody asks for already in this tick.
        now: Seconds since the epoch.
        warn: Says what a person should see.
    """

    facts: Facts
    storage: BatchStorage
    given_up: Collection[tuple[str, str]]
    taken_care_of: frozenset[str]
    now: float
    warn: Callable[[str], None]

    def look_at(self, key: str, *, after_part: bool = False) -> Need:
        """What the batch needs now.

        Args:
            key: The batch.
            after_part: A part of it came in, and nothing else: its chunks were asked for before that.

        Raises:
            BatchError: Its manifest cannot be read at the moment.
        """
        if key not in self.facts.batches or not is_batch_key(key):
            # Deleted, and its events are kept: nobody wants it. Or never a batch: a person may add any partition.
            return Need()
        event = newest_input(self.facts.instance, key)
        batch = self.storage.find_batch_manifest(key)
        if batch is None or (event is not None and event.version not in {None, batch.version}):
            return self._without_manifest(key, event, batch)
        pending = pending_chunks(self.facts.instance, batch)
        claim = _Claim.asked if after_part else self._claim(batch, event, pending)
        return self._chunks(batch, event, pending, claim) if pending else self._table(batch, event)

    def _without_manifest(self, key: str, event: InputEvent | None, batch: BatchManifest | None) -> Need:
        """What to do if the input is in, and its manifest is not where the sensor looks: the batch must not be lost."""
        if event is None:
            return Need()
        reads = any(
            identity.batch == key and "input_dataset" in assets_of(self.facts.instance, run)
            for identity, run in self.facts.in_progress
        )
        if reads or newest_input(self.facts.instance, key) != event:
            # The input is being read again: its manifest is written just before its event.
            return Need(look_again_in=0.0)
        place = self.storage.uri(self.storage.layout.batch_manifest(key))
        found = "nothing is there" if batch is None else f"version {batch.version} of the input is there"
        return Need(
            problem=f"Batch {key} cannot go on: its newest input is version {event.version or 'unknown'}, whose "
            f"manifest should be {place}, but {found}. If the run of input_dataset had another bucket or prefix than "
            "the sensor has, materialize input_dataset again without changing its resources.",
            look_again_in=PROBLEM_SECONDS,
        )

    def _claim(self, batch: BatchManifest, event: InputEvent | None, pending: Sequence[str]) -> "_Claim":
        """Whether the chunks were asked for, for this materialization of the input."""
        if event is None or self.facts.settled([batch.batch]).get(batch.batch) == event.name:
            return _Claim.asked
        made = self.facts.backfills(batch.batch, batch.version, event)
        for backfill in made:
            asked_for = backfill.tags.get(INPUT_EVENT_TAG)
            # By time, if an earlier release asked.
            is_for_it = backfill.created_at >= event.timestamp if asked_for is None else asked_for == event.name
            # One of an earlier materialization of the same content does the same work, unless a run of it is over that
            # did not: then it has to end before another backfill can ask for that chunk.
            if is_for_it or (backfill.status == BACKFILL_REQUESTED and self._does_all(backfill, pending)):
                self.facts.settle(batch.batch, event)
                return _Claim.asked
        return _Claim.open if all(item.status in BACKFILL_FINISHED for item in made) else _Claim.ending

    def _does_all(self, backfill: Backfill, pending: Sequence[str]) -> bool:
        """Whether a backfill in progress still has, or will have, a run in progress for each of these chunks."""
        newest: dict[str, dg.DagsterRun] = {}
        runs = self.facts.instance.get_runs(filters=dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.id}))
        for run in runs:
            # Newest first: a retry comes before the run whose work it goes on with.
            newest.setdefault(run.tags.get(PARTITION_NAME_TAG, ""), run)
        return not any(key in newest and _is_over(newest[key]) for key in pending)

    def _chunks(self, batch: BatchManifest, event: InputEvent | None, pending: Sequence[str], claim: "_Claim") -> Need:
        """The backfill of the chunks: once for each materialization of the input, and again if Dagster gave it up."""
        if (batch.batch, batch.version) in self.given_up and any(key in self.facts.chunks for key in pending):
            return Need(self._backfill(batch, event, pending))
        if claim is _Claim.ending:
            return Need(look_again_in=0.0)
        if claim is _Claim.asked:
            return Need()
        supersede_backfills(self.facts.instance, batch.batch, batch.version)
        return Need(self._backfill(batch, event, pending))

    def _backfill(self, batch: BatchManifest, event: InputEvent | None, pending: Sequence[str]) -> list[dg.RunRequest]:
        there = [key for key in pending if key in self.facts.chunks]
        gone = [key for key in pending if key not in self.facts.chunks]
        if gone:
            more = f" and {len(gone) - _CHUNKS_NAMED} more" if len(gone) > _CHUNKS_NAMED else ""
            self.warn(
                f"Batch {batch.batch}: the partitions of {len(gone)} chunks were deleted, so they are not asked for: "
                f"{', '.join(gone[:_CHUNKS_NAMED])}{more}. Materialize input_dataset to have them back."
            )
        if not there:
            if event is not None:
                self.facts.settle(batch.batch, event)
            return []
        tags = {BATCH_TAG: batch.batch, VERSION_TAG: batch.version}
        if event is not None:
            tags[INPUT_EVENT_TAG] = event.name
        return [asset_backfill(CHUNK_ASSETS, there, tags)]

    def _table(self, batch: BatchManifest, event: InputEvent | None) -> Need:
        if event is not None:
            # All parts are in: whatever becomes of them later, this materialization asked for them.
            self.facts.settle(batch.batch, event)
        if any(identity.of_chunk and identity.batch == batch.batch for identity, _ in self.facts.in_progress):
            return Need(look_again_in=0.0)
        if batch.batch in self.taken_care_of:
            return Need(look_again_in=0.0)
        need = table_need(self.facts, batch, event, self.now)
        return Need(need.requests, note=need.note, look_again_in=need.look_again_in)


def _is_over(run: dg.DagsterRun) -> bool:
    """Whether a run has ended and Dagster will not start it again."""
    is_retried = run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) == "true"
    return run.is_finished and not is_retried


def pending_chunks(instance: DagsterInstance, batch: BatchManifest) -> list[str]:
    """Chunks whose result is not there, or was made from something else than the batch is now."""
    chunks = batch.keyed_chunks()
    versions = data_versions(instance, "result_parts", list(chunks))
    return [key for key, entry in chunks.items() if versions.get(key) != entry.version]
