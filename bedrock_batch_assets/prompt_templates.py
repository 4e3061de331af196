"""The prompts: a template per `prompt_id`, and how a row becomes its text.

To add a prompt, add an entry to `prompt_id_to_template` here, or a file to a folder of prompts: `add_prompts` takes
`prompts/summary.md` for the prompt `summary`. From code, before the definitions load:
`prompt_id_to_template["summary"] = "Sum this up in one sentence: {text}"`.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from bedrock_batch_assets.errors import ConfigurationError, RequestError, did_you_mean

# A name in braces is a column of the input. `{{` and `}}` stand for single braces.
prompt_id_to_template: dict[str, str] = {
    "joke_about_topic": "Tell me a joke about {topic} in less than 50 words.",
    "question_answering": """\
Below is an article followed by a question. Answer the question from the article.

First think step by step: quote the sentences that matter, and say what follows from them. Then give the answer on \
a line of its own that begins with "Answer:". If the article does not hold the answer, write "Answer: unknown".

{source}""",
    "sentiment": """\
Classify the sentiment of the text between the <text> tags. Reply with one word: positive, negative, neutral or mixed.

<text>
{text}
</text>""",
}

# A folder of prompts, for the definitions that the package brings.
PROMPTS_VARIABLE = "BEDROCK_BATCH_PROMPTS"
PROMPT_SUFFIXES = (".md", ".txt")

DOUBLE_BRACES = "double the braces ('{{' and '}}') if this is literal text, such as JSON"
# Characters that `str.format` gives a meaning to, and that meaning.
_UNSUPPORTED = {
    "[": "indexes",
    "]": "indexes",
    ".": "attributes",
    "!": "conversions",
    ":": "format specifications",
}
# Characters of a placeholder that an error message shows.
_MOST_SHOWN = 60

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<column>[^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A parsed template: literal text with one placeholder between each two neighbours.

    `len(literals) == len(placeholders) + 1`; braces in the literals are plain text already.
    """

    literals: tuple[str, ...]
    placeholders: tuple[str, ...]

    @classmethod
    def parse(cls, template: str, prompt_id: str | None = None) -> Self:
        """Parse a template whose placeholders are plain column names: `{topic}`, `{Kundennummer (alt)}`.

        There is no way to reach into a value or to format it, unlike with `str.format`.

        Args:
            template: The text. `{{` and `}}` stand for single braces.
            prompt_id: Named in error messages.

        Raises:
            RequestError: An unbalanced brace, an empty placeholder, or one with `.`, `[`, `!` or `:` in it.
        """
        where = "The prompt template" if prompt_id is None else f"The prompt template {prompt_id!r}"
        literals = [""]
        placeholders: list[str] = []
        end = 0
        for token in _TOKEN.finditer(template):
            literals[-1] += template[end : token.start()]
            end = token.end()
            column = token["column"]
            if column is not None:
                _check_placeholder(column, where)
                placeholders.append(column)
                literals.append("")
            elif token[0] in {"{{", "}}"}:
                literals[-1] += token[0][0]
            else:
                raise RequestError(
                    f"{where} has a single {token[0]!r} at character {token.start() + 1}: write {token[0] * 2!r} "
                    "if the brace is literal text, such as JSON, or close the placeholder."
                )
        literals[-1] += template[end:]
        return cls(tuple(literals), tuple(placeholders))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the template reads, in order of first use."""
        return tuple(dict.fromkeys(self.placeholders))

    @property
    def text(self) -> str:
        """The template that parses to this."""
        texts = [literal.replace("{", "{{").replace("}", "}}") for literal in self.literals]
        placeholders = (f"{{{column}}}" for column in self.placeholders)
        return texts[0] + "".join(itertools.chain.from_iterable(zip(placeholders, texts[1:], strict=True)))

    def render(self, row: Mapping[str, Any]) -> str:
        """The prompt for one row.

        Raises:
            RequestError: The row lacks a column.
            ValueError: A value is empty; the message is the reason why the row is skipped.
        """
        texts: dict[str, str] = {}
        for column in self.columns:
            if column not in row:
                raise RequestError(f"The prompt needs the column {column!r}, which the input does not have.")
            text = value_to_text(row[column])
            if text is None or is_empty(text):
                raise ValueError(empty_column_reason(column))
            texts[column] = text
        parts = [self.literals[0]]
        for placeholder, literal in zip(self.placeholders, self.literals[1:], strict=True):
            parts += (texts[placeholder], literal)
        return "".join(parts)


def _check_placeholder(column: str, where: str) -> None:
    if not column.strip():
        raise RequestError(
            f"{where} has an empty placeholder {_shown(column)}: put a column name between the braces, or "
            f"{DOUBLE_BRACES}."
        )
    found = next((character for character in column if character in _UNSUPPORTED), None)
    if found is None:
        return
    what = f"{_UNSUPPORTED[found]} ({found!r}) are not supported"
    if _may_be_literal(column):
        raise RequestError(
            f"{where} has the placeholder {_shown(column)}, which looks like JSON or other literal text: "
            f"{DOUBLE_BRACES}. In the name of a column, {what}."
        )
    raise RequestError(
        f"{where} has the placeholder {_shown(column)}: {what}. Use a plain column name, rename the column if its name "
        f"holds that character, or {DOUBLE_BRACES}."
    )


def literal_hint(column: str) -> str:
    """What to add to an error about a placeholder that may be literal text instead; empty if it hardly can be."""
    return f" In the prompt template, {DOUBLE_BRACES}." if _may_be_literal(column) else ""


def _may_be_literal(column: str) -> bool:
    """Whether text between braces looks like JSON, a set or code rather than a column's name."""
    return any(character in column for character in "\"'`\n,;=")


def _shown(column: str) -> str:
    """A placeholder for an error message: in one line, and not too long."""
    text = " ".join(column.split()) if len(column.splitlines()) > 1 else column
    return f"{{{text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + '…'}}}"


def get_prompt_template(prompt_id: str) -> PromptTemplate:
    """The parsed template of `prompt_id_to_template[prompt_id]`.

    Raises:
        RequestError: The id is unknown, the template is malformed, or it has no placeholder, so that every row
            would be sent, and paid for, with the same prompt.
    """
    template = prompt_id_to_template.get(prompt_id)
    if template is None:
        known = ", ".join(sorted(prompt_id_to_template))
        meant = did_you_mean(prompt_id, prompt_id_to_template)
        raise RequestError(
            f"prompt_id {prompt_id!r} is unknown.{meant} Use one of: {known}; or add it to prompt_templates.py."
        )
    parsed = PromptTemplate.parse(template, prompt_id)
    if not parsed.placeholders:
        raise RequestError(
            f"The prompt template {prompt_id!r} has no placeholder, so every row would get the same prompt: put a "
            "column name in single braces where the row's text belongs."
        )
    return parsed


def is_empty(text: str) -> bool:
    """Whether a placeholder's text says nothing: it has no character but whitespace."""
    return not text or text.isspace()


def empty_column_reason(column: str) -> str:
    """Why a row with nothing in `column` is skipped."""
    return f"column {column!r} is empty"


def value_to_text(value: Any) -> str | None:
    """How a value appears in a prompt. The same value always gives the same text.

    | value | text |
    | --- | --- |
    | text | as it is |
    | null, NaN | None: nothing to say |
    | boolean | `true`, `false` |
    | integer | digits |
    | floating point | shortest form that reads back to the same double: `0.1`, `1e+16` |
    | decimal | plain digits, never an exponent: `1200.50` |
    | date, time, timestamp, duration | ISO with a space: `2024-05-01 13:30:00+00:00`; durations as `1 day, 2:00:00` |
    | list, struct, map | compact JSON of the above; a map is a list of pairs |
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(_json_value(value), ensure_ascii=False, separators=(",", ":"))
    return str(value)


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float):
        # JSON has no NaN and no infinity.
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (date, datetime, time, timedelta, Decimal)):
        return value_to_text(value)
    return str(value)


def add_prompts(folder: Path) -> list[str]:
    """Add the prompts of a folder to `prompt_id_to_template`, one for each .md and .txt file in it.

    The file's name without its suffix is the prompt id, its text the template. Line ends at the end of a file, which
    editors add, are no part of it.

    Returns:
        The prompt ids, in order.

    Raises:
        ConfigurationError: There is no such folder, a file is not UTF-8, or two files have one id.
        RequestError: A template cannot be used. Names the prompt.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder of prompts {str(folder)!r}: make it, or correct its name.")
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in PROMPT_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ConfigurationError(f"Two files in {folder.name} have the prompt id {path.stem!r}: rename one.")
        try:
            # Files from Windows begin with a mark, or end lines with a carriage return: neither is for the model.
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"The prompt {path.name} is not UTF-8: {error}") from error
        found[path.stem] = text.rstrip("\n")
        PromptTemplate.parse(found[path.stem], path.stem)
    prompt_id_to_template.update(found)
    return list(found)
