"""A processor is the one place that knows the request and response bodies of a family of models."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import dagster as dg
import msgspec

from bedrock_batch_assets.errors import RequestError, did_you_mean


class ModelAnswer(msgspec.Struct, frozen=True, gc=False):
    """What one `modelOutput` says, in the columns of the result table.

    `response` is the model's text, `embedding` its vector; one of the two is None, by the processor's kind.
    `truncated` is set if the model stopped at the token limit. Token counts are None if the body has none.

    A struct and not a dataclass: one is made per record, and a frozen dataclass takes ten times as long (measured).
    """

    response: str | None = None
    embedding: Sequence[float] | None = None
    stop_reason: str | None = None
    truncated: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None


class TextPlaces(msgspec.Struct, frozen=True):
    """Where a `modelOutput` has what ends up in the result: each a path of member names.

    Attributes:
        blocks: The list of content blocks.
        block_type: The `type` of a block that holds text; None if blocks have no type.
        stop_reason: Why the model stopped.
        input_tokens: A token count.
        output_tokens: A token count.
        truncation_reasons: The stop reasons of an answer that reached the token limit.
    """

    blocks: tuple[str, ...]
    block_type: str | None
    stop_reason: tuple[str, ...]
    input_tokens: tuple[str, ...]
    output_tokens: tuple[str, ...]
    truncation_reasons: frozenset[str]


class BaseProcessor(dg.ConfigurableResource, ABC):  # type: ignore[type-arg]
    """Turns a row's text into a `modelInput`, and a `modelOutput` into columns, for one family of models.

    Fields are the family's inference parameters: defaults in `resources.py`, overridden for one batch by the
    request's `inference_parameters`.
    """

    kind: ClassVar[Literal["text", "embedding"]] = "text"
    # Matched whole against the base model id: no region prefix ("us."), no ARN around it.
    model_ids: ClassVar[tuple[re.Pattern[str], ...]] = ()
    model_invocation_type: ClassVar[Literal["InvokeModel", "Converse"]] = "InvokeModel"
    # True promises that `process_input` puts its text into the body exactly once, whole and unchanged, and that
    # nothing else in the body depends on it. Then the body is built once per job and not once per record.
    input_is_template: ClassVar[bool] = False
    # A msgspec.Struct type that `modelOutput` is decoded into, several times faster than into a dict. None: dict.
    output_type: ClassVar[type[Any] | None] = None
    # The field of `output_type` that holds the vector, a `list[float]`. It is read several times faster then, and
    # `process_output` gets a numpy array of float64 in it.
    vector_field: ClassVar[str | None] = None

    @abstractmethod
    def process_input(self, text: str) -> dict[str, Any]:
        """The `modelInput` of one record: `text` is the rendered prompt, or the text to embed."""

    @abstractmethod
    def process_output(self, model_output: Any) -> ModelAnswer:
        """The columns of one `modelOutput`, given as `output_type` or as a dict.

        Raises:
            ValueError: The body is not one of this family. The record's status becomes `error`.
        """

    def text_places(self) -> TextPlaces | None:
        """Where in a body the answers are, to read many at a time, twice as fast as by `process_output`; or None.

        Promises that a body whose content is one block of text becomes an answer with this text, stop reason and
        these token counts as they stand there.
        """
        return None

    def for_model(self, model_id: str) -> Self:  # noqa: ARG002
        """The processor to use for one model: a copy if something depends on the model, else itself.

        Args:
            model_id: Base model id, see `registry.base_model_id`.
        """
        return self

    def check_model(self, model_id: str) -> None:
        """Check the parameters against one model, if the service is known to refuse every record.

        Args:
            model_id: Base model id, see `registry.base_model_id`.

        Raises:
            RequestError: The parameters do not fit the model.
        """

    def with_parameters(self, parameters: Mapping[str, Any]) -> Self:
        """A copy with some fields replaced.

        Raises:
            RequestError: A name is not a field of this processor, or a value does not fit it.
        """
        fields = type(self).model_fields
        unknown = sorted(set(parameters) - set(fields))
        if unknown:
            raise RequestError(
                f"inference_parameters has {unknown[0]!r}, which {type(self).__name__} does not know."
                f"{did_you_mean(unknown[0], fields)} It takes {', '.join(sorted(fields))}."
            )
        current = {name: getattr(self, name) for name in fields}
        try:
            return type(self)(**{**current, **parameters})
        except ValueError as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise RequestError(f"inference_parameters do not fit {type(self).__name__}: {reason}") from error
