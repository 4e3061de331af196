"""Which calls, records, jobs and events go wrong, as the settings say."""

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from bedrock_batch_assets.local_aws.settings import ApiFault, JobEnding, RecordFaults, Settings

RecordFault = Literal["error", "truncate", "missing", "twice", "corrupt"]
EventFault = Literal["drop", "twice"]
_ORDER: tuple[RecordFault, ...] = ("error", "truncate", "missing", "twice", "corrupt")


@dataclass(slots=True)
class _Counted:
    """A fault with the number of times it may still strike (None: no limit), and until when."""

    fault: ApiFault | JobEnding
    left: int | None
    until: float | None = None

    def strikes(self, rng: random.Random, now: float) -> bool:
        if self.left == 0:
            return False
        if isinstance(self.fault, ApiFault) and self.fault.seconds is not None:
            self.until = now + self.fault.seconds if self.until is None else self.until
            if now >= self.until:
                return False
        if self.left is not None:
            self.left -= 1
        return self.fault.share >= 1.0 or rng.random() < self.fault.share


class Faults:
    """Draws faults. Choices follow from the settings' seed and, for records, from their content alone."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._tries: Counter[bytes] = Counter()
        self._settings = settings
        self._start(settings)

    def _start(self, settings: Settings) -> None:
        self._any_record_fault = _any(settings)
        self._random = random.Random(settings.seed)
        self._api = [_Counted(fault, fault.count) for fault in settings.api_faults]
        self._endings = [_Counted(fault, fault.count) for fault in settings.job_endings]

    def set(self, settings: Settings) -> None:
        """Follow other settings. A list of faults that did not change keeps its counts."""
        with self._lock:
            old, self._settings = self._settings, settings
            self._any_record_fault = _any(settings)
            if settings.seed != old.seed:
                self._random = random.Random(settings.seed)
            if settings.api_faults != old.api_faults:
                self._api = [_Counted(fault, fault.count) for fault in settings.api_faults]
            if settings.job_endings != old.job_endings:
                self._endings = [_Counted(fault, fault.count) for fault in settings.job_endings]

    def reset(self, settings: Settings) -> None:
        """Start anew: counts, random choices, and how often each record was tried."""
        with self._lock:
            self._tries.clear()
            self._settings = settings
            self._start(settings)

    def api(self, operation: str) -> ApiFault | None:
        """The fault that strikes this call of an operation, if any."""
        if not self._api:
            return None
        with self._lock:
            for counted in self._api:
                fault = counted.fault
                if (
                    isinstance(fault, ApiFault)
                    and fault.operation in {"*", operation}
                    and counted.strikes(self._random, self._now())
                ):
                    return fault
        return None

    def ending(self, job_name: str) -> JobEnding | None:
        """How this job is to end, if not Completed."""
        with self._lock:
            for counted in self._endings:
                fault = counted.fault
                if (
                    isinstance(fault, JobEnding)
                    and fnmatchcase(job_name, fault.name)
                    and counted.strikes(self._random, self._now())
                ):
                    return fault
        return None

    def event(self) -> EventFault | None:
        """The fault that strikes this event, if any."""
        faults = self._settings.event_faults
        if not faults.drop and not faults.twice:
            return None
        with self._lock:
            drawn = self._random.random()
        if drawn < faults.drop:
            return "drop"
        return "twice" if drawn < faults.drop + faults.twice else None

    def record(self, digest: bytes) -> RecordFault | None:
        """The fault that strikes this try of a record, if any."""
        if not self._any_record_fault:
            return None
        with self._lock:
            faults = self._settings.record_faults
            tries = self._tries[digest]
            self._tries[digest] += 1
        return _pick(faults, _draw(self._settings.seed, digest, 0 if faults.permanent else tries))


def _any(settings: Settings) -> bool:
    return any(getattr(settings.record_faults, name) for name in _ORDER)


def _draw(seed: int, digest: bytes, tries: int) -> float:
    """A number from 0 to 1 that follows from its arguments."""
    drawn = hashlib.blake2b(digest + b"%d/%d" % (seed, tries), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / 2**64


def _pick(faults: RecordFaults, drawn: float) -> RecordFault | None:
    limit = 0.0
    for name in _ORDER:
        limit += getattr(faults, name)
        if drawn < limit:
            return name
    return None
