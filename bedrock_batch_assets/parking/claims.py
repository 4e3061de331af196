"""Who gives a run its next process, and which process works on it: one each, decided by S3.

Two daemons during a redeploy, or a task that starts twice since an answer was lost, would otherwise both go on with one
run. The instance's database has no compare-and-swap that is public; a conditional PUT on S3 is one.
"""

import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable


def _now() -> datetime:
    return datetime.now(UTC)


class RunClaims:
    """The claims on one run's processes, which are numbered from 1 on.

    Args:
        storage: The bucket that keeps them; a lifecycle rule deletes them.
        run_id: The run.
        now: Time, for tests.
    """

    def __init__(self, storage: BatchBucket, run_id: str, *, now: "Callable[[], datetime]" = _now) -> None:
        self._storage = storage
        self._run_id = run_id
        self._now = now

    @classmethod
    def of_environment(cls, run_id: str) -> Self:
        """The claims in the bucket that BEDROCK_BATCH_BUCKET names, as launcher and run workers see them."""
        return cls(BatchBucket(bucket=os.environ.get(BUCKET_VARIABLE, "")), run_id)

    def start(self, number: int) -> bool:
        """Claim to start process `number`. False if somebody else has."""
        return self._take(self._start_key(number))

    def work(self, number: int) -> bool:
        """Claim to be process `number`. False if another process is."""
        return self._take(f"{self._folder}work-{number}")

    def start_age(self, number: int) -> float:
        """Seconds since somebody claimed to start process `number`; 0 if nobody has."""
        found = self._storage.objects.head(self._start_key(number))
        return 0.0 if found is None else (self._now() - found.last_modified).total_seconds()

    @property
    def _folder(self) -> str:
        return self._storage.layout.parked_run(self._run_id)

    def _start_key(self, number: int) -> str:
        return f"{self._folder}start-{number}"

    def _take(self, key: str) -> bool:
        own = uuid.uuid4().hex.encode()
        # If its answer was lost and boto3 repeated it, the claim that is there may be this very one.
        return self._storage.objects.put_new(key, own) or self._storage.objects.get_bytes(key) == own
