"""Names of jobs: derived from what they are paid to do, so that the same work always finds the same job."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from bedrock_batch_assets.partition_keys import split_chunk_key

# A job name holds so many digits of the digest. They tell the contents of one chunk apart, so 48 bits are plenty.
DIGEST_LENGTH = 12

_JOB_NAME = re.compile(r"(?P<chunk>.+-[0-9]{5})-(?P<digest>[0-9a-f]{12})(?:-w(?P<wave>[1-9][0-9]?))?")


@dataclass(frozen=True, slots=True, order=True)
class JobName:
    """What a job does: `chunk` with the content `digest`, for the `wave`-th time.

    Wave 0 sends every record of the chunk; a later wave sends those that the earlier ones left unanswered.
    """

    chunk: str
    digest: str
    wave: int = 0

    def __str__(self) -> str:
        """The `jobName` that Bedrock sees; at most 63 characters, see `partitions.MAX_BATCH_KEY_LENGTH`."""
        return f"{self.family}-w{self.wave}" if self.wave else self.family

    @property
    def family(self) -> str:
        """What the names of all waves of this content have in common, for `nameContains`."""
        return f"{self.chunk}-{self.digest}"

    @property
    def batch(self) -> str:
        """The key of the batch that the chunk belongs to."""
        return split_chunk_key(self.chunk)[0]

    @property
    def client_request_token(self) -> str:
        """The idempotency token: one name, one token (its pattern takes no dots, so it is a digest)."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The parts of a job name, or None if it is not one of ours."""
        match = _JOB_NAME.fullmatch(name)
        if match is None:
            return None
        return cls(match["chunk"], match["digest"], int(match["wave"] or 0))


def content_digest(*parts: str | bytes) -> str:
    """Digest of what a job is paid for: model, kind of invocation, and the SHA-256 of its rendered records."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:DIGEST_LENGTH]
