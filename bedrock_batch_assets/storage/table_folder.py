"""The folder of a result table: parts wait in it out of sight, and are put in place together."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bedrock_batch_assets.storage.manifests import BatchManifest, PartSummary
from bedrock_batch_assets.storage.resource import BatchStorage

if TYPE_CHECKING:
    from datetime import datetime

    from bedrock_batch_assets.storage.objects import ObjectInfo

# Requests at once; each answers in tens of milliseconds, but for copies of hundreds of MB.
PARALLEL_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the table as its batch is now. `key` is its place, `source` where it lies: there, or staged."""

    key: str
    source: str
    summary: PartSummary

    @property
    def is_staged(self) -> bool:
        """Whether it still has to be put in place."""
        return self.source != self.key


class TableFolder:
    """The folder as it was when it was first looked at: it is listed once.

    Every step can be done again after any other: a part is deleted from where it was staged only when a table that has
    it in place is written. One run at a time works on a batch's table; chunks may stage parts meanwhile, of a later
    input or again.
    """

    def __init__(self, batch: BatchManifest, storage: BatchStorage) -> None:
        self._batch = batch
        self._storage = storage
        self._layout = storage.layout

    @cached_property
    def _objects(self) -> "dict[str, ObjectInfo]":
        return {info.key: info for info in self._storage.objects.list(self._layout.results_folder(self._batch.batch))}

    def find_parts(self) -> list[Part | None]:
        """The part of each chunk, staged or in place; None where there is none of the chunk's present version.

        One request a part, for the account that travels with it.
        """
        # Before the threads ask for it, each for itself.
        _ = self._objects
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(self._find_part, range(len(self._batch.chunks))))

    def put_in_place(self, parts: Sequence[Part]) -> None:
        """Make the visible files those of `parts` and no others.

        Unless they are so already, the table's manifest goes first: while it is not there, the table is not whole.
        """
        objects = self._storage.objects
        wanted = {part.key for part in parts}
        manifest = self._layout.table_manifest(self._batch.batch)
        staged_folder = self._layout.staged_folder(self._batch.batch)
        surplus = [key for key in self._objects if key not in {*wanted, manifest} and not key.startswith(staged_folder)]
        moving = [part for part in parts if part.is_staged]
        if manifest in self._objects and (moving or surplus):
            objects.delete([manifest])
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            for _ in pool.map(lambda part: objects.copy(part.source, part.key), moving):
                pass
        objects.delete(surplus)

    def clear_staged(self, parts: Sequence[Part]) -> None:
        """Delete what was staged for this table or an earlier one, once the table is written.

        A part that was staged again since is newer than the table: it stays for the next one.
        """
        objects = self._storage.objects
        now = {info.key: info for info in objects.list(self._layout.staged_folder(self._batch.batch))}
        objects.delete([key for key in self._done_with(parts) if now.get(key) == self._objects[key]])

    def _find_part(self, index: int) -> Part | None:
        batch, version = self._batch, self._batch.chunks[index].version
        key = self._layout.result_part(batch.batch, index, batch.output_format)
        # A part that was made again, for the same version, is staged while the former one is in place.
        for source in (self._layout.staged_part(batch.batch, index, version, batch.output_format), key):
            if source in self._objects:
                summary = self._storage.part_summary(source)
                if summary is not None and summary.version == version:
                    return Part(key, source, summary)
        return None

    def _done_with(self, parts: Sequence[Part]) -> Iterator[str]:
        """Keys of staged parts that no table needs any more.

        What was staged after those of this table belongs to a later input, whose chunks are already under way.
        """
        batch = self._batch.batch
        by_prefix = {self._layout.staged_prefix(batch, index): part for index, part in enumerate(parts)}
        prefix_size = len(self._layout.staged_prefix(batch, 0))
        for key, info in self._objects.items():
            if not key.startswith(self._layout.staged_folder(batch)):
                continue
            part = by_prefix.get(key[:prefix_size])
            if part is None:
                is_older = self._input_time is not None and info.last_modified < self._input_time
            else:
                is_older = part.is_staged and info.last_modified <= self._objects[part.source].last_modified
            if is_older:
                yield key

    @cached_property
    def _input_time(self) -> "datetime | None":
        """When the batch's input was written last: chunks that it no longer has staged their parts before."""
        manifest = self._layout.batch_manifest(self._batch.batch)
        return next((info.last_modified for info in self._storage.objects.list(manifest)), None)
