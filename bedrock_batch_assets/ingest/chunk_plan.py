"""Cutting a batch's rows into chunks: one chunk, one input file, one job."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.partition_keys import MAX_CHUNKS_PER_BATCH

# "Batch inference input file size (in GB)": 1, and "Batch inference job size (in GB)": 5 (AWS General Reference,
# Bedrock quotas). A job has one file here, so the file's bound is the job's. Decimal GB, the smaller reading.
MAX_FILE_BYTES = 1_000_000_000
# "Minimum number of records per batch inference job": the service fails jobs under it after accepting them (AWS General
# Reference, Bedrock quotas).
MIN_RECORDS_PER_JOB = 100

# The largest number that 4 bytes hold.
_MAX_SIZE = 2**32 - 1

# Rows per entry of the index over row sizes.
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """A run of consecutive rows: chunk number `index`, from row `first_row` on, `row_count` rows."""

    index: int
    first_row: int
    row_count: int

    @property
    def end_row(self) -> int:
        """The row after its last."""
        return self.first_row + self.row_count


class RowSizes:
    """How many bytes each row's record has, 0 for a row that is not sent.

    It holds 4 bytes a row (40 MB for 10 million rows), and an index of 16 bytes per 256 rows.
    """

    def __init__(self, sizes: Iterable[int] = ()) -> None:
        self._sizes = array("I")
        # Running totals before each block: bytes and sent records.
        self._bytes = array("Q", [0])
        self._sent = array("Q", [0])
        self.extend(sizes)

    def extend(self, sizes: Iterable[int]) -> None:
        """Append rows: any integers, or a numpy array of them, which is faster.

        Raises:
            OverflowError: A size is negative or does not fit into 4 bytes.
        """
        values = np.fromiter(sizes, np.int64) if not isinstance(sizes, np.ndarray) else sizes
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) <= _MAX_SIZE:
            raise OverflowError("the size of a record does not fit into 4 bytes")
        self._sizes.frombytes(values.astype(np.uint32).tobytes())
        while (len(self._bytes)) * _BLOCK_ROWS <= len(self._sizes):
            start = (len(self._bytes) - 1) * _BLOCK_ROWS
            block = self._sizes[start : start + _BLOCK_ROWS]
            self._bytes.append(self._bytes[-1] + sum(block))
            self._sent.append(self._sent[-1] + _BLOCK_ROWS - block.count(0))

    def __len__(self) -> int:
        return len(self._sizes)

    def as_array(self) -> npt.NDArray[np.uint32]:
        """The sizes of all rows; not a copy, so no row can be added while it is in use."""
        return np.frombuffer(self._sizes, np.uint32)

    def bytes_before(self, row: int) -> int:
        """Bytes of the records of all rows before `row`."""
        block, start = self._block(row)
        return self._bytes[block] + sum(self._sizes[start:row])

    def sent_before(self, row: int) -> int:
        """Records to send among all rows before `row`."""
        block, start = self._block(row)
        rows = self._sizes[start:row]
        return self._sent[block] + len(rows) - rows.count(0)

    def row_after_bytes(self, total: int) -> int:
        """The largest row with `bytes_before(row) <= total`."""
        block = bisect_right(self._bytes, total) - 1
        row = block * _BLOCK_ROWS
        used = self._bytes[block]
        while row < len(self._sizes) and used + self._sizes[row] <= total:
            used += self._sizes[row]
            row += 1
        return row

    def row_after_sent(self, count: int) -> int:
        """The smallest row with `sent_before(row) == count`."""
        block = max(bisect_left(self._sent, count) - 1, 0)
        row = block * _BLOCK_ROWS
        sent = self._sent[block]
        while sent < count:
            sent += self._sizes[row] > 0
            row += 1
        return row

    def _block(self, row: int) -> tuple[int, int]:
        block = min(row // _BLOCK_ROWS, len(self._bytes) - 1)
        return block, block * _BLOCK_ROWS


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What one chunk may hold: records to send (skipped rows do not count), and bytes of JSONL."""

    records_per_job: int
    min_records: int = MIN_RECORDS_PER_JOB
    max_file_bytes: int = MAX_FILE_BYTES

    @property
    def least(self) -> int:
        """The records that a chunk should have at least; 0 if the request's own maximum is below the minimum."""
        return self.min_records if self.records_per_job >= self.min_records else 0


def plan_chunks(
    row_count: int,
    limits: ChunkLimits,
    sizes: RowSizes | None = None,
    previous: Sequence[ChunkRange] = (),
) -> list[ChunkRange]:
    """Cut rows into as few chunks as the limits allow, all of about the same number of records.

    1,050 rows at 1,000 a job are two chunks of 525, since the service refuses jobs under 100 records. If the
    request's maximum is so near to that minimum that equal chunks would all be refused (250 rows at 100 a job), the
    chunks are filled up instead and only the last one is short.

    With a `previous` plan its chunks keep their place as far as they still keep the limits, so that their jobs need
    not run again. A chunk that does not is evened out with its neighbours. New rows at the end get chunks of their
    own; too few of them join the last old chunk, or are evened out with the last old ones.

    Args:
        row_count: Rows to cut; each comes into exactly one chunk, in order.
        limits: What a chunk may hold.
        sizes: Bytes of each row's record, one entry a row. None: all rows are sent, and bytes do not matter.
        previous: The chunks of an earlier plan of the same batch, in order.

    Returns:
        The chunks, in order; none for no rows.

    Raises:
        RequestError: One record alone is too large for a file, or there would be more than 100,000 chunks.
    """
    if row_count == 0:
        return []
    planner = _Planner(limits, sizes if sizes is not None else RowSizes([1] * row_count), row_count)
    least_chunks = -(-planner.sizes.sent_before(row_count) // limits.records_per_job)
    if least_chunks <= MAX_CHUNKS_PER_BATCH:
        ends = planner.extended(previous)
        least_chunks = len(ends)
    if least_chunks > MAX_CHUNKS_PER_BATCH:
        raise RequestError(
            f"{row_count} rows at {limits.records_per_job} records a job make {least_chunks} jobs, and a batch has at "
            f"most {MAX_CHUNKS_PER_BATCH}: raise max_records_per_job."
        )
    starts = [0, *ends[:-1]]
    return [ChunkRange(index, start, end - start) for index, (start, end) in enumerate(zip(starts, ends, strict=True))]


def rows_for_jobs(sizes: RowSizes, limits: ChunkLimits, max_num_jobs: int) -> int:
    """How many rows, from the first on, fit into so many jobs.

    Raises:
        RequestError: One record alone is too large for a file.
    """
    planner = _Planner(limits, sizes, len(sizes))
    row = 0
    for _ in range(max_num_jobs):
        if row >= len(sizes):
            break
        row = planner.farthest_end(row)
    return min(row, max_num_jobs * limits.records_per_job)


# With how many neighbours a chunk that breaks the limits is evened out, before all that follow are planned anew.
_MAX_WINDOW_CHUNKS = 8


class _Planner:
    """Rows are cut right after a record that is sent: skipped rows open the chunk that follows, or end the last."""

    def __init__(self, limits: ChunkLimits, sizes: RowSizes, row_count: int) -> None:
        self.limits = limits
        self.sizes = sizes
        self.row_count = row_count

    def extended(self, previous: Sequence[ChunkRange]) -> list[int]:
        """The end rows of all chunks, with as many of those of `previous` as possible."""
        ends = self._kept(previous)
        start = ends[-1] if ends else 0
        if start == self.row_count:
            return ends
        sent = self._sent(start, self.row_count)
        if ends and (sent == 0 or sent < self.limits.least):
            last = ends[-2] if len(ends) > 1 else 0
            if self._fits(last, self.row_count):
                return [*ends[:-1], self.row_count]
            for count in range(1, min(len(ends), _MAX_WINDOW_CHUNKS) + 1):
                first = ends[-count - 1] if count < len(ends) else 0
                evened = self.balanced(first, self.row_count)
                if self._enough(first, evened):
                    return ends[:-count] + evened
        return ends + self.balanced(start, self.row_count)

    def _kept(self, previous: Sequence[ChunkRange]) -> list[int]:
        old = [0]
        for chunk in previous:
            if chunk.first_row != old[-1] or chunk.row_count < 1 or chunk.end_row > self.row_count:
                break
            old.append(chunk.end_row)
        ends: list[int] = []
        index = 0
        while index + 1 < len(old):
            start = ends[-1] if ends else 0
            if self._fits(start, old[index + 1]) and self._enough(start, [old[index + 1]]):
                ends.append(old[index + 1])
                index += 1
                continue
            for other in range(index + 2, min(len(old), index + 1 + _MAX_WINDOW_CHUNKS)):
                evened = self.balanced(start, old[other], chunks=other - index)
                if len(evened) == other - index and self._enough(start, evened):
                    ends += evened
                    index = other
                    break
            else:
                break
        return ends

    def balanced(self, start: int, stop: int, chunks: int = 0) -> list[int]:
        """The end rows of the chunks of rows `start` to `stop`: at least `chunks`, more only if limits ask it."""
        if self._sent(start, stop) == 0:
            return [stop]
        # Filled from the front, chunks are as few as can be; filled from the back, each starts as early as it may.
        count = max(len(self._filled(start, stop)), chunks)
        earliest = self._filled_backwards(start, stop, count)
        ends: list[int] = []
        row = start
        for left in range(count, 1, -1):
            remaining = self._sent(row, stop)
            share = -(-remaining // left)
            if remaining // left < self.limits.least:
                share = self.limits.least
            wanted = self._row_after(row, min(share, remaining))
            row = max(min(wanted, self.farthest_end(row)), earliest[left - 2])
            ends.append(row)
        return self._raised(start, [*ends, stop])

    def farthest_end(self, start: int) -> int:
        """The last row at which a chunk that begins at `start` may end.

        Raises:
            RequestError: Its first record alone is too large.
        """
        by_bytes = self.sizes.row_after_bytes(self.sizes.bytes_before(start) + self.limits.max_file_bytes)
        by_bytes = min(by_bytes, self.row_count)
        if by_bytes < self.row_count and self._sent(start, by_bytes) == 0:
            raise RequestError(
                f"The record of row {by_bytes + 1} (counted from 1) has more than {self.limits.max_file_bytes} "
                "bytes, the most that an input file may have: shorten its text."
            )
        if self._sent(start, by_bytes) <= self.limits.records_per_job:
            return by_bytes
        return self._row_after(start, self.limits.records_per_job)

    def _filled(self, start: int, stop: int) -> list[int]:
        ends = []
        while start < stop:
            start = min(self.farthest_end(start), stop)
            ends.append(start)
        # Skipped rows alone make no chunk.
        if len(ends) > 1 and self._sent(ends[-2], stop) == 0:
            ends[-2:] = [stop]
        return ends

    def _filled_backwards(self, start: int, stop: int, count: int) -> list[int]:
        """The earliest row at which the last one, two, ... of `count` chunks may begin."""
        rows: list[int] = []
        for _ in range(count - 1):
            spare = self.sizes.bytes_before(stop) - self.limits.max_file_bytes
            by_bytes = self.sizes.row_after_bytes(spare - 1) + 1 if spare > 0 else 0
            first_record = max(self.sizes.sent_before(stop) - self.limits.records_per_job, 0)
            stop = max(by_bytes, self.sizes.row_after_sent(first_record), start)
            rows.append(stop)
        return rows

    def _raised(self, start: int, ends: list[int]) -> list[int]:
        """The same chunks with short ones, left by rows of many bytes, filled up from the chunk before."""
        least = self.limits.least
        raised = list(ends)
        for index in range(len(ends) - 1, 0, -1):
            if 0 < self._sent(raised[index - 1], raised[index]) < least:
                wanted = max(self.sizes.sent_before(raised[index]) - least, self.sizes.sent_before(start))
                row = max(self.sizes.row_after_sent(wanted), start)
                if self._fits(row, raised[index]):
                    raised[index - 1] = row
        return raised if self._enough(start, raised) else ends

    def _row_after(self, start: int, records: int) -> int:
        return self.sizes.row_after_sent(self.sizes.sent_before(start) + records)

    def _sent(self, start: int, stop: int) -> int:
        return self.sizes.sent_before(stop) - self.sizes.sent_before(start)

    def _fits(self, start: int, stop: int) -> bool:
        return (
            self._sent(start, stop) <= self.limits.records_per_job
            and self.sizes.bytes_before(stop) - self.sizes.bytes_before(start) <= self.limits.max_file_bytes
        )

    def _enough(self, start: int, ends: Sequence[int]) -> bool:
        return all(
            self._sent(first, end) >= max(self.limits.least, 1)
            for first, end in zip([start, *ends[:-1]], ends, strict=True)
        )
