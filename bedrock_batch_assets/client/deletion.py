"""Deleting a batch: its partitions in Dagster, and its data on S3 if that is wanted."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedrock_batch_assets.chunks.joined_chunk import keep_answers_alone
from bedrock_batch_assets.client.batch_status import BatchFacts, BatchState, active_backfills, active_runs, batch_status
from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.client.cancellation import YOUNG_INPUT_SECONDS
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.partition_keys import batch_of_chunk, check_batch_key, is_batch_key
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.manifests import pilot_of
from bedrock_batch_assets.storage.shared_answers import answers_used_by_others, claims_of

FORGOTTEN = "The data was deleted: bedrock-batch delete --data"


@dataclass(frozen=True, slots=True)
class StoredData:
    """What lies under one prefix and is to be deleted: `size` in bytes."""

    uri: str
    keys: Sequence[str]
    size: int

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return len(self.keys)


@dataclass(frozen=True)
class Deletion:
    """What deleting a batch takes away: its chunk partitions, and itself if it is listed; and its data on S3.

    `kept` are the keys of answers that other batches use, with these batches: only the rows beside them are deleted.
    """

    batch: str
    chunks: Sequence[str] = ()
    is_listed: bool = True
    data: Sequence[StoredData] = field(default_factory=list)
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        """Objects on S3."""
        return sum(item.objects for item in self.data)

    @property
    def size(self) -> int:
        """Bytes on S3."""
        return sum(item.size for item in self.data)

    def to_json(self, *, data_deleted: bool) -> dict[str, Any]:
        """The deletion as plain data."""
        return {
            "batch": self.batch,
            "chunk_partitions_deleted": len(self.chunks),
            "batch_partition_deleted": self.is_listed,
            "data_deleted": data_deleted,
            "answers_kept_for": sorted({name for names in self.kept.values() for name in names}),
            "data": [{"uri": item.uri, "objects": item.objects, "bytes": item.size} for item in self.data],
        }


def plan_deletion(batches: Batches, batch: str) -> Deletion:
    """Find out what there is of a batch; nothing is deleted.

    Any partition that exists is found, whatever its name: a person may add any in the UI. One that cannot name a batch,
    among the batches or the chunks, has no data.

    Raises:
        RequestError: There is nothing of such a batch, or something of it still goes on.
    """
    webserver = batches.webserver
    is_listed = batch in webserver.batch_keys()
    known_chunks = webserver.chunk_keys()
    # A deletion that broke off may have left one without the other, so each is looked for on its own.
    chunks = [key for key in known_chunks if batch_of_chunk(key) == batch]
    if not is_listed and batch in known_chunks and batch_of_chunk(batch) is None:
        chunks = [batch]
    kept = answers_used_by_others(batches.storage, batch) if is_batch_key(batch) else {}
    data = stored_data(batches.storage, batch, kept) if is_batch_key(batch) else []
    if not is_listed and not chunks and not data:
        check_batch_key(batch)
        raise RequestError(f"There is no batch {batch!r}: `bedrock-batch status` lists all of them.")
    refuse_in_progress(batches.facts(batch, with_jobs=False))
    return Deletion(batch, chunks, is_listed, data, kept)


def refuse_in_progress(facts: BatchFacts) -> None:
    """Refuse to delete a batch of which something still goes on, or is about to begin.

    Raises:
        RequestError: Names it.
    """
    active = [
        *(f"backfill {item.id}" for item in active_backfills(facts)),
        *(f"run {run.id}" for run in active_runs(facts)),
    ]
    # Its chunks are asked for within seconds after its input is in.
    is_young = facts.input is not None and time.time() - facts.input.at < YOUNG_INPUT_SECONDS
    if not active and is_young and batch_status(facts).state is BatchState.waiting:
        active = ["its chunks or its table, which are about to start"]
    if active:
        more = f" and {len(active) - 3} more" if len(active) > 3 else ""
        raise RequestError(
            f"Batch {facts.batch} is in progress: {', '.join(active[:3])}{more}. Cancel it first: "
            f"bedrock-batch cancel {facts.batch}"
        )


def stored_data(storage: BatchBucket, batch: str, kept: Collection[str] = ()) -> list[StoredData]:
    """What the batch has on S3 besides `kept`, by prefix; prefixes with nothing under them are left out."""
    layout = storage.layout
    found: list[StoredData] = []
    for prefix in (
        layout.input_folder(batch),
        layout.records_folder(batch),
        layout.outputs_folder(batch),
        # It has the table's manifest, which is not there without the table.
        layout.state_folder(batch),
        layout.results_folder(batch),
        layout.pilot_report(batch),
        layout.state_folder(pilot_of(batch)),
    ):
        infos = [info for info in storage.objects.list(prefix) if info.key not in kept]
        if infos:
            found.append(StoredData(storage.uri(prefix), [i.key for i in infos], sum(info.size for info in infos)))
    claims = list(claims_of(storage, batch, kept))
    if claims:
        uri = storage.uri(layout.all_claims_folder)
        found.append(StoredData(uri, [info.key for info in claims], sum(info.size for info in claims)))
    return found


def delete_batch(batches: Batches, deletion: Deletion, *, data: bool) -> None:
    """Delete the partitions, and the data if wanted. Can be repeated where it broke off: the batch itself goes last.

    Args:
        batches: The platform.
        deletion: What `plan_deletion` found.
        data: Whether to delete the data, too. Else a batch of the same name finds its results again.
    """
    webserver = batches.webserver
    if data:
        # Dagster keeps the events of a deleted partition, and with them what it was made from. A later batch of the
        # same name and content would take its parts for made, though they are gone.
        webserver.forget_version("result_parts", deletion.chunks, FORGOTTEN)
        for item in deletion.data:
            batches.storage.objects.delete(item.keys)
        for key in deletion.kept:
            keep_answers_alone(batches.storage, key)
    webserver.delete_partitions("chunks", deletion.chunks)
    if deletion.is_listed:
        webserver.delete_partitions("batches", [deletion.batch])
