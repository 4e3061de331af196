"""All fake models share these: the answer, the record error, and the reading of a request body."""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from bedrock_batch_assets.local_aws.models_table import Model

Body = TypeVar("Body")
# The two wordings that request checks come in: Anthropic's (and Converse's) and that of Amazon's JSON schemas.
Wording = Literal["fields", "schema"]
Number = float | int


class BodyError(Exception):
    """The model refuses the request body. In a batch job this becomes the record's error."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Call(msgspec.Struct, frozen=True):
    """One request to a model.

    `seed` is drawn from the body, so the same body is answered alike. `truncate` asks for an answer cut short as at
    the token limit. `batch` tells batch inference from on-demand, since some bodies differ: `structured_output` and
    `tools` say whether batch inference takes these.
    """

    model: Model
    body: Any
    seed: int
    truncate: bool = False
    batch: bool = True
    structured_output: bool = False
    tools: bool = False

    @property
    def takes_structured_output(self) -> bool:
        """Whether the answer may be asked for in a format."""
        return self.structured_output or not self.batch

    @property
    def takes_tools(self) -> bool:
        """Whether the answer may be a call of a tool."""
        return self.tools or not self.batch


class Answer(msgspec.Struct, frozen=True):
    """The model's output body and the tokens it is billed for."""

    output: dict[str, Any]
    input_tokens: int
    output_tokens: int


def read_body(call: Call, body_type: type[Body], wording: Wording) -> Body:
    """The request body as a struct.

    Raises:
        BodyError: A field is missing, unknown, or of another type, in the model's wording.
    """
    if not isinstance(call.body, Mapping):
        raise BodyError(_schema("#: expected type: JSONObject"))
    try:
        return msgspec.convert(call.body, body_type)
    except msgspec.ValidationError as error:
        raise BodyError(_message(str(error), wording)) from error


def check_max_tokens(call: Call, max_tokens: int | None) -> int:
    """The most tokens to answer with: those asked for, else the model's limit.

    Raises:
        BodyError: More than the model's limit, or less than one.
    """
    limit = call.model.max_output_tokens
    if max_tokens is None:
        return limit
    if max_tokens > limit:
        raise BodyError(
            f"The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens "
            f"value that is lower than {limit}."
        )
    if max_tokens < 1:
        raise BodyError(f"max_tokens: {max_tokens} is less than the minimum of 1")
    return max_tokens


def check_range(name: str, value: Number | None, low: Number, high: Number) -> None:
    """Check a sampling parameter.

    Raises:
        BodyError: It is out of range.
    """
    if value is not None and not low <= value <= high:
        raise BodyError(f"{name}: range: {low}..{high}")


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    """The text of a message's content: a string, or blocks of which those with `text` count."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if isinstance(block.get("text"), str))


def check_roles(roles: list[str], message: str) -> None:
    """Check that a conversation starts with the user and is not empty.

    Raises:
        BodyError: It does not, with `message`.
    """
    if not roles or roles[0] != "user":
        raise BodyError(message)


_ERROR = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?")
_FIELD = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<field>[^`]*)`")


def _message(text: str, wording: Wording) -> str:
    match = _ERROR.fullmatch(text)
    what, path = (match["what"], match["path"] or "$") if match else (text, "$")
    field = _FIELD.match(what)
    if wording == "schema":
        place = "#" + re.sub(r"\[(\w+|\.\.\.)\]", r"/\1", path[1:]).replace(".", "/")
        if field is None:
            return _schema(f"{place}: {what[0].lower()}{what[1:]}")
        if field["kind"] == "missing required":
            return _schema(f"{place}: required key [{field['field']}] not found")
        return _schema(f"{place}: extraneous key [{field['field']}] is not permitted")
    place = re.sub(r"\[(\w+|\.\.\.)\]", r".\1", path[1:]).lstrip(".")
    if field is None:
        return f"{place}: {what}" if place else what
    name = f"{place}.{field['field']}" if place else field["field"]
    return f"{name}: {'Field required' if field['kind'] == 'missing required' else 'Extra inputs are not permitted'}"


def _schema(detail: str) -> str:
    return f"Malformed input request: {detail}, please reformat your input and try again."
