"""Output lines of a job, one at a time: `.jsonl.out` files as the service writes them.

A line that cannot be read never stops the others. The echo of `modelInput`, most of a line, is not looked at.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.records.error_bodies import ErrorBody, read_error
from bedrock_batch_assets.records.lenient_bodies import convert_leniently, without_deep_nesting
from bedrock_batch_assets.records.vectors import MARK, VectorReader

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor

# Small enough to stay in the processor's cache (measured: 64 KiB to 512 KiB are alike, 4 MiB are slower).
_BLOCK_BYTES = 1 << 18

# The largest token count: a column of 64-bit numbers can still add these up.
MAX_TOKENS = 2**40

# Where the echo ends, in the service's order of members. Inside of a string its quotes would be escaped; where a text
# ends in it, no colon follows, and what is cut off there is no JSON.
OUTPUT_KEY = b'"modelOutput"'
ID_HEAD = b'{"recordId":"'
_MAX_ID_BYTES = 64
_MAX_INTEGER_DIGITS = 100

_RECORD_ID = re.compile(rb'"recordId"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class BinaryReader(Protocol):
    """A file, an S3 body, or anything else that bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class OutputRecord(msgspec.Struct, frozen=True, gc=False):
    """The contents of one output line. Exactly one of `answer` and `error` is set.

    Attributes:
        record_id: None if the line has none.
        answer: The model's answer.
        error: Why there is no answer, in one line.
        corrupt: The line could not be read. The error says so.
        retryable: The record is left to be asked for again: the line could not be read, it says nothing, or its error
            is one of the moment. This is what decides whether a record is settled, and nothing else does.
    """

    record_id: str | None
    answer: ModelAnswer | None = None
    error: str | None = None
    corrupt: bool = False
    retryable: bool = False


def checked(record: OutputRecord) -> OutputRecord:
    """The record with nothing in its answer that does not fit the columns of the result.

    Processors of a user's own take answers from bodies that nobody has checked. A stop reason or a token count that
    does not fit becomes null, since the answer was paid for. A response that is no text is an error.
    """
    answer = record.answer
    if answer is None:
        return record
    response: object = answer.response
    if not isinstance(response, str | None):
        return OutputRecord(record.record_id, None, f"unexpected model output: it was read as {answer}")
    if (
        isinstance(answer.stop_reason, str | None)
        and _is_token_count(answer.input_tokens)
        and _is_token_count(answer.output_tokens)
    ):
        return record
    return OutputRecord(
        record.record_id,
        ModelAnswer(
            response=response,
            embedding=answer.embedding,
            stop_reason=answer.stop_reason if isinstance(answer.stop_reason, str) else None,
            truncated=answer.truncated is True,
            input_tokens=answer.input_tokens if _is_token_count(answer.input_tokens) else None,
            output_tokens=answer.output_tokens if _is_token_count(answer.output_tokens) else None,
        ),
    )


def _is_token_count(tokens: object) -> bool:
    return tokens is None or (type(tokens) is int and abs(tokens) < MAX_TOKENS)


def line_blocks(source: BinaryReader | Iterable[bytes]) -> Iterator[list[bytes]]:
    r"""The lines of a file, with their newlines, as many at a time as were read together.

    Only `\n` ends a line: U+2028 and U+0085, which JSON does not escape, do not.

    Args:
        source: A binary file, or its content in blocks of any size.
    """
    unfinished: list[bytes] = []
    for block in _blocks(source):
        # Not `block.split`, which looks at one byte at a time: six times as fast (measured).
        lines = io.BytesIO(block).readlines()
        if not lines:
            continue
        if unfinished:
            unfinished.append(lines[0])
            if not lines[0].endswith(b"\n"):
                continue
            lines[0] = b"".join(unfinished)
            unfinished = []
        if not lines[-1].endswith(b"\n"):
            unfinished = [lines.pop()]
        yield lines
    if unfinished:
        yield [b"".join(unfinished)]


def _blocks(source: BinaryReader | Iterable[bytes]) -> Iterable[bytes]:
    read = getattr(source, "read", None)
    if read is None:
        return source  # type: ignore[return-value]
    return iter(lambda: read(_BLOCK_BYTES), b"")


class OutputParser:
    """Parses the output lines of one processor's records."""

    def __init__(self, processor: BaseProcessor) -> None:
        """Prepare the decoder for `processor.output_type`."""
        self._process_output = processor.process_output
        self._body_type: Any = processor.output_type or dict
        body = self._body_type
        self._line_type: Any = msgspec.defstruct(
            "OutputLine",
            [
                ("recordId", str | None, None),
                ("modelOutput", body | None, None),
                ("error", ErrorBody | None, None),
            ],
            gc=False,
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._line_type).decode
        self._vector_field = processor.vector_field or ""
        has_vector = self._vector_field in getattr(processor.output_type, "__struct_fields__", ())
        self._vectors = VectorReader(self._vector_field) if has_vector else None

    def parse(self, source: BinaryReader | Iterable[bytes]) -> Iterator[OutputRecord]:
        """Parse a whole file, see `line_blocks`. Never raises for what is in it. Blank lines are left out."""
        for lines in line_blocks(source):
            yield from map(checked, self.parse_lines(lines))

    def parse_lines(self, lines: Iterable[bytes]) -> list[OutputRecord]:
        """Parse some lines. Their records are not yet `checked`."""
        decode, process_output = self._decode, self._process_output
        records: list[OutputRecord] = []
        for line in lines:
            if self._vectors is not None and (record := self._read_vector(line)) is not None:
                records.append(record)
                continue
            # Only what comes after the echo is decoded, if that is enough.
            start = line.find(OUTPUT_KEY)
            try:
                content = decode(line if start < 0 else b"{" + line[start:])
                output = content.modelOutput
                if output is None or content.recordId is None:
                    records.append(self._read(self._with_head(content, line)))
                else:
                    records.append(OutputRecord(content.recordId, process_output(output)))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                if not line.isspace():
                    records.append(self._parse_slowly(line))
        return records

    def _with_head(self, content: Any, line: bytes) -> Any:
        """The content of a line that has its id, or its error, before its echo.

        Raises:
            msgspec.DecodeError: The line is no JSON.
        """
        if content.modelOutput is not None and line.startswith(ID_HEAD):
            identifier, quote, _ = line[len(ID_HEAD) : len(ID_HEAD) + _MAX_ID_BYTES].partition(b'"')
            if quote and b"\\" not in identifier:
                content.recordId = identifier.decode()
                return content
        return self._decode(line)

    def _read_vector(self, line: bytes) -> OutputRecord | None:
        """The record of a line with one vector in its place; None if the line is to be read another way."""
        if self._vectors is None or (found := self._vectors.cut(line)) is None:
            return None
        rest, vector = found
        try:
            content = self._decode(rest)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        output = content.modelOutput
        if content.recordId is None or output is None or getattr(output, self._vector_field) != MARK:
            return None
        setattr(output, self._vector_field, vector)
        return self._read(content)

    def _parse_slowly(self, line: bytes) -> OutputRecord:
        try:
            return self._read(self._decode(line))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._parse_odd_line(line)

    def _read(self, line: Any) -> OutputRecord:
        if line.modelOutput is None:
            return _without_answer(line.recordId, line.error)
        try:
            return OutputRecord(line.recordId, self._process_output(line.modelOutput))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            return OutputRecord(line.recordId, None, f"unexpected model output: {error}")

    def _parse_odd_line(self, line: bytes) -> OutputRecord:
        """Read what the strict decoder refuses, as far as it can be read: an answer that was paid for is kept.

        Python's own decoder takes half surrogates, control characters and NaN, and replaced characters stand for bytes
        that are not UTF-8. Whatever is nested too deeply for it becomes null.
        """
        text = without_deep_nesting(line).decode("utf-8", "replace")
        try:
            content = _without_lone_surrogates(json.loads(text, strict=False, parse_int=_integer))
        except ValueError:
            found = _RECORD_ID.search(line)
            identifier = found[1].decode() if found else None
            return OutputRecord(identifier, error="the output line is not valid JSON", corrupt=True, retryable=True)
        identifier = content.get("recordId") if isinstance(content, dict) else None
        if not isinstance(identifier, str):
            return OutputRecord(None, error="the output line has no recordId", corrupt=True, retryable=True)
        output = content.get("modelOutput")
        if output is None:
            return _without_answer(identifier, read_error(content.get("error")))
        try:
            answer = self._process_output(convert_leniently(output, self._body_type))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            reason = self._misfit(output) or error
            return OutputRecord(identifier, error=f"unexpected model output: {reason}")
        return OutputRecord(identifier, answer)

    def _misfit(self, output: Any) -> msgspec.ValidationError | None:
        """Where a body differs from the family's; None if it does not."""
        try:
            msgspec.convert(output, self._body_type)
        except msgspec.ValidationError as error:
            return error
        return None


def _without_answer(identifier: str | None, error: ErrorBody | None) -> OutputRecord:
    if error is None:
        reason = "the output line has neither modelOutput nor error"
        return OutputRecord(identifier, error=reason, retryable=True)
    return OutputRecord(identifier, error=error.text(), retryable=error.passes)


def _integer(digits: str) -> int | float:
    # Python refuses to make an integer of thousands of digits (sys.set_int_max_str_digits).
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(item) for key, item in value.items()}
    return value
