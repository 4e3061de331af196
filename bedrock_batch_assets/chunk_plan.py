"""Cutting a batch's rows into chunks: one chunk, one input file, one job."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.partitions import MAX_CHUNKS_PER_BATCH

# "Batch inference input file size (in GB)": 1, and "Batch inference job size (in GB)": 5 (AWS General Reference,
# Bedrock quotas). A job has one file here, so the file's bound is the job's. Decimal GB, the smaller reading.
MAX_FILE_BYTES = 1_000_000_000
# "Minimum number of records per batch inference job": the service fails jobs under it after accepting them (AWS General
# Reference, Bedrock quotas).
MIN_RECORDS_PER_JOB = 100

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
        """Append rows.

        Raises:
            OverflowError: A size is negative or does not fit into 4 bytes.
        """
        self._sizes.extend(sizes)
        while (len(self._bytes)) * _BLOCK_ROWS <= len(self._sizes):
            start = (len(self._bytes) - 1) * _BLOCK_ROWS
            block = self._sizes[start : start + _BLOCK_ROWS]
            self._bytes.append(self._bytes[-1] + sum(block))
            self._sent.append(self._sent[-1] + _BLOCK_ROWS - block.count(0))

    def __len__(self) -> int:
        return len(self._sizes)

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
