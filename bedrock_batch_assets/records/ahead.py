"""Work done ahead of its reader, on the other cores: for functions that release the GIL, as Arrow's do."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More would be kept waiting by the one thread that reads and writes.
_MAX_WORKERS = 4


def mapped_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map`, with a few results worked out before they are asked for.

    Items are taken by the thread that asks, so that they may come from anything that is for one thread. At any time
    there are at most twice as many items and results in memory as the machine has cores, and at most eight.

    Raises:
        Exception: What `function` raised for an item, in that item's place.
    """
    workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
