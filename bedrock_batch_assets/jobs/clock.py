"""Time and randomness as values, so that tests can inject their own."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Time, so that tests can inject their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = field(default=random.random)

    def backoff(self, attempt: int, longest: float) -> float:
        """Seconds before try number `attempt` (from 0): doubling from 1 s up to `longest`, jittered by half."""
        return min(longest, float(2 ** min(attempt, 16))) * (0.5 + self.random() / 2)
