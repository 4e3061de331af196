"""Work done ahead of its reader, on the other cores: for functions that release the GIL, as Arrow's do."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More workers would wait for the one thread that reads and writes.
_MAX_WORKERS = 4


def map_prefetched(
    function: Callable[[Item], Result], items: Iterable[Item], *, spare_cores: int = 0
) -> Iterator[Result]:
    """`map`, with a few results worked out before they are asked for.

    Items are taken by the thread that asks, so that they may come from anything that is for one thread. At any time
    there are at most twice as many items and results in memory as the machine has cores, and at most eight.

    Raises:
        Exception: What `function` raised for an item, in that item's place; or what `items` raised, after the results
            of the items before.
    """
    workers = max(min((os.cpu_count() or 1) - spare_cores, _MAX_WORKERS), 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    problem: Exception | None = None
    try:
        while problem is None:
            try:
                waiting.append(pool.submit(function, next(source)))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised in its place
                problem = error
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if problem is not None:
            raise problem
    finally:
        pool.shutdown(cancel_futures=True)


class Rows(Protocol):
    """Some rows, decoded or not."""

    @property
    def nbytes(self) -> int:
        """Their size in memory."""
        ...


SomeRows = TypeVar("SomeRows", bound=Rows)


class PrefetchedRows(Generic[SomeRows]):
    """Rows that a thread reads ahead from the beginning of a `with` block on, while its owner does other work.

    Args:
        batches: From where; iterated, and closed, in that thread alone.
        max_bytes: The thread pauses while so much is read and not yet taken.
    """

    def __init__(self, batches: Iterable[SomeRows], max_bytes: int) -> None:
        self._batches = batches
        self._max_bytes = max_bytes
        self._read: deque[SomeRows] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[SomeRows]:
        """The batches, in order; once.

        Raises:
            Exception: What reading raised, after the batches before it.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._read or self._is_over)
                if not self._read:
                    break
                batch = self._read.popleft()
                self._bytes -= batch.nbytes
                self._changed.notify_all()
            yield batch
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for batch in self._batches:
                with self._changed:
                    self._read.append(batch)
                    self._bytes += batch.nbytes
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._bytes < self._max_bytes or self._is_over)
                    if self._is_over:
                        break
        except BaseException as error:  # noqa: BLE001 - raised where the batches are taken
            self._error = error
        finally:
            if (close := getattr(self._batches, "close", None)) is not None:
                close()
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
