"""The result table of a batch on S3: parts wait outside of its folder, and are put in place together."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.manifests import AnswerSource, BatchManifest, PartSummary

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


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a chunk: the key of their file, and their account."""

    key: str
    summary: PartSummary


class TableFolder:
    """The table's folder and its state beside it, as they were when they were first looked at: each is listed once.

    Every step can be done again after any other: a part is deleted from where it was staged only when a table that has
    it in place is written, and the answers of chunks stay for later inputs. One run at a time works on a batch's table;
    chunks may store answers meanwhile, of a later input or again.

    What version 0.1 left in the folder is used as what it is, and goes with the first table that is written after it.
    """

    def __init__(self, batch: BatchManifest, storage: BatchBucket) -> None:
        self._batch = batch
        self._storage = storage
        self._layout = storage.layout
        self._former = self._layout.former(batch.batch)

    @cached_property
    def _in_folder(self) -> "dict[str, ObjectInfo]":
        return self._listed(self._layout.results_folder(self._batch.batch))

    @cached_property
    def _state(self) -> "dict[str, ObjectInfo]":
        return self._listed(self._layout.state_folder(self._batch.batch))

    @cached_property
    def _staged(self) -> "dict[str, ObjectInfo]":
        """The parts that wait, by their keys."""
        folders = (self._layout.staged_folder(self._batch.batch), self._former.staged_folder)
        found = {**self._in_folder, **self._state}
        return {key: info for key, info in found.items() if key.startswith(folders)}

    def find_answers(self) -> "list[Answers | None]":
        """The answers of each of the batch's sources; None if they are not there yet.

        One request a source, for the account that travels with the answers.
        """
        # Listed here once, before the threads would each list it.
        _ = self._staged
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(self._find_answers, self._batch.answer_sources()))

    def find_parts(
        self, answers: "Sequence[Answers | None] | None" = None, joined: Mapping[int, str] | None = None
    ) -> list[Part | None]:
        """Each part of the table, as a chunk's answers, staged or in place; None if there is none as it is to be.

        Args:
            answers: What `find_answers` found; None to look now.
            joined: The version of each part that is not a chunk's, by its place; None for whatever is in
                place.
        """
        found = self.find_answers() if answers is None else answers
        places = range(len(self._batch.table_parts()))
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(lambda place: self._find_part(place, found, joined or {}), places))

    def put_in_place(self, parts: Sequence[Part]) -> None:
        """Make the files in the folder those of `parts` and no others, but for parts of version 0.1 that wait there.

        Unless they are so already, the table's manifest goes first: while it is not there, the table is not whole.
        """
        objects = self._storage.objects
        kept = {part.key for part in parts} | self._staged.keys() | {self._former.table_manifest}
        surplus = [key for key in self._in_folder if key not in kept]
        moving = [part for part in parts if part.is_staged]
        if moving or surplus:
            # One after the other: if both are there, the former one is of an earlier table.
            for manifest in (self._former.table_manifest, self._layout.table_manifest(self._batch.batch)):
                if manifest in self._in_folder or manifest in self._state:
                    objects.delete([manifest])
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            for _ in pool.map(lambda part: objects.copy(part.source, part.key), moving):
                pass
        objects.delete(surplus)

    def clear_staged(self, parts: Sequence[Part]) -> None:
        """Delete what was staged for this table or an earlier one, once the table is written.

        A part that was staged again since is newer than the table: it stays for the next one.
        """
        now = self._listed(self._layout.state_folder(self._batch.batch))
        if any(key.startswith(self._former.staged_folder) for key in self._staged):
            now |= self._listed(self._former.staged_folder)
        done_with = [key for key in self._done_with(parts) if now.get(key) == {**self._state, **self._staged}[key]]
        if self._former.table_manifest in self._in_folder:
            done_with.append(self._former.table_manifest)
        self._storage.objects.delete(done_with)

    def _listed(self, prefix: str) -> "dict[str, ObjectInfo]":
        return {info.key: info for info in self._storage.objects.list(prefix)}

    def _find_answers(self, source: AnswerSource) -> "Answers | None":
        batch, layout = self._batch, self._layout
        keys = [layout.staged_part(source.batch, source.index, source.version, OutputFormat.parquet)]
        if not batch.parts:
            # As versions 0.2 and 0.1 left them: in the table's format, and no more staged when they are in place.
            keys.append(layout.staged_part(batch.batch, source.index, source.version, batch.output_format))
            keys.append(self._former.staged_part(source.index, source.version, batch.output_format))
            keys.append(layout.result_part(batch.batch, source.index, batch.output_format))
        for key in keys:
            if source.batch != batch.batch or key in self._staged or key in self._in_folder:
                summary = self._storage.part_summary(key)
                if summary is not None and summary.version == source.version:
                    return Answers(key, summary)
        return None

    def _find_part(self, place: int, answers: "Sequence[Answers | None]", joined: Mapping[int, str]) -> Part | None:
        batch, entry = self._batch, self._batch.table_parts()[place]
        key = self._layout.result_part(batch.batch, place, batch.output_format)
        if entry.source < 0:
            version = joined.get(place, "")
            for source in (self._layout.joined_part(batch.batch, place, version, batch.output_format), key):
                if source in self._state or source in self._in_folder:
                    summary = self._storage.part_summary(source)
                    if summary is not None and version in {summary.version, ""}:
                        return Part(key, source, summary)
            return None
        found = answers[entry.source]
        if found is None or found.key == key:
            return None if found is None else Part(key, key, found.summary)
        is_in_place = bool(batch.parts) and key in self._in_folder and self._is_copy(key, found)
        return Part(key, key if is_in_place else found.key, found.summary)

    def _is_copy(self, key: str, answers: Answers) -> bool:
        """Whether a part is a copy of these answers. Answers that were asked for again have the same version."""
        copy, original = self._in_folder[key], self._staged[answers.key]
        if copy.etag == original.etag:
            return True
        # Copies of objects of several parts, or that a KMS key encrypts, have an ETag of their own.
        is_later = copy.last_modified > original.last_modified and copy.size == original.size
        return is_later and self._storage.part_summary(key) == answers.summary

    def _done_with(self, parts: Sequence[Part]) -> Iterator[str]:
        """Keys of staged parts that no table needs any more. The answers of chunks are none of them.

        What was staged after those of this table belongs to a later input, whose chunks are already under way.
        """
        if self._batch.parts:
            joined = self._layout.joined_folder(self._batch.batch)
            yield from (key for key in self._state if key.startswith(joined))
            yield from (key for key in self._staged if key.startswith(self._former.staged_folder))
            return
        for key, info in self._staged.items():
            index = _index_of(key)
            if index is None or index >= len(parts):
                is_older = self._input_time is not None and info.last_modified < self._input_time
            else:
                part = parts[index]
                is_older = part.is_staged and info.last_modified <= self._staged[part.source].last_modified
            if is_older:
                yield key

    @cached_property
    def _input_time(self) -> "datetime | None":
        """When the batch's input was written last: chunks that it no longer has staged their parts before."""
        manifest = self._layout.batch_manifest(self._batch.batch)
        return next((info.last_modified for info in self._storage.objects.list(manifest)), None)


def _index_of(staged_key: str) -> int | None:
    """The chunk of a staged part, by the name that `Layout.staged_part` and `FormerLayout.staged_part` give it."""
    digits = staged_key.rpartition("/")[2].removeprefix("_").partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else None
