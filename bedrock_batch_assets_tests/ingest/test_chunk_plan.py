import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.chunk_plan import ChunkLimits, ChunkRange, RowSizes, plan_chunks, rows_for_jobs


def cuts(chunks: list[ChunkRange]) -> list[tuple[int, int]]:
    return [(chunk.first_row, chunk.row_count) for chunk in chunks]


def check_whole(chunks: list[ChunkRange], row_count: int) -> None:
    """Every row is in exactly one chunk, in order, and indices count from 0."""
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.row_count > 0 for chunk in chunks)
    assert [chunk.first_row for chunk in chunks] == [0, *(chunk.end_row for chunk in chunks)][: len(chunks)]
    assert (chunks[-1].end_row if chunks else 0) == row_count


def sent(sizes: list[int], chunk: ChunkRange) -> int:
    return sum(size > 0 for size in sizes[chunk.first_row : chunk.end_row])


# Rows that are skipped, small, or so large that the bytes of a chunk bind.
row_sizes = st.lists(st.sampled_from([0, 1, 2, 30]), max_size=500)
limits = st.builds(
    ChunkLimits, records_per_job=st.integers(1, 400), min_records=st.just(20), max_file_bytes=st.integers(30, 3_000)
)


@pytest.mark.parametrize(
    ("row_count", "records_per_job", "expected"),
    [
        (0, 1_000, []),
        (1, 1_000, [(0, 1)]),
        (1_000, 1_000, [(0, 1_000)]),
        (1_050, 1_000, [(0, 525), (525, 525)]),
        (2_050, 1_000, [(0, 684), (684, 683), (1_367, 683)]),
        # Equal chunks of 83 would all be refused.
        (250, 100, [(0, 100), (100, 100), (200, 50)]),
        # The request wants jobs that the service refuses anyway.
        (75, 50, [(0, 38), (38, 37)]),
    ],
)
def test_rows_are_cut_evenly(row_count: int, records_per_job: int, expected: list[tuple[int, int]]) -> None:
    """A table is cut into as few chunks as can be, of one size, give or take one record."""
    assert cuts(plan_chunks(row_count, ChunkLimits(records_per_job))) == expected


@given(st.integers(0, 5_000), st.integers(20, 1_500))
@settings(deadline=None)
def test_without_bytes_chunks_differ_by_one_record(row_count: int, records_per_job: int) -> None:
    """If bytes do not bind, chunks are as few as can be, differ by one record at most, and are over the minimum."""
    chunks = plan_chunks(row_count, ChunkLimits(records_per_job))
    check_whole(chunks, row_count)
    assert len(chunks) == -(-row_count // records_per_job)
    counts = [chunk.row_count for chunk in chunks]
    assert all(count <= records_per_job for count in counts)
    if counts and row_count // len(counts) >= 100:
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 100
    elif records_per_job >= 100:
        assert sum(count < 100 for count in counts) <= 1


@given(row_sizes, limits)
@settings(max_examples=200, deadline=None)
def test_limits_hold_for_any_rows(sizes: list[int], limit: ChunkLimits) -> None:
    """No chunk is over its records or bytes, however many rows are skipped and however large they are."""
    chunks = plan_chunks(len(sizes), limit, RowSizes(sizes))
    check_whole(chunks, len(sizes))
    for chunk in chunks:
        assert sent(sizes, chunk) <= limit.records_per_job
        assert sum(sizes[chunk.first_row : chunk.end_row]) <= limit.max_file_bytes
        assert sent(sizes, chunk) > 0 or len(chunks) == 1


@given(st.lists(st.booleans(), min_size=1, max_size=2_000), st.integers(200, 1_000))
@settings(deadline=None)
def test_skipped_rows_do_not_count(kept: list[bool], records_per_job: int) -> None:
    """Chunks are balanced by the records that are sent, and none is under the minimum if there are enough of them."""
    sizes = [int(keep) for keep in kept]
    chunks = plan_chunks(len(sizes), ChunkLimits(records_per_job), RowSizes(sizes))
    counts = [sent(sizes, chunk) for chunk in chunks]
    assert max(counts) - min(counts) <= 1
    assert min(counts) >= min(100, sum(sizes))


@given(row_sizes, row_sizes, limits, limits, st.integers(0, 500))
@settings(max_examples=200, deadline=None)
def test_replanning_keeps_the_limits(
    old: list[int], new: list[int], limit: ChunkLimits, new_limit: ChunkLimits, kept: int
) -> None:
    """Whatever the table was before, a new plan covers each row once, inside the limits."""
    previous = plan_chunks(len(old), limit, RowSizes(old))
    sizes = [*old[:kept], *new]
    chunks = plan_chunks(len(sizes), new_limit, RowSizes(sizes), previous)
    check_whole(chunks, len(sizes))
    for chunk in chunks:
        assert sent(sizes, chunk) <= new_limit.records_per_job
        assert sum(sizes[chunk.first_row : chunk.end_row]) <= new_limit.max_file_bytes


@given(st.integers(1, 3_000), st.integers(0, 3_000), st.integers(200, 1_000))
@settings(deadline=None)
def test_appended_rows_leave_old_chunks_alone(rows: int, more: int, records_per_job: int) -> None:
    """Rows added at the end change the last old chunk at most, unless a small rest has to be evened out."""
    limit = ChunkLimits(records_per_job)
    previous = plan_chunks(rows, limit)
    chunks = plan_chunks(rows + more, limit, None, previous)
    check_whole(chunks, rows + more)
    if more == 0 or more >= 100 <= rows:
        assert chunks[: len(previous)] == previous
    else:
        # A chunk has 100 records to give away, or two have.
        kept = max(len(previous) - 2, 0)
        assert chunks[:kept] == previous[:kept]
    if rows + more >= 100:
        assert min(chunk.row_count for chunk in chunks) >= 100


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1_050, 1_050, [(0, 525), (525, 525)]),
        # 10 rows are no job: they join the last one.
        (1_050, 1_060, [(0, 525), (525, 535)]),
        # 350 are.
        (1_050, 1_400, [(0, 525), (525, 525), (1_050, 350)]),
        # 10 more do not fit into the last one.
        (2_000, 2_010, [(0, 1_000), (1_000, 505), (1_505, 505)]),
        # Rows went away from the end.
        (2_000, 1_950, [(0, 1_000), (1_000, 950)]),
        (2_000, 1_050, [(0, 525), (525, 525)]),
        (2_000, 90, [(0, 90)]),
    ],
)
def test_replanning_examples(old: int, new: int, expected: list[tuple[int, int]]) -> None:
    """New rows get chunks of their own if they are enough, else they join the last old ones."""
    limit = ChunkLimits(1_000)
    assert cuts(plan_chunks(new, limit, None, plan_chunks(old, limit))) == expected


def test_a_chunk_that_outgrew_its_limit_is_evened_out_with_its_neighbour() -> None:
    """Chunks before and after the two that share the load keep both place and index."""
    limit = ChunkLimits(1_000, max_file_bytes=1_500)
    previous = plan_chunks(3_200, limit)
    sizes = RowSizes([1] * 800 + [2] * 800 + [1] * 1_600)
    chunks = plan_chunks(3_200, limit, sizes, previous)
    assert cuts(previous) == [(0, 800), (800, 800), (1_600, 800), (2_400, 800)]
    assert cuts(chunks) == [(0, 800), (800, 750), (1_550, 850), (2_400, 800)]


def test_bytes_bound_a_chunk() -> None:
    """120 records of 10 MB do not fit into 1 GB, so the first chunk takes 100 of them, and the rest is even."""
    sizes = RowSizes([10_000_000] * 120 + [100] * 1_000)
    assert cuts(plan_chunks(1_120, ChunkLimits(1_000), sizes)) == [(0, 100), (100, 510), (610, 510)]


def test_a_record_larger_than_a_file_is_refused() -> None:
    """One record over 1 GB fits into no job: the message names its row, counted from 1."""
    with pytest.raises(RequestError, match=r"row 3 \(counted from 1\).*shorten"):
        plan_chunks(3, ChunkLimits(1_000), RowSizes([1, 1, 1_000_000_001]))


def test_too_many_chunks_are_refused() -> None:
    """More than 100,000 chunks have no keys: the message says what to raise."""
    with pytest.raises(RequestError, match=r"100001 jobs.*raise max_records_per_job"):
        plan_chunks(100_001, ChunkLimits(1))


@given(row_sizes, limits, st.integers(1, 5))
@settings(deadline=None)
def test_rows_for_jobs_fit_into_so_many_jobs(sizes: list[int], limit: ChunkLimits, jobs: int) -> None:
    """The rows that are taken make no more jobs than asked for, and the next record would not fit."""
    rows = rows_for_jobs(RowSizes(sizes), limit, jobs)
    assert len(plan_chunks(rows, limit, RowSizes(sizes[:rows]))) <= jobs
    if rows < min(len(sizes), jobs * limit.records_per_job):
        assert len(plan_chunks(rows + 1, limit, RowSizes(sizes[: rows + 1]))) > jobs


@given(st.lists(st.integers(0, 5), max_size=1_200), st.integers(0, 6_000))
@settings(deadline=None)
def test_row_sizes_answer_like_plain_sums(sizes: list[int], total: int) -> None:
    """The indexed sums are the sums, at every row and beyond every block."""
    index = RowSizes(sizes[:300])
    index.extend(sizes[300:])
    assert len(index) == len(sizes)
    for row in range(0, len(sizes) + 1, 37):
        assert index.bytes_before(row) == sum(sizes[:row])
        assert index.sent_before(row) == sum(size > 0 for size in sizes[:row])
    row = index.row_after_bytes(total)
    assert sum(sizes[:row]) <= total
    assert row == len(sizes) or sum(sizes[: row + 1]) > total
    wanted = min(total, sum(size > 0 for size in sizes))
    row = index.row_after_sent(wanted)
    assert sum(size > 0 for size in sizes[:row]) == wanted
    assert row == 0 or sizes[row - 1] > 0


@pytest.mark.parametrize("sizes", [[1, 2**32], [-1, 5], [2**70]])
@pytest.mark.parametrize("as_array", [True, False])
def test_a_size_that_four_bytes_do_not_hold_is_refused(sizes: list[int], as_array: bool) -> None:
    """It never wraps around into a small one, and what is there stays."""
    index = RowSizes([7])
    with pytest.raises(OverflowError):
        index.extend(np.array(sizes) if as_array and max(sizes) < 2**63 else sizes)
    assert (len(index), index.bytes_before(1)) == (1, 7)
    index.extend(np.array([2**32 - 1, 0]))
    assert (index.bytes_before(3), index.sent_before(3)) == (2**32 + 6, 2)
