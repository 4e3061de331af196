"""The `error` member of an output line: its text, and whether asking again might help."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bedrock_batch_assets.error_codes import passes_by_itself

# How much is shown of an error of an undocumented shape.
_MAX_ODD_CHARACTERS = 1_000


class ErrorBody(msgspec.Struct, gc=False):
    """The `error` of a line. The documentation has numbers as codes, a sample of AWS has strings."""

    errorCode: int | str | None = None  # noqa: N815  # the service's spelling
    errorMessage: str | None = None  # noqa: N815
    retryable: bool | None = None
    expired: bool | None = None

    def text(self) -> str:
        """Code and message in one line: `400: bad request`."""
        parts = [str(part) for part in (self.errorCode, self.errorMessage) if part not in {None, ""}]
        notes = [name for name in ("retryable", "expired") if getattr(self, name)]
        text = ": ".join(parts) or "the service gave no reason"
        return f"{text} ({', '.join(notes)})" if notes else text

    @property
    def passes(self) -> bool:
        """Whether the same record might succeed another time. The service's `retryable` counts first."""
        if self.retryable is not None:
            return self.retryable
        if self.expired:
            return True
        return passes_by_itself(self.errorCode)


def read_error(value: Any) -> ErrorBody | None:
    """The `error` member of a line, whatever its shape: what cannot be read as a member becomes the message's text."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, ErrorBody)
    except msgspec.ValidationError:
        pass
    if not isinstance(value, dict):
        return ErrorBody(errorMessage=_odd_text(value))
    code, message = value.get("errorCode"), value.get("errorMessage")
    if isinstance(code, float) and code.is_integer():
        code = int(code)
    flags = {name: value[name] for name in ("retryable", "expired") if isinstance(value.get(name), bool)}
    return ErrorBody(
        errorCode=code if isinstance(code, str) or type(code) is int else None,
        # The message alone if the rest could be read, else the whole error.
        errorMessage=message if isinstance(message, str) and type(code) in {int, str} else _odd_text(value),
        **flags,
    )


def _odd_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_ODD_CHARACTERS else f"{text[:_MAX_ODD_CHARACTERS]}…"
