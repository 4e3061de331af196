"""Which run chose to pay again for a chunk's answers. The bucket keeps it, so that a retry pays for nothing twice."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bedrock_batch_assets.jobs.waves import Wave
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.manifests import ChunkManifest

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.objects import ObjectStore


def first_wave(storage: BatchBucket, records: ChunkManifest, waves: Callable[[], list[Wave]], payer: str | None) -> int:
    """The wave that the chunk's answers begin with: 0, unless a run was told to pay for them again.

    Args:
        storage: The bucket; it remembers who chose.
        records: The chunk's content.
        waves: All waves so far, asked for only if a new choice is to be remembered.
        payer: The id that the run and its retries share, if the run is to pay again; else None.
    """
    key = storage.layout.resubmissions(records.chunk, records.digest)
    known: dict[str, int] = _read_json(storage.objects, key)
    if payer is not None and payer not in known:
        past = waves()
        known[payer] = past[-1].number + 1 if past else 0
        storage.objects.put_json(key, known)
    return max(known.values(), default=0)


def _read_json(objects: "ObjectStore", key: str) -> dict[str, int]:
    from bedrock_batch_assets.storage.objects import ObjectNotFoundError

    try:
        found: dict[str, int] = objects.get_json(key)
    except ObjectNotFoundError:
        return {}
    return found
