"""Waiting for renewed credentials, which a run does while AWS does not accept those that it has.

A run lives for hours, a token often for one. So a run waits where it is, in whatever call it makes, says so once, and
goes on as soon as the credentials are renewed. Only the end of the run, such as a person's cancel, ends that wait.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bedrock_batch_assets.errors import CredentialsError, LapsedCredentialsError

logger = logging.getLogger(__name__)

# Credentials are looked for again after a second, then less and less often. Looking may run a person's program.
_FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# How soon a wait in a thread notices that the process is to end.
_SLICE_SECONDS = 0.5

# Takes the place of a service's name if the source of the credentials gives out none.
SOURCE = "source"

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RenewalWait:
    """How the run of this process waits for credentials. For any number of threads at once."""

    def __init__(self, say: Callable[[str], None], *, from_start: bool, sleep: Callable[[float], None]) -> None:
        """Wait with `sleep` and tell people with `say`. See `waiting_for_renewal` for `from_start`."""
        self._say = say
        self._from_start = from_start
        self._sleep = sleep
        self._lock = threading.Lock()
        # Services that do not accept the credentials now, with the number of pauses since, by whose these are.
        self._pauses: dict[str, dict[str, int]] = {}
        self._ending = threading.Event()

    def end(self) -> None:
        """End all waits: the process is about to end."""
        self._ending.set()

    def is_worth_it(self, problem: Exception, *, worked_before: bool) -> bool:
        """Whether to wait for this problem to go away.

        Credentials that worked in this process were right: whatever is wrong with them now was done since then, and can
        be undone. Those that never worked may be set up wrong, which waiting does not change, unless they have expired.
        """
        if self._ending.is_set():
            return False
        if worked_before:
            return isinstance(problem, CredentialsError)
        return self._from_start and isinstance(problem, LapsedCredentialsError)

    def pause(self, owner: str, service: str, problem: str) -> None:
        """Wait for some seconds, and tell people of the problem if they do not know of one yet.

        Args:
            owner: Whose credentials they are, e.g. a profile.
            service: Which service does not accept them, or `SOURCE`.
            problem: What is wrong, and what to do.
        """
        with self._lock:
            pauses = self._pauses.setdefault(owner, {})
            is_news = not pauses
            number = pauses.get(service, 0)
            pauses[service] = number + 1
        if is_news:
            self._tell(f"{problem} This run waits for that, and then goes on.")
        left = min(LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(number, 10))
        while left > 0 and not self._ending.is_set():
            self._sleep(min(left, _SLICE_SECONDS))
            left -= _SLICE_SECONDS

    def accepted(self, owner: str, service: str) -> None:
        """A service has accepted the credentials."""
        # This is called for each answer, and nearly always there is nothing to do.
        if not self._pauses.get(owner):
            return
        with self._lock:
            pauses = self._pauses[owner]
            is_waiting = bool(pauses)
            # The source is fine as soon as a service accepts what it gave out.
            for name in (service, SOURCE):
                pauses.pop(name, None)
            is_news = is_waiting and not pauses
        if is_news:
            self._tell("AWS accepts the credentials again: going on.")

    def _tell(self, text: str) -> None:
        try:
            self._say(text)
        except Exception:
            # Dagster's database may be away, and the caller may hold a paid answer, which must not be lost for that.
            logger.exception("people could not be told: %s", text)


_current: RenewalWait | None = None


def current_wait() -> RenewalWait | None:
    """How this process waits; None if it does not, as in sensors and on the command line."""
    return _current


@contextmanager
def waiting_for_renewal(
    say: Callable[[str], None], *, from_start: bool, sleep: Callable[[float], None] = time.sleep
) -> Iterator[RenewalWait]:
    """Let every call to AWS inside the block wait for renewed credentials, in all threads of this process.

    Args:
        say: Takes one line for people, once when a wait begins and once when it is over.
        from_start: Also wait if the credentials have expired before the first call. Without it, only credentials that
            were accepted inside this process are waited for.
        sleep: How to wait.
    """
    global _current  # noqa: PLW0603  # a run is a process
    wait = RenewalWait(say, from_start=from_start, sleep=sleep)
    former, _current = _current, wait
    try:
        with _ended_by_signals(wait), _without_traces():
            yield wait
    finally:
        wait.end()
        _current = former


@contextmanager
def _without_traces() -> Iterator[None]:
    """Keep botocore from logging a trace each time that credentials cannot be renewed: one line was logged already."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Refreshing temporary credentials failed")

    logger = logging.getLogger("botocore.credentials")
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)


@contextmanager
def _ended_by_signals(wait: RenewalWait) -> Iterator[None]:
    """End the wait when the process is told to end.

    Dagster raises an exception in the main thread then. Other threads, which that one waits for before it ends, do not
    notice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        wait.end()
        former[signal.Signals(number)](number, frame)

    for number in _ENDING_SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            former[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
