"""What a pilot measured of a prompt and a model, and what a whole batch will cost by that."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Self

import msgspec

from bedrock_batch_assets.storage.bucket import version_of

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor
    from bedrock_batch_assets.storage.bucket import BatchBucket

# A bound from fewer answers than these says little.
MIN_ANSWERS = 10
# Standard errors of the mean: two hold about 95 of 100 times, three about 99.7, if the answers are alike.
_RANGE_ERRORS = 2.0
_BOUND_ERRORS = 3.0


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the answers that a pilot got.

    Attributes:
        batch: The batch of the pilot.
        day: Its day, as in 2026-11-26.
        answers: How many answers there were.
        tokens_per_byte: Input tokens for each byte of rendered record.
        input_spread: Standard deviation of a record's input tokens from that.
        output_tokens: Of an answer, on average.
        output_spread: Their standard deviation.
    """

    batch: str
    day: str
    answers: int
    tokens_per_byte: float
    input_spread: float
    output_tokens: float
    output_spread: float

    @classmethod
    def of(cls, batch: str, day: str, samples: Sequence[tuple[int, int, int]]) -> Self | None:
        """Measure some answers; None without any.

        Args:
            batch: The batch of the pilot.
            day: Its day.
            samples: Of each answer: bytes of the record, input tokens, output tokens.
        """
        if not samples:
            return None
        per_byte = sum(tokens for _, tokens, _ in samples) / sum(size for size, _, _ in samples)
        mean = sum(tokens for _, _, tokens in samples) / len(samples)
        return cls(
            batch=batch,
            day=day,
            answers=len(samples),
            tokens_per_byte=per_byte,
            input_spread=_spread([tokens - per_byte * size for size, tokens, _ in samples]),
            output_tokens=mean,
            output_spread=_spread([tokens - mean for _, _, tokens in samples]),
        )

    def describe(self) -> str:
        """`20 answers of the pilot of batch demo, 2026-11-26`."""
        return f"{self.answers} answers of the pilot of batch {self.batch}, {self.day}"


@dataclass(frozen=True, slots=True)
class ExpectedTokens:
    """Tokens of a whole batch, by a measurement: the most likely number, and what to add or take for a range."""

    input: float
    input_error: float
    output: float
    output_error: float

    @classmethod
    def of(cls, found: Measurement, records: int, rendered_bytes: int, max_output_tokens: int | None) -> Self:
        """What so many records will take.

        Args:
            found: The measurement.
            records: Records of the batch.
            rendered_bytes: Their size as JSON lines.
            max_output_tokens: The most tokens of one answer; None if nothing bounds them.
        """
        # The error of a sum over `records`, of which `answers` are known.
        unknown = sqrt(max(0.0, 1 - found.answers / records)) if records else 0.0
        scale = records * unknown / sqrt(found.answers)
        mean = found.output_tokens if max_output_tokens is None else min(found.output_tokens, max_output_tokens)
        return cls(
            rendered_bytes * found.tokens_per_byte, scale * found.input_spread, records * mean,
            scale * found.output_spread,
        )  # fmt: skip

    def at(self, errors: float, most_output: float | None) -> tuple[float, float]:
        """Input and output tokens with so many standard errors added, neither below 0 nor above what is possible."""
        output = max(0.0, self.output + errors * self.output_error)
        return max(0.0, self.input + errors * self.input_error), output if most_output is None else min(
            output, most_output
        )

    def low(self, most_output: float | None) -> tuple[float, float]:
        """The lower end of the range in which the batch's tokens lie about 95 of 100 times."""
        return self.at(-_RANGE_ERRORS, most_output)

    def high(self, most_output: float | None) -> tuple[float, float]:
        """The upper end of that range."""
        return self.at(_RANGE_ERRORS, most_output)

    def bound(self, most_output: float | None) -> tuple[float, float]:
        """What is exceeded about one of 700 times."""
        return self.at(_BOUND_ERRORS, most_output)


def recipe_of(model_id: str, processor_name: str, processor: "BaseProcessor", template: str | None) -> str:
    """What the lengths of answers depend on besides the rows, as a digest: prompt, model and parameters."""
    parameters = {field: getattr(processor, field) for field in type(processor).model_fields}
    return version_of(model_id, processor_name, parameters, template)


def find_measurement(storage: "BatchBucket", recipe: str) -> Measurement | None:
    """What a pilot of this recipe measured; None if there was none that can be read."""
    from bedrock_batch_assets.storage.objects import ObjectNotFoundError

    try:
        return msgspec.json.decode(
            storage.objects.get_bytes(storage.layout.pilot_measurement(recipe)), type=Measurement
        )
    except (ObjectNotFoundError, msgspec.DecodeError):
        return None


def keep_measurement(storage: "BatchBucket", recipe: str, found: Measurement) -> None:
    """Store a measurement, unless there is one of more answers."""
    known = find_measurement(storage, recipe)
    if known is None or known.answers <= found.answers:
        storage.write_manifest(storage.layout.pilot_measurement(recipe), found)


def _spread(differences: Sequence[float]) -> float:
    """Standard deviation of numbers whose mean is 0; of a single one nothing is known, and it is 0."""
    if len(differences) < 2:
        return 0.0
    return sqrt(sum(difference**2 for difference in differences) / (len(differences) - 1))
