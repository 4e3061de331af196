"""What some hundred output lines say, as columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from bedrock_batch_assets.processors.base import ModelAnswer
from bedrock_batch_assets.records.parsing import MAX_TOKENS, OutputRecord, checked
from bedrock_batch_assets.records.rendering import rows_of

if TYPE_CHECKING:
    import numpy.typing as npt

# In the place of a number of tokens that is not known. What is known is far smaller, see `parsing`.
UNKNOWN = np.iinfo(np.int64).min

_NO_ANSWER = ModelAnswer()


@dataclass(frozen=True, slots=True)
class AnswerBlock:
    """Some output lines, as columns with an entry per line.

    Attributes:
        rows: The row of the batch that a line is about, -1 if of none.
        lengths: Bytes of the answer: UTF-8 text or float32 numbers. 0 where there is none, and the record tells why.
        truncated: Whether the answer stopped at the token limit.
        stop_reasons: Index into `reasons`.
        reasons: The stop reasons that occur.
        input_tokens: `UNKNOWN` where they are not told.
        output_tokens: As the above.
        corrupt: Lines that could not be read.
        contents: The answers.
        records: What the columns were taken from.
    """

    rows: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]
    stop_reasons: npt.NDArray[np.int64]
    reasons: list[str | None]
    input_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    corrupt: npt.NDArray[np.bool_]
    contents: list[bytes]
    records: Sequence[OutputRecord]

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
            contents = [encoded(text) if (text := answer.response) else b"" for answer in answers]
        else:
            contents = [b"" if (vector := answer.embedding) is None else vector_bytes(vector)[0] for answer in answers]
        codes: dict[str | None, int] = {}
        stop_reasons = [codes.setdefault(answer.stop_reason, len(codes)) for answer in answers]
        # Raises for what is neither a text nor None.
        "".join(reason for reason in codes if reason is not None)
        return cls(
            rows=rows_of([record.record_id for record in records]),
            lengths=np.fromiter(map(len, contents), np.int64, len(contents)),
            truncated=np.array([answer.truncated for answer in answers], np.bool_),
            stop_reasons=np.array(stop_reasons, np.int64),
            reasons=list(codes),
            input_tokens=_token_counts([UNKNOWN if (n := answer.input_tokens) is None else n for answer in answers]),
            output_tokens=_token_counts([UNKNOWN if (n := answer.output_tokens) is None else n for answer in answers]),
            corrupt=np.array([record.corrupt for record in records], np.bool_),
            contents=contents,
            records=records,
        )


def encoded(text: str) -> bytes:
    """A text as UTF-8. A processor of somebody's own may hand over half a surrogate pair, which has no bytes."""
    return text.encode("utf-8", "replace")


def vector_bytes(vector: Sequence[float]) -> tuple[bytes, str | None]:
    """The vector as float32 numbers; or nothing, and why it is none. An empty one is nothing for no reason."""
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


def _token_counts(counts: list[int]) -> npt.NDArray[np.int64]:
    # Unlike numpy, `array` takes neither texts nor fractions for integers.
    numbers = np.frombuffer(array("q", counts), np.int64)
    if ((abs(numbers) >= MAX_TOKENS) & (numbers != UNKNOWN)).any():
        raise OverflowError("a number of tokens is no number of tokens")
    return numbers
