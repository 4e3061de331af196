"""Which records were asked for, by which chunks: what a later input looks its records up in.

Every input that asks for new records leaves a claim: a list of its chunks, and an index from the digest of each record
to its chunk and its place in it. Claims are of one recipe (model, prompt, parameters). Nothing of a claim counts before
its chunk is in the manifest of its batch, or answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.bucket import BatchBucket

_PARALLEL_REQUESTS = 8


class ClaimedChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk of a claim.

    Attributes:
        index: Its number in its batch.
        version: Of its rows and its recipe, see `ChunkEntry`.
        row_count: Its rows.
        records_to_send: Its records.
        rendered_bytes: Their size as JSON lines.
        first_row: Its first row in its table.
        rows_digest: Of all columns of its rows, if they are rows of the batch's table as they are; else empty.
    """

    index: int
    version: str
    row_count: int
    records_to_send: int
    rendered_bytes: int
    first_row: int
    rows_digest: str = ""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one input of a batch asked for: see the module."""

    batch: str
    chunks: list[ClaimedChunk]


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """A claim, and the key of its index."""

    claim: Claim
    index_key: str

    def fetch_index(self, storage: BatchBucket, folder: Path) -> Path:
        """The claim's records, of dtype `record_digests.INDEX`, as a file in a local folder."""
        path = folder / self.index_key.replace("/", "_")
        with path.open("wb") as file:
            for block in storage.objects.blocks(self.index_key):
                file.write(block)
        return path


def write_claim(storage: BatchBucket, recipe: str, claim: Claim, index: Path) -> None:
    """Store a claim; its list of chunks last, so that no claim is seen without its index."""
    from bedrock_batch_assets.storage.bucket import version_of

    # Two inputs of a batch that are read at once have claims of their own: an index never belongs to another's chunks.
    named = (recipe, claim.batch, claim.chunks[0].index, version_of(claim))
    storage.objects.upload_file(index, storage.layout.claim_index(*named))
    storage.write_manifest(storage.layout.claim(*named), claim)


def read_claims(storage: BatchBucket, recipe: str) -> list[StoredClaim]:
    """All claims of a recipe, the oldest first."""
    objects = storage.objects
    found = [info for info in objects.list(storage.layout.claims_folder(recipe)) if info.key.endswith(".json")]
    found.sort(key=lambda info: (info.last_modified, info.key))
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        texts = list(pool.map(lambda info: objects.get_bytes(info.key), found))
    return [
        StoredClaim(msgspec.json.decode(text, type=Claim), f"{info.key.removesuffix('.json')}.index")
        for info, text in zip(found, texts, strict=True)
    ]


def note_bad_answers(storage: BatchBucket, recipe: str, chunk: str, version: str, positions: Sequence[int]) -> None:
    """Note which records of a chunk have no answer that can be used again, in place of what was noted before."""
    key = storage.layout.bad_answers(recipe, chunk, version)
    if positions:
        storage.objects.put_bytes(key, msgspec.json.encode(list(positions)), content_type="application/json")
    elif storage.objects.exists(key):
        storage.objects.delete([key])


def bad_answers(storage: BatchBucket, recipe: str) -> Iterator[tuple[str, list[int]]]:
    """What `note_bad_answers` noted: by `chunk key` and version as `chunk@version`, the positions."""
    folder = storage.layout.bad_answers_folder(recipe)
    for info in storage.objects.list(folder):
        name = info.key.removeprefix(folder).removesuffix(".json")
        yield name, msgspec.json.decode(storage.objects.get_bytes(info.key), type=list[int])
