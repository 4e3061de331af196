from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.records.column_texts import text_column
from bedrock_batch_assets.records.nested_columns import with_leaves
from bedrock_batch_assets_tests.records.generated_columns import columns, plain_values, read_text

GENERATED = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@GENERATED
@given(st.data())
def test_the_text_of_a_value_says_what_was_written(data: st.DataObject) -> None:
    """Read back, the text gives the number, time or text that is in the column, of whatever type, to the nanosecond."""
    column = data.draw(columns(3))
    texts = text_column(column, "a").to_pylist()
    expected = plain_values(column)
    is_nested = pa.types.is_nested(column.type) or any(isinstance(value, list | dict) for value in expected)
    for text, value in zip(texts, expected, strict=True):
        if text is None:
            assert value in {None, "NaN", ""}
        elif is_nested:
            assert _nan_as_null(read_text(text, column.type)) == _nan_as_null(value)
        else:
            assert read_text(text, column.type) == value


def _nan_as_null(value: Any) -> Any:
    """JSON has neither NaN nor infinity: they are null there."""
    if isinstance(value, dict):
        return {name: _nan_as_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_nan_as_null(item) for item in value]
    return None if value == "NaN" or (isinstance(value, float) and abs(value) == float("inf")) else value


@GENERATED
@given(st.data())
def test_a_column_survives_being_taken_apart(data: st.DataObject) -> None:
    """Leaves that nothing is done with give the same values again, also from the middle of a column."""
    column = data.draw(columns(3, depth=3))
    again = with_leaves(column, lambda leaf: leaf)
    again.validate()
    assert plain_values(again) == plain_values(column)
