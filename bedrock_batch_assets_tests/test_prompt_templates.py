import datetime
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets import prompt_templates
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.prompt_templates import (
    PromptTemplate,
    get_prompt_template,
    prompt_id_to_template,
    value_to_text,
)
from bedrock_batch_assets.records.rendering import RecordRenderer

COLUMN_NAMES = st.text(st.characters(exclude_characters="{}[].!:", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: bool(name.strip())
)
LITERALS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(st.lists(st.tuples(LITERALS, COLUMN_NAMES)), LITERALS, st.data())
def test_a_template_is_its_literals_and_values_in_order(
    pairs: list[tuple[str, str]], last: str, data: st.DataObject
) -> None:
    """Whatever the literals, column names and values are, rendering puts them together unchanged, braces included."""
    row = {name: data.draw(st.text(min_size=1).filter(lambda text: bool(text.strip()))) for _, name in pairs}

    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    text = "".join(f"{doubled(text)}{{{name}}}" for text, name in pairs) + doubled(last)
    template = PromptTemplate.parse(text)
    assert template.render(row) == "".join(text + row[name] for text, name in pairs) + last
    assert template.columns == tuple(dict.fromkeys(name for _, name in pairs))
    assert template.text == text


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{}", "empty placeholder"),
        ("{ }", "empty placeholder"),
        ("{a.b}", "'.'"),
        ("{a[0]}", "'['"),
        ("{a!r}", "'!'"),
        ("{a:>10}", "':'"),
        ("a { b", "single '{' at character 3"),
        ("a } b", "single '}' at character 3"),
        ("{a{b}}", "single '{' at character 1"),
        ("{a", "single '{'"),
        ("{{a}", "single '}'"),
    ],
)
def test_only_plain_columns_are_placeholders(template: str, part: str) -> None:
    """Everything else that `str.format` takes is refused, with the prompt's id and the place."""
    with pytest.raises(RequestError) as error:
        PromptTemplate.parse(template, "my_prompt")
    assert part in str(error.value)
    assert "'my_prompt'" in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        '{"a.b": 1}',
        '{"a": 1}',
        '{"a": [1, 2]}',
        '{"ok": "!"}',
        "{'label': 'good'}",
        '{\n  "label": "{text}"\n}',
        '{"a": {"b": {text}}}',
        "{}",
        '{"k": 1,' + '"k": 1,' * 300 + "}",
        "{a.b}",
        "{a:>10}",
        "{text",
    ],
)
def test_braces_of_json_are_to_be_doubled(template: str) -> None:
    """The error says to double the braces, in one line that shows little of the text; doubled, the template works."""
    with pytest.raises(RequestError) as error:
        PromptTemplate.parse("Reply as " + template, "my_prompt")
    message = str(error.value)
    assert "double the braces" in message or "write '{{'" in message or "write '}}'" in message
    assert "\n" not in message
    assert len(message) < 400
    doubled = template.replace("{", "{{").replace("}", "}}")
    assert PromptTemplate.parse(f"{doubled} {{text}}").render({"text": "x"}) == f"{template} x"


@pytest.mark.parametrize("template", ['{"a.b": 1}', '{"a": [1, 2]}', "{'ok': '!'}"])
def test_json_is_told_from_a_column_name(template: str) -> None:
    """The advice to double the braces comes first, and the one to rename a column, which is of no use here, is gone."""
    with pytest.raises(RequestError, match="looks like JSON") as error:
        PromptTemplate.parse(template)
    assert "rename" not in str(error.value)


def test_a_placeholder_that_may_be_json_is_explained_if_there_is_no_such_column() -> None:
    """Nothing in `{"answer"}` is refused as a name, so the missing column is what says to double the braces."""
    template = PromptTemplate.parse('Reply as {"answer"}')
    with pytest.raises(RequestError, match=r"does not have.*double the braces"):
        RecordRenderer(ConverseProcessor(), template, pa.schema([("topic", pa.string())]))


def test_values_are_never_read_as_templates() -> None:
    """Braces in the data stay as they are."""
    assert PromptTemplate.parse("<{a}>").render({"a": "{b} {{c}} {0.__class__}"}) == "<{b} {{c}} {0.__class__}>"


@pytest.mark.parametrize("value", [None, "", "  \n\t", "\u2003", float("nan")])
def test_a_row_without_a_value_has_no_prompt(value: Any) -> None:
    """Null, NaN and blank text make no prompt, and the reason names the first such column."""
    template = PromptTemplate.parse("{a} {b} {c}")
    with pytest.raises(ValueError, match=r"^column 'b' is empty$"):
        template.render({"a": 0, "b": value, "c": None})


def test_a_missing_column_is_named() -> None:
    """A row without the column is the request's fault, and not an empty value."""
    with pytest.raises(RequestError, match="'b'"):
        PromptTemplate.parse("{a} {b}").render({"a": 1})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  as it is\n", "  as it is\n"),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (0.1, "0.1"),
        (1e16, "1e+16"),
        (float("inf"), "inf"),
        (Decimal("1200.50"), "1200.50"),
        (Decimal("1E+3"), "1000"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.datetime(2024, 5, 1, 13, 30, tzinfo=datetime.UTC), "2024-05-01 13:30:00+00:00"),
        (datetime.time(13, 30), "13:30:00"),
        (datetime.timedelta(days=1, hours=2), "1 day, 2:00:00"),
        ([], "[]"),
        ({"a": [1, None, "é\u2028"], "b": float("nan")}, '{"a":[1,null,"é\u2028"],"b":null}'),
        ([("key", Decimal("1.0")), ("other", datetime.date(2024, 5, 1))], '[["key","1.0"],["other","2024-05-01"]]'),
    ],
)
def test_every_type_has_one_text(value: Any, text: str) -> None:
    """The table in the docstring of `value_to_text` holds."""
    assert value_to_text(value) == text


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).filter(lambda value: isinstance(value, (list, dict)))
)
def test_nested_values_are_compact_json(value: Any) -> None:
    """Whatever a nested value holds, its text is valid JSON, which has no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = value_to_text(value)
    assert text is not None
    assert json.dumps(json.loads(text, parse_constant=refuse), ensure_ascii=False, separators=(",", ":")) == text


@pytest.mark.parametrize(
    ("prompt_id", "columns"),
    [("joke_about_topic", ("topic",)), ("question_answering", ("source",)), ("sentiment", ("text",))],
)
def test_the_shipped_prompts_read_their_columns(prompt_id: str, columns: tuple[str, ...]) -> None:
    """Each template of the package parses, and asks for the column that it is documented with."""
    assert get_prompt_template(prompt_id).columns == columns


def test_an_unknown_prompt_lists_the_known_ones() -> None:
    """The message names every key that would have worked."""
    with pytest.raises(RequestError) as error:
        get_prompt_template("joke")
    assert all(prompt_id in str(error.value) for prompt_id in ("'joke'", *prompt_id_to_template))


def test_a_template_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry put into the dict from outside is found."""
    monkeypatch.setitem(prompt_templates.prompt_id_to_template, "summary", "Sum up: {long text}")
    assert get_prompt_template("summary").render({"long text": "x"}) == "Sum up: x"


def test_a_prompt_without_placeholder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would send, and bill, the same prompt for every row."""
    monkeypatch.setitem(prompt_templates.prompt_id_to_template, "constant", "Tell a joke about ((topic)).")
    with pytest.raises(RequestError, match="no placeholder"):
        get_prompt_template("constant")
