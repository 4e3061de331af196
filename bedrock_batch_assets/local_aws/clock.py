"""The stand-in's time: the system's, or a manual one."""

import threading
import time


class Clock:
    """Seconds since the epoch. Never goes back, also if it changes from manual to system time."""

    def __init__(self, manual: bool = False) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self._stopped_at: float | None = time.time() if manual else None

    @property
    def manual(self) -> bool:
        """Whether time stands still until `move_to`."""
        return self._stopped_at is not None

    def now(self) -> float:
        """The time."""
        with self._lock:
            return self._now()

    def _now(self) -> float:
        return time.time() + self._ahead if self._stopped_at is None else self._stopped_at

    def set_manual(self, manual: bool) -> None:
        """Stop the clock, or let it run on from where it stands."""
        with self._lock:
            if manual and self._stopped_at is None:
                self._stopped_at = self._now()
            elif not manual and self._stopped_at is not None:
                self._ahead = self._stopped_at - time.time()
                self._stopped_at = None

    def move_to(self, when: float) -> None:
        """Move a stopped clock forward."""
        with self._lock:
            if self._stopped_at is not None:
                self._stopped_at = max(self._stopped_at, when)
