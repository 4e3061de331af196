"""Which rows of a table need an answer that nobody has asked for, and where the answers to the others are.

Rows are looked up by the digest of their records, a 64th of all digests at a time: memory holds some bytes for each
row, and nothing for each known record.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bedrock_batch_assets.records.record_digests import DIGEST, DIGEST_BYTES, INDEX, salted

if TYPE_CHECKING:
    import numpy.typing as npt

SKIPPED = -1
_NEW = -2
# A bucket is what the first six bits of a digest say.
_BUCKETS = 64
_BUCKET_SHIFT = 2
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class KnownRecords:
    """The records of one claim, and which of its chunks may be used.

    Attributes:
        path: A local file of `record_digests.INDEX`, sorted by digest.
        sources: By the chunk's place in the claim: its number among the sources; -1 if it must not be used.
        bad: By the chunk's place: positions whose records have to be asked for again.
    """

    path: Path
    sources: npt.NDArray[np.int32]
    bad: Mapping[int, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """Where the answer to each row is, or will be. All arrays have one element a row.

    Attributes:
        source: int32: the number of the source; `SKIPPED` for a row that is not sent.
        position: int32: the place among the source's rows.
        is_new: bool: whether the row's record has to be asked for. Then `source` and `position` are not known yet.
        is_repeated: bool: whether an earlier row of the table has the same record.
        new_records: The digests of new records, sorted, and their rows: of dtype `NEW`.
    """

    source: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    is_new: npt.NDArray[np.bool_]
    is_repeated: npt.NDArray[np.bool_]
    new_records: npt.NDArray[np.void]

    @property
    def new_count(self) -> int:
        """How many records have to be asked for."""
        return len(self.new_records)

    def place_new(self, ends: Sequence[int], first_source: int, *, by_row: bool) -> None:
        """Say where the new records are asked for.

        Args:
            ends: The end of each new chunk, counted in rows if `by_row`, else in new records.
            first_source: The number of the first of these chunks among the sources.
            by_row: Whether the chunks are rows of the table as they are.
        """
        stops = np.asarray(ends, np.int64)
        starts = np.concatenate([[0], stops[:-1]])
        number = None if by_row else np.cumsum(self.is_new, dtype=np.int32) - 1
        for start in range(0, len(self.source), 1 << 20):
            rows = np.flatnonzero(self.source[start : start + (1 << 20)] == _NEW) + start
            first = self.position[rows]
            numbers = first if number is None else number[first]
            chunk = np.searchsorted(stops, numbers, side="right")
            self.source[rows] = chunk + first_source
            self.position[rows] = numbers - starts[chunk]


NEW = np.dtype([("digest", DIGEST), ("row", "<i4")])


def plan_records(
    digests: Path, is_sent: npt.NDArray[np.bool_], known: Sequence[KnownRecords], folder: Path
) -> RecordPlan:
    """Look up every row's record.

    Args:
        digests: A file with the digest of each row, of dtype `DIGEST`.
        is_sent: Whether the row is sent at all.
        known: Claims, the oldest first: the newest with a record counts.
        folder: A local folder for files.
    """
    count = len(is_sent)
    source = np.full(count, SKIPPED, np.int32)
    position = np.zeros(count, np.int32)
    is_new = np.zeros(count, np.bool_)
    is_repeated = np.zeros(count, np.bool_)
    bounds = [_bucket_bounds(claim.path) for claim in known]
    path = folder / "new.records"
    with path.open("wb") as file:
        for number, records in enumerate(_buckets(digests, is_sent, folder)):
            if not len(records):
                continue
            rows = records["row"]
            found, first, inverse = np.unique(records["digest"], return_index=True, return_inverse=True)
            is_repeated[rows] = first[inverse] != np.arange(len(rows))
            found_source = np.full(len(found), _NEW, np.int32)
            found_position = rows[first].astype(np.int32)
            slices = [
                _read(claim.path, INDEX, bound[number], bound[number + 1])
                for claim, bound in zip(known, bounds, strict=True)
            ]
            entries, places = _usable(known, slices)
            if len(entries):
                at = np.minimum(np.searchsorted(entries["digest"], found), len(entries) - 1)
                hit = entries["digest"][at] == found
                found_source[hit] = places[at[hit]]
                found_position[hit] = entries["position"][at[hit]]
            source[rows] = found_source[inverse]
            position[rows] = found_position[inverse]
            is_unknown = found_source == _NEW
            is_new[rows[first[is_unknown]]] = True
            file.write(records[first[is_unknown]].tobytes())
    new_records = np.memmap(path, NEW, "r") if path.stat().st_size else np.empty(0, NEW)
    return RecordPlan(source, position, is_new, is_repeated, new_records)


def tell_repetitions_apart(digests: npt.NDArray[np.bytes_], is_sent: npt.NDArray[np.bool_]) -> None:
    """Give each repetition of a record a digest of its own, in place: it is asked for as often as it occurs."""
    for rows in list(_rows_by_bucket(digests, is_sent)):
        found = digests[rows]
        order = np.argsort(found, kind="stable")
        ordered = found[order]
        is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(rows) else np.empty(0, np.bool_)
        starts = np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0)) if len(rows) else is_first
        occurrences = np.arange(len(rows)) - starts
        for place in np.flatnonzero(occurrences).tolist():
            digests[rows[order[place]]] = salted(bytes(ordered[place]), int(occurrences[place]))


def _buckets(digests: Path, is_sent: npt.NDArray[np.bool_], folder: Path) -> Iterator[npt.NDArray[np.void]]:
    """The sent rows of each bucket, in order, as `NEW`; by way of a file for each."""
    paths = [folder / f"bucket-{number}.records" for number in range(_BUCKETS)]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for start in range(0, len(is_sent), _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, len(is_sent))
            records = np.empty(stop - start, NEW)
            records["digest"] = _read(digests, DIGEST, start, stop)
            records["row"] = np.arange(start, stop)
            records = records[is_sent[start:stop]]
            numbers = _bucket_numbers(records["digest"])
            records = records[np.argsort(numbers, kind="stable")]
            ends = np.cumsum(np.bincount(numbers, minlength=_BUCKETS))
            for file, some in zip(files, np.split(records, ends[:-1]), strict=True):
                file.write(some.tobytes())
    for path in paths:
        yield np.fromfile(path, NEW)
        path.unlink()


def _rows_by_bucket(digests: npt.NDArray[np.bytes_], is_sent: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.int64]]:
    """The sent rows of each bucket, in order."""
    numbers = _bucket_numbers(digests)
    for number in range(_BUCKETS):
        yield np.flatnonzero((numbers == number) & is_sent)


def _bucket_numbers(digests: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint8]:
    whole = np.ascontiguousarray(digests)
    numbers: npt.NDArray[np.uint8] = whole.view(np.uint8).reshape(-1, DIGEST_BYTES)[:, 0] >> np.uint8(_BUCKET_SHIFT)
    return numbers


def _read(path: Path, kind: np.dtype[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """Elements `start` to `stop` of a file."""
    return np.fromfile(path, kind, count=stop - start, offset=start * kind.itemsize)


def _bucket_bounds(index: Path) -> list[int]:
    """Where each bucket begins in an index, and where the last ends."""
    count = index.stat().st_size // INDEX.itemsize
    with index.open("rb") as file:

        def digest(place: int) -> bytes:
            file.seek(place * INDEX.itemsize)
            return file.read(DIGEST_BYTES)

        starts = [
            bisect_left(range(count), bytes([number << _BUCKET_SHIFT]), key=digest) for number in range(1, _BUCKETS)
        ]
    return [0, *starts, count]


def _usable(
    known: Sequence[KnownRecords], slices: Sequence[npt.NDArray[np.void]]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]:
    """The records that may be used, sorted by digest, each once as its newest claim has it; and their sources."""
    kept, sources = [], []
    for claim, some in zip(known, slices, strict=True):
        if not len(some):
            continue
        of_chunk = claim.sources[some["chunk"]]
        is_usable = of_chunk >= 0
        for place, positions in claim.bad.items():
            is_usable &= ~((some["chunk"] == place) & np.isin(some["position"], positions))
        kept.append(some[is_usable])
        sources.append(of_chunk[is_usable])
    if not kept:
        return np.empty(0, INDEX), np.empty(0, np.int32)
    entries, places = np.concatenate(kept), np.concatenate(sources)
    order = np.argsort(entries["digest"], kind="stable")
    entries, places = entries[order], places[order]
    is_last = np.ones(len(entries), np.bool_)
    is_last[:-1] = entries["digest"][1:] != entries["digest"][:-1]
    return entries[is_last], places[is_last]
