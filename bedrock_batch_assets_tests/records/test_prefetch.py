import os
import threading
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pytest

from bedrock_batch_assets.records.prefetch import PrefetchedRows, map_prefetched


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True, params=[1, 2, 4])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """However many cores there are; and no thread outlives its reader."""
    count: int = request.param
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    return count


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_results_come_in_the_order_of_the_items(count: int) -> None:
    """As `map` gives them, whichever is done first, and no thread is left."""
    assert list(map_prefetched(lambda number: number * number, range(count))) == [n * n for n in range(count)]
    assert own_threads() == []


def test_an_error_comes_in_its_items_place() -> None:
    """The results before it come first, and no thread is left."""
    results = map_prefetched(lambda number: 12 // number, [1, 2, 3, 0, 4, 5])
    assert [next(results) for _ in range(3)] == [12, 6, 4]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert own_threads() == []


def test_an_error_of_the_items_is_the_readers() -> None:
    """It comes out as it is, after the results before it, and no thread is left."""

    def items() -> Iterator[int]:
        yield 1
        raise KeyError("items")

    results = map_prefetched(str, items())
    assert next(results) == "1"
    with pytest.raises(KeyError, match="items"):
        next(results)
    assert own_threads() == []


def test_a_reader_that_stops_leaves_nothing_behind() -> None:
    """Its threads end, what waits is not begun, and the items are closed."""
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(1_000)
        finally:
            closed.append(True)

    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number

    for number in map_prefetched(work, items()):
        if number == 3:
            break
    assert own_threads() == []
    assert closed == [True]
    assert len(done) <= 4 + 2 * 4


def test_only_a_few_items_are_taken_ahead(cores: int) -> None:
    """At most twice as many as there are cores are in memory, taken by the thread that reads."""
    taken: list[int] = []
    takers = set()

    def items() -> Iterator[int]:
        for number in range(50):
            takers.add(threading.current_thread())
            taken.append(number)
            yield number

    for read, _ in enumerate(map_prefetched(str, items())):
        assert len(taken) - read <= 2 * cores
    assert takers == {threading.current_thread()}


def test_work_is_done_at_the_same_time(cores: int) -> None:
    """As many items as there are cores are worked on at once: each waits for the others."""
    barrier = threading.Barrier(cores, timeout=10)
    assert len(list(map_prefetched(lambda _: barrier.wait(), range(4 * cores)))) == 4 * cores


@pytest.mark.parametrize("spare_cores", [0, 1, 2, 9])
def test_spare_cores_are_left_to_others(cores: int, spare_cores: int) -> None:
    """As many items as the other cores can are worked on at once, and one always is; not more are even taken."""
    workers = max(cores - spare_cores, 1)
    barrier = threading.Barrier(workers, timeout=10)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4 * workers):
            taken.append(number)
            yield number

    for read, _ in enumerate(map_prefetched(lambda _: barrier.wait(), items(), spare_cores=spare_cores)):
        assert len(taken) - read <= 2 * workers


def numbered(count: int) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pydict({"n": [number] * 100}) for number in range(count)]


def first_values(batches: Iterable[pa.RecordBatch]) -> list[int]:
    return [batch.column(0)[0].as_py() for batch in batches]


def test_batches_come_in_order_and_no_further_ahead_than_their_bytes() -> None:
    """The thread pauses while as much as it may is read and not taken; all come out, once."""
    taken: list[int] = []

    def source() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(numbered(20)):
            taken.append(number)
            yield batch

    with PrefetchedRows(source(), max_bytes=3 * 800) as batches:
        rest = iter(batches)
        assert first_values([next(rest)]) == [0]
        # One is taken, three fill what there is room for, and one more may be on its way.
        assert len(taken) <= 5
        assert first_values(rest) == list(range(1, 20))


def test_what_reading_raises_comes_after_the_batches_before_it() -> None:
    """In the thread that takes them."""

    def source() -> Iterator[pa.RecordBatch]:
        yield from numbered(2)
        raise ValueError("broken file")

    with PrefetchedRows(source(), max_bytes=10**6) as batches:
        rest = iter(batches)
        assert first_values([next(rest), next(rest)]) == [0, 1]
        with pytest.raises(ValueError, match="broken file"):
            next(rest)


def test_a_reader_that_is_left_early_is_closed() -> None:
    """Its thread ends, and so does what it reads from."""
    closed = threading.Event()

    def source() -> Iterator[pa.RecordBatch]:
        try:
            yield from numbered(100)
        finally:
            closed.set()

    with PrefetchedRows(source(), max_bytes=1):
        pass
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]
