"""The price table from AWS's Price List API: which rows are prices, of which model, of which kind."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.command_line import cli
from bedrock_batch_assets.cost import price_list
from bedrock_batch_assets.cost.price_list import PriceRow, price_row, price_table, read_prices
from bedrock_batch_assets.cost.prices import Prices, PriceTable
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

TODAY = date(2026, 11, 26)


def item(usage: str, unit: str = "1K tokens", usd: str = "0.001", **attributes: str) -> dict[str, Any]:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return {
        "product": {"attributes": {"usagetype": usage, **attributes}},
        "terms": {"OnDemand": {"a": {"priceDimensions": {"b": dimension}}}},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (item("USE1-NovaPro-input-tokens", model="Nova Pro"), ("Nova Pro", "on_demand", True, False)),
        (item("USE1-NovaPro-output-tokens-batch", model="Nova Pro"), ("Nova Pro", "batch", False, False)),
        (item("USE1-Gemma-3-4B-IT-input-tokens-flex"), ("Gemma-3-4B-IT", "flex", True, False)),
        (
            item("USE1-Nova2.0Lite-input-tokens-cross-region-global-batch"),
            ("Nova2.0Lite", "batch", True, True),
        ),
        (
            item("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard"),
            ("openai.gpt-oss-120b", "on_demand", True, False),
        ),
        (item("USE1-Nova2.0Pro-text-input-tokens"), ("Nova2.0Pro", "on_demand", True, False)),
        (
            item("USE1-MP:USE1_InputTokenCount-Units", "Units", servicename="Claude 3 Haiku (Amazon Bedrock Edition)"),
            ("Claude 3 Haiku", "on_demand", True, False),
        ),
        (
            item("APN1-MP:APN1_MillionBatchOutputTokens-Units", "Units", servicename="C (Amazon Bedrock Edition)"),
            ("C", "batch", False, False),
        ),
        (
            item("USE1-MP:USE1_input_tokens_global_standard-Units", "Units", servicename="C (Amazon Bedrock Edition)"),
            ("C", "on_demand", True, True),
        ),
    ],
)
def test_a_row_is_read_by_its_names(given: dict[str, Any], expected: tuple[str, str, bool, bool]) -> None:
    """Model, kind of price, side and scope of a row, in each of the ways in which AWS names rows."""
    row = price_row(given)
    assert row is not None
    assert (row.model, row.kind, row.is_input, row.is_global) == expected
    assert row.usd == (1.0 if given["terms"]["OnDemand"]["a"]["priceDimensions"]["b"]["unit"] != "Units" else 0.001)


@pytest.mark.parametrize(
    "usage",
    [
        "USE1-NovaLite-cache-read-input-token-count",
        "USE1-NovaPro-input-tokens-latency-optimized",
        "USE1-NovaPro-output-tokens-custom-model",
        "USE1-NovaPro-input-tokens-priority",
        "USE1-Claude4Sonnet-output-tokens-long-context-cross-region-global",
        "USE1-MP:USE1_CacheReadInputTokenCount-Units",
        "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units",
        "USE1-MP:USE1_cache_write_tokens_1h_global_standard-Units",
        "USE1-TitanEmbeddingsG1-Image-input-image",
        "USE1-Guardrail-ContentPolicyUnitsConsumed",
    ],
)
def test_what_is_no_plain_price_of_text_is_left_out(usage: str) -> None:
    """Caches, other tiers, long contexts, images and reservations are no prices of a batch's tokens."""
    assert price_row(item(usage, servicename="C (Amazon Bedrock Edition)")) is None


def test_another_tier_in_an_attribute_is_left_out_too() -> None:
    """The priority tier is named in `service_tier` alone by some rows."""
    assert price_row(item("USE1-qwen.qwen3-input-tokens", service_tier="priority")) is None
    flex = price_row(item("USE1-qwen.qwen3-input-tokens", service_tier="flex"))
    assert flex is not None
    assert flex.kind == "flex"


NAMES = {
    "amazon.nova-2-lite-v1:0": "Nova 2 Lite",
    "amazon.nova-lite-v1:0": "Nova Lite",
    "amazon.nova-lite-v1:0:300k": "Nova Lite",
    "amazon.titan-embed-text-v2:0": "Titan Text Embeddings V2",
    "meta.llama3-1-405b-instruct-v1:0": "Llama 3.1 405B Instruct",
    "meta.llama3-405b-instruct-v1:0": "Llama 3 405B Instruct",
    "openai.gpt-oss-120b-1:0": "gpt-oss-120b",
    "anthropic.claude-3-5-sonnet-20240620-v1:0": "Claude 3.5 Sonnet",
    "anthropic.claude-3-5-sonnet-20241022-v2:0": "Claude 3.5 Sonnet v2",
}


@pytest.mark.parametrize(
    ("model", "model_id"),
    [
        ("Nova2.0Lite", "amazon.nova-2-lite-v1:0"),
        ("NovaLite", "amazon.nova-lite-v1:0"),
        ("TitanEmbeddingV2-Text", "amazon.titan-embed-text-v2:0"),
        ("Llama3-1-405B", "meta.llama3-1-405b-instruct-v1:0"),
        ("Meta Llama 3.1 405B Instruct", "meta.llama3-1-405b-instruct-v1:0"),
        ("openai.gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("Claude 3.5 Sonnet", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
        ("Claude 3.5 Sonnet v2", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ],
)
def test_a_price_is_of_the_model_with_the_same_words(model: str, model_id: str) -> None:
    """However a name is written, it is one model's, and no model of a similar name gets the price."""
    found = price_table([PriceRow(model, "batch", True, False, 0.5)], NAMES, "here", TODAY)
    assert list(found.table.models) == [model_id]
    assert found.unknown == {}


def test_a_price_of_no_model_is_told() -> None:
    """A name that no model has gives no price, and is counted."""
    found = price_table([PriceRow("Nova Lite 7", "batch", True, False, 0.5)], NAMES, "here", TODAY)
    assert found.table.models == {}
    assert found.unknown == {"Nova Lite 7": 1}


def test_an_output_price_alone_is_no_price() -> None:
    """Without its input price a kind is left out: it would count input as free."""
    found = price_table([PriceRow("Nova Lite", "flex", False, False, 0.5)], NAMES, "here", TODAY)
    assert found.table.models["amazon.nova-lite-v1:0"].flex is None


def test_an_input_price_alone_is_one_for_embeddings_only() -> None:
    """A text model whose output price was not understood has none: answers that count as free pass any limit."""
    rows = [PriceRow(name, "batch", True, False, 0.5) for name in ("Nova Lite", "TitanEmbeddingV2-Text")]
    found = price_table(rows, NAMES, "here", TODAY)
    assert found.table.models["amazon.nova-lite-v1:0"].batch is None
    assert found.table.models["amazon.titan-embed-text-v2:0"].batch is not None


def test_the_command_writes_a_table_that_the_platform_reads(local_aws: LocalAws, tmp_path: Path) -> None:
    """`bedrock-batch prices` on the stand-in, over HTTP and several pages: prices by kind, Region, day and source."""
    path = tmp_path / "prices.json"
    result = CliRunner().invoke(cli, ["prices", "--output", str(path), "--region", "us-west-2"])
    assert result.exit_code == 0, result.output
    table = msgspec.json.decode(path.read_bytes(), type=PriceTable)
    assert "us-west-2" in table.source
    assert table.days_old() == 0
    prices, about = Prices(path=str(path)).for_model("amazon.nova-lite-v1:0")
    assert (prices.on_demand and prices.on_demand.input, prices.batch and prices.batch.output) == (0.06, 0.12)
    assert prices.flex is not None
    assert "Price List" in about
    assert table.models["global.anthropic.claude-haiku-4-5-20251001-v1:0"].batch is not None
    claude = table.models["anthropic.claude-3-haiku-20240307-v1:0"]
    assert (claude.batch and claude.batch.input, claude.on_demand and claude.on_demand.input) == (0.125, 0.25)
    assert local_aws.calls()["GetProducts"] >= 3


def test_all_pages_are_read(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list longer than a page is read to its end."""
    whole = read_prices(AwsClients(), TODAY).table
    monkeypatch.setattr(price_list, "_ITEMS_PER_PAGE", 3)
    before = local_aws.calls()["GetProducts"]
    assert read_prices(AwsClients(), TODAY).table == whole
    assert local_aws.calls()["GetProducts"] - before > 6


def test_a_region_that_does_not_exist_is_refused() -> None:
    """One line with the Region that was meant, from each command that takes one, and nobody is asked."""
    for arguments in (["prices"], ["models"], ["env", "stack"]):
        result = CliRunner().invoke(cli, [*arguments, "--region", "us-esat-1"])
        assert result.exit_code == 2
        assert "us-esat-1" in result.stderr
        assert "Did you mean 'us-east-1'?" in result.stderr


def test_the_file_is_json(local_aws: LocalAws) -> None:
    """Without --output the table goes to stdout alone, so that it can be piped."""
    result = CliRunner().invoke(cli, ["prices"])
    assert json.loads(result.stdout)["models"]
    assert "Prices of" in result.stderr
