"""Some hundred output lines, as columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.records.parsing import MAX_TOKENS, OutputRecord, checked
from bedrock_batch_assets.records.rendering import rows_of

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    import numpy.typing as npt

# Stands for a number of tokens that is not known. Known numbers are far smaller, see `parsing`.
UNKNOWN = np.iinfo(np.int64).min

_NO_ANSWER = ModelAnswer()
_NO_NUMBERS = np.empty(0, np.float64)


@dataclass(frozen=True, slots=True)
class AnswerBlock:
    """Some output lines, as columns with an entry per line.

    Attributes:
        rows: The row of the batch that a line is about, -1 if of none.
        starts: Where its answer begins in `contents`.
        lengths: Bytes of the answer: UTF-8 text or float32 numbers. 0 if there is none.
        truncated: Whether the answer stopped at the token limit.
        stop_reasons: Index into `reasons`.
        reasons: The stop reasons that occur.
        input_tokens: `UNKNOWN` if they are not told.
        output_tokens: As the above.
        corrupt: Lines that could not be read.
        retryable: Lines that leave their record to be asked for again, see `OutputRecord`.
        errors: For every line without an answer, by its place: why.
        contents: The answers, as if these pieces were one.
    """

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]
    stop_reasons: npt.NDArray[np.int64]
    reasons: list[str | None]
    input_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    corrupt: npt.NDArray[np.bool_]
    retryable: npt.NDArray[np.bool_]
    errors: dict[int, str]
    contents: list[Buffer]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of_records(cls, records: Sequence[OutputRecord], is_text: bool) -> Self:
        """Take the columns from parsed records."""
        try:
            return cls._of_records(records, is_text)
        except (TypeError, ValueError, AttributeError, OverflowError):
            return cls._of_records([checked(record) for record in records], is_text)

    @classmethod
    def _of_records(cls, records: Sequence[OutputRecord], is_text: bool) -> Self:
        """Take them from the answers.

        Raises:
            TypeError, ValueError, AttributeError, OverflowError: An answer does not fit the columns.
        """
        answers = [record.answer or _NO_ANSWER for record in records]
        if is_text:
            content, lengths = _joined([encoded(text) if (text := answer.response) else b"" for answer in answers])
        else:
            content, lengths = _vectors([answer.embedding for answer in answers])
        codes: dict[str | None, int] = {}
        stop_reasons = [codes.setdefault(answer.stop_reason, len(codes)) for answer in answers]
        # This raises for anything but a text or None.
        "".join(reason for reason in codes if reason is not None)
        empty = np.flatnonzero(lengths == 0).tolist()
        return cls(
            rows=rows_of([record.record_id for record in records]),
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            truncated=np.array([answer.truncated for answer in answers], np.bool_),
            stop_reasons=np.array(stop_reasons, np.int64),
            reasons=list(codes),
            input_tokens=_token_counts([answer.input_tokens for answer in answers]),
            output_tokens=_token_counts([answer.output_tokens for answer in answers]),
            corrupt=np.array([record.corrupt for record in records], np.bool_),
            retryable=np.array([record.retryable for record in records], np.bool_),
            errors={place: _no_content_reason(records[place], is_text) for place in empty},
            contents=[content],
        )

    @classmethod
    def merged(cls, blocks: Sequence[Self], places: Sequence[npt.NDArray[np.int64]]) -> Self:
        """The lines of several blocks as one, each at its place among all of them."""
        order = np.argsort(np.concatenate(places))
        columns = {name: np.concatenate([getattr(block, name) for block in blocks])[order] for name in _PLAIN_COLUMNS}
        starts, stop_reasons, size = [], [], 0
        contents: list[Buffer] = []
        reasons: list[str | None] = []
        errors: dict[int, str] = {}
        for block, block_places in zip(blocks, places, strict=True):
            starts.append(block.starts + size)
            stop_reasons.append(block.stop_reasons + len(reasons))
            size += sum(len(piece) for piece in block.contents)
            contents += block.contents
            reasons += block.reasons
            errors.update({int(block_places[place]): error for place, error in block.errors.items()})
        return cls(
            **columns,
            starts=np.concatenate(starts)[order],
            stop_reasons=np.concatenate(stop_reasons)[order],
            reasons=reasons,
            errors=errors,
            contents=contents,
        )


_PLAIN_COLUMNS = ("rows", "lengths", "truncated", "input_tokens", "output_tokens", "corrupt", "retryable")


def encoded(text: str) -> bytes:
    """A text as UTF-8. A processor of somebody's own may hand over half a surrogate pair, which has no bytes."""
    return text.encode("utf-8", "replace")


def vector_bytes(vector: Sequence[float]) -> tuple[bytes, str | None]:
    """The vector as float32 numbers; or nothing, and why it is none. An empty vector gives no bytes and no reason."""
    try:
        values = np.asarray(vector)
    except ValueError as problem:
        return b"", str(problem)
    if values.ndim != 1 or (values.dtype.kind not in "iuf" and len(values)):
        return b"", "the embedding is no list of numbers"
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        return b"", "the embedding has a number that is infinite or none, or that 32 bits do not hold"
    return numbers.tobytes(), None


def _joined(contents: Sequence[bytes]) -> tuple[Buffer, npt.NDArray[np.int64]]:
    """The contents behind each other, and the length of each in bytes."""
    return b"".join(contents), np.fromiter(map(len, contents), np.int64, len(contents))


def _vectors(vectors: Sequence[Any]) -> tuple[Buffer, npt.NDArray[np.int64]]:
    """`vector_bytes` of each, as `_joined`; in one go if they are arrays of numbers that fit into 32 bits."""
    if all(isinstance(vector, np.ndarray) and vector.ndim == 1 and vector.dtype == np.float64 for vector in vectors):
        lengths = np.fromiter(map(len, vectors), np.int64, len(vectors))
        numbers = np.empty(lengths.sum(), np.float32)
        with np.errstate(over="ignore"):
            np.concatenate([*vectors, _NO_NUMBERS], out=numbers, casting="same_kind")
        if np.isfinite(numbers).all():
            return numbers.view(np.uint8), lengths * numbers.itemsize
    return _joined([b"" if vector is None else vector_bytes(vector)[0] for vector in vectors])


def _token_counts(counts: list[int | None]) -> npt.NDArray[np.int64]:
    # Unlike numpy, `array` takes neither texts nor fractions for integers.
    numbers = np.frombuffer(array("q", [UNKNOWN if count is None else count for count in counts]), np.int64)
    fitting = np.count_nonzero((numbers > -MAX_TOKENS) & (numbers < MAX_TOKENS))
    if fitting + counts.count(None) < len(counts):
        raise OverflowError("a number of tokens is no number of tokens")
    return numbers


def _no_content_reason(record: OutputRecord, is_text: bool) -> str:
    answer = record.answer
    if answer is None:
        return record.error or ""
    problem = None if is_text or answer.embedding is None else vector_bytes(answer.embedding)[1]
    if problem is not None:
        return f"unexpected model output: {problem}"
    return f"the model returned no content (stop reason: {answer.stop_reason or 'none given'})"
