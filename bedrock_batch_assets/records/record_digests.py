"""What makes two records the same: the digest of everything that is asked, without the record's id."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from bedrock_batch_assets.records.rendering import ID_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.records.rendering import RenderedRecords

# 128 bits of SHA-256: nobody can make two records that share an answer, by chance or on purpose.
DIGEST_BYTES = 16
DIGEST = np.dtype(f"S{DIGEST_BYTES}")
# One record of a claim (see `storage.claims`): its digest, the place of its chunk in the claim's list, and its place
# among the chunk's rows. Claims are sorted by digest.
INDEX = np.dtype([("digest", DIGEST), ("chunk", "<i4"), ("position", "<i4")])
# A line begins with the id: {"recordId":"r0000000042",…
_CONTENT_START = len('{"recordId":"') + ID_BYTES


def record_digests(records: RenderedRecords) -> npt.NDArray[np.bytes_]:
    """The digest of each row's record, of dtype `DIGEST`; zeros for a row that is not sent."""
    digests = np.zeros(len(records.line_sizes), DIGEST)
    found = []
    sent = np.flatnonzero(records.line_sizes)
    sizes = records.line_sizes[sent].tolist()
    line = 0
    sha256 = hashlib.sha256
    for piece in records.pieces:
        view = memoryview(piece)
        start, length = 0, len(view)
        while start < length:
            end = start + sizes[line]
            found.append(sha256(view[start + _CONTENT_START : end]).digest()[:DIGEST_BYTES])
            start, line = end, line + 1
    if found:
        digests[sent] = np.frombuffer(b"".join(found), DIGEST)
    return digests


def salted(digest: bytes, occurrence: int) -> bytes:
    """The digest of a record that is asked for once more on purpose: its `occurrence`-th repetition, from 1 on."""
    return hashlib.sha256(digest.ljust(DIGEST_BYTES, b"\0") + occurrence.to_bytes(8, "little")).digest()[:DIGEST_BYTES]
