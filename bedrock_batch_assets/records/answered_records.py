"""Which records an output file settles, and which it leaves to be asked for again.

Reads ids and errors alone: answers are not built, which makes this several times cheaper than a join.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from bedrock_batch_assets.records.parsing import BinaryReader, ErrorBody, line_blocks

if TYPE_CHECKING:
    from collections.abc import Container

# Faults of the moment: the service's own HTTP statuses and error names for throttling, timeouts and server errors
# (Amazon Bedrock API Reference, "Common errors" and InvokeModel).
_PASSING_STATUSES = frozenset({408, 424, 429, 500, 502, 503, 504, 529})
_PASSING_NAMES = frozenset(
    {
        "InternalServerException",
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
        "ThrottlingException",
    }
)


_NULL = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    recordId: str | None = None  # noqa: N815  # the service's spelling
    modelOutput: msgspec.Raw = _NULL  # noqa: N815
    error: ErrorBody | None = None


def is_retryable(error: ErrorBody) -> bool:
    """Whether the same record might succeed another time. The service's own word counts first."""
    if error.retryable is not None:
        return error.retryable
    if error.expired:
        return True
    code = error.errorCode
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    return code in (_PASSING_STATUSES if isinstance(code, int) else _PASSING_NAMES)


def settled_records(source: BinaryReader | Iterable[bytes]) -> Iterator[str]:
    """The ids of records that have an answer or a final error. Lines that cannot be read settle nothing."""
    decode = msgspec.json.Decoder(_Line).decode
    for lines in line_blocks(source):
        for line in lines:
            try:
                content = decode(line)
            except (msgspec.DecodeError, UnicodeError):
                continue
            if content.recordId is None:
                continue
            if content.modelOutput != _NULL or (content.error is not None and not is_retryable(content.error)):
                yield content.recordId


def records_without(jsonl: Iterable[bytes], settled: Container[str]) -> list[bytes]:
    """The lines of a rendered JSONL file whose records are not settled, in order, with their newlines."""
    left: list[bytes] = []
    # The renderer writes the id first, so that it is found without parsing the record.
    start = len(b'{"recordId":"')
    for lines in line_blocks(jsonl):
        left.extend(line for line in lines if line[start : line.index(b'"', start)].decode() not in settled)
    return left
