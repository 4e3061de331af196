import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import bedrock_batch_assets
from bedrock_batch_assets.cost.prices import Price, Prices, PriceTable, UnknownPriceError
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.processors.registry import Processors

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
EXAMPLE = Path(bedrock_batch_assets.__file__).parent / "examples" / "prices.json"
TABLE: dict[str, Any] = {
    "as_of": "2026-11-01",
    "source": "contract 7",
    "models": {
        HAIKU: {"on_demand": {"input": 0.25, "output": 1.25}},
        f"us.{HAIKU}": {"batch": {"input": 1, "output": 2}},
    },
}


def table(tmp_path: Path, **changes: Any) -> Prices:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(TABLE | changes))
    return Prices(path=str(path))


def test_the_example_file_is_a_price_table_of_models_that_have_a_processor() -> None:
    """The file that is shipped can be used as it is, and every model in it is one that a batch can have."""
    found = Prices(path=str(EXAMPLE)).table()
    assert isinstance(found, PriceTable)
    for model in found.models:
        Processors().for_model_id(model)
        prices = found.find(model)
        assert prices is not None
        assert prices.batch is not None
        assert prices.on_demand is not None
        assert prices.batch.input < prices.on_demand.input


def test_a_price_is_of_a_million_tokens() -> None:
    """2 million input tokens at 0.25 USD and half a million output tokens at 1.25 USD are 1.125 USD."""
    assert Price(0.25, 1.25).cost(2_000_000, 500_000) == pytest.approx(1.125)


def test_a_profile_has_the_price_of_its_own_where_there_is_one(tmp_path: Path) -> None:
    """The id as given is looked up first, then the base model id."""
    prices = table(tmp_path)
    assert prices.for_model(f"us.{HAIKU}")[0].batch == Price(1, 2)
    assert prices.for_model(f"eu.{HAIKU}")[0].on_demand == Price(0.25, 1.25)


def test_a_batch_price_is_never_guessed(tmp_path: Path) -> None:
    """Without a batch price there is none, unless the table itself says what share of on-demand it is."""
    assert table(tmp_path).for_model(HAIKU)[0].batch is None
    assert table(tmp_path, batch_share_of_on_demand=0.5).for_model(HAIKU)[0].batch == Price(0.125, 0.625)


def test_the_age_of_the_prices_is_told() -> None:
    """A table says its day, how long ago that is, and its source."""
    found = PriceTable(as_of=date(2026, 11, 1), source="contract 7", models={})
    assert found.describe(date(2026, 11, 22)) == "as of 2026-11-01 (21 days old), contract 7"


def test_nothing_is_known_without_a_table_or_without_the_model(tmp_path: Path) -> None:
    """Neither is an error of the platform's; both say what to do."""
    with pytest.raises(UnknownPriceError, match="BEDROCK_BATCH_PRICES"):
        Prices().for_model(HAIKU)
    with pytest.raises(UnknownPriceError, match=r"amazon\.nova-lite-v1:0.*add"):
        table(tmp_path).for_model("us.amazon.nova-lite-v1:0")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"models": {HAIKU: {"batch": {"input": -1}}}}, "input"),
        ({"models": {HAIKU: {"bath": {"input": 1}}}}, "bath"),
        ({"as_of": "yesterday"}, "as_of"),
        ({"batch_share_of_on_demand": 0}, "batch_share_of_on_demand"),
    ],
)
def test_a_table_that_does_not_fit_is_one_clear_error(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    """A wrong table names the file and the place in it; a missing one names the file."""
    with pytest.raises(ConfigurationError, match=rf"prices\.json.*{place}"):
        table(tmp_path, **change).table()
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        Prices(path=str(tmp_path / "none.json")).table()
