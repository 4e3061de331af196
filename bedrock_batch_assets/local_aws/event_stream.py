"""The binary stream of events in which the runtime's streaming operations answer.

Source of the format: AWS SDK documentation, "Event stream encoding" (`application/vnd.amazon.eventstream`).
"""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

CONTENT_TYPE = "application/vnd.amazon.eventstream"
# Headers have a type byte each: 7 is a string with a length of two bytes.
_STRING = 7
# Total length, length of the headers, and the checksum of the two; behind the payload comes a checksum of all.
_PRELUDE_BYTES = 12
_CHECKSUM_BYTES = 4


def event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """One event of a stream, its payload as JSON."""
    headers = b"".join(
        _header(name, value)
        for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    )
    body = msgspec.json.encode(payload)
    total = _PRELUDE_BYTES + len(headers) + len(body) + _CHECKSUM_BYTES
    prelude = struct.pack(">II", total, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(value)) + value.encode()
