"""The price table, from AWS's Price List API.

Its rows name neither a model id nor a kind of price: both are read out of names that were made over years in several
ways (seen in the offers of July to October 2026, as other tools that read them describe):

    AmazonBedrock, AmazonBedrockService   USE1-NovaPro-input-tokens-batch, USE1-Gemma-3-4B-IT-output-tokens-flex,
                                          USE1-openai.gpt-oss-120b-mantle-input-tokens-standard
    AmazonBedrockFoundationModels         USE1-MP:USE1_InputTokenCount-Units, …_MillionBatchInputTokens-Units,
                                          …_input_tokens_global_standard-Units; the model in `servicename`

Names are compared word by word with those of ListFoundationModels. A row that is not understood is left out: a wrong
price is worse than none.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.cost.prices import Kind, ModelPrices, Price, PriceTable
from bedrock_batch_assets.processors.model_ids import base_model_id

OFFERS = ("AmazonBedrock", "AmazonBedrockService", "AmazonBedrockFoundationModels")
# The API has endpoints in few Regions, whatever the Region of the prices (AWS Billing User Guide, Price List API).
API_REGION = "us-east-1"
# At most 100 (API reference, GetProducts).
_ITEMS_PER_PAGE = 100
_TOKENS = {"1k tokens": 1_000.0, "1m tokens": 1.0, "units": 1.0, "1000 tokens": 1_000.0}
_KINDS: dict[str, Kind] = {"batch": "batch", "flex": "flex", "standard": "on_demand"}
# What else may stand in the name of a plain price of text tokens.
_PLAIN = frozenset({"standard", "global", "cross", "region", "batch", "flex"})
_NAME = re.compile(r"[A-Z0-9]+-(?P<model>.+?)(?:-mantle)?-(?:text-)?(?P<side>input|output)-tokens?(?P<rest>(?:-\w+)*)")
_MARKETPLACE = re.compile(
    r"[A-Z0-9]+-MP:[A-Z0-9]+_(?:million)?(?P<batch>batch)?(?P<side>input|output)_?token(?:s|count)?"
    r"(?P<rest>(?:_\w+)*)-units",
    re.IGNORECASE,
)
_EDITION = " (Amazon Bedrock Edition)"
# Models without output tokens, by their ids.
_EMBEDDING = re.compile(r"embed")
_WORD = re.compile(r"\d+[a-z]+|\d+|[a-z]+")
# Words that one of the two names has and the other has not.
_DROPPED = frozenset({"amazon", "meta", "anthropic", "instruct", "it", "model"})


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price: of a model by some name, in USD per 1,000,000 tokens."""

    model: str
    kind: Kind
    is_input: bool
    is_global: bool
    usd: float


@dataclass(frozen=True, slots=True)
class FoundPrices:
    """The table, and the names of models in the offers that no model of the account has, with their rows."""

    table: PriceTable
    unknown: Mapping[str, int]


def read_prices(connection: AwsClients, today: date) -> FoundPrices:
    """The prices of the connection's Region, of all models that ListFoundationModels has.

    Args:
        connection: Region and credentials.
        today: The day of the prices.

    Raises:
        ConfigurationError: Access is denied, or there are no credentials.
    """
    bedrock = connection.client("bedrock")
    region = bedrock.meta.region_name
    with errors_explained("bedrock:ListFoundationModels", "all models"):
        summaries = bedrock.list_foundation_models().get("modelSummaries", [])
    names = {summary["modelId"]: summary.get("modelName", "") for summary in summaries}
    client = AwsClients(
        region_name=API_REGION, profile_name=connection.profile_name, endpoint_url=connection.endpoint_url
    ).client("pricing")
    rows = [row for offer in OFFERS for item in _items(client, offer, region) if (row := price_row(item)) is not None]
    source = f"AWS Price List API, {region}: {', '.join(OFFERS)}"
    return price_table(rows, names, source, today)


def _items(client: Any, offer: str, region: str) -> Iterator[dict[str, Any]]:
    wanted: dict[str, Any] = {
        "ServiceCode": offer,
        "Filters": [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
        "FormatVersion": "aws_v1",
        "MaxResults": _ITEMS_PER_PAGE,
    }
    while True:
        with errors_explained("pricing:GetProducts", offer):
            page = client.get_products(**wanted)
        yield from map(json.loads, page["PriceList"])
        if not page.get("NextToken"):
            return
        wanted["NextToken"] = page["NextToken"]


def price_row(item: Mapping[str, Any]) -> PriceRow | None:
    """The price that one item of the list has; None if it is none of text tokens in a tier that is used here."""
    attributes = item["product"]["attributes"]
    usage = attributes.get("usagetype", "")
    found = _MARKETPLACE.fullmatch(usage) or _NAME.fullmatch(usage)
    if found is None:
        return None
    parts = found.groupdict()
    words = [word for word in re.split(r"[-_]", parts["rest"].lower()) if word]
    if parts.get("batch"):
        words.append("batch")
    if not set(words) <= _PLAIN or attributes.get("service_tier", "standard") not in {*_KINDS, ""}:
        return None
    usd = _usd_per_million(item)
    if usd is None:
        return None
    kinds = [_KINDS[word] for word in words if word in _KINDS and word != "standard"]
    service = attributes.get("servicename", "")
    name = service.removesuffix(_EDITION) if service.endswith(_EDITION) else parts.get("model", "")
    # A name with a dot is a model id, which says more than the name in words.
    model = name if "." in name and name.islower() else attributes.get("model") or name
    return PriceRow(
        model=model,
        kind=kinds[0] if kinds else _KINDS.get(attributes.get("service_tier") or "standard", "on_demand"),
        is_input=parts["side"].lower() == "input",
        is_global="global" in words,
        usd=usd,
    )


def _usd_per_million(item: Mapping[str, Any]) -> float | None:
    for offer in item.get("terms", {}).get("OnDemand", {}).values():
        for dimension in offer["priceDimensions"].values():
            factor = _TOKENS.get(dimension.get("unit", "").lower())
            text = dimension.get("pricePerUnit", {}).get("USD")
            if factor is not None and text is not None:
                return round(float(text) * factor, 9)
    return None


def price_table(rows: Iterable[PriceRow], names: Mapping[str, str], source: str, today: date) -> FoundPrices:
    """Rows as a price table.

    Args:
        rows: The prices.
        names: Model name by model id, as ListFoundationModels has them.
        source: Where the prices are from.
        today: Their day.
    """
    ids = _ids_by_words(names)
    prices: dict[str, dict[Kind, dict[bool, float]]] = {}
    unknown: Counter[str] = Counter()
    for row in rows:
        found = ids.get(_words(row.model)) or _by_id(row.model, names)
        if not found:
            unknown[row.model] += 1
        for model_id in found:
            key = f"global.{model_id}" if row.is_global else model_id
            sides = prices.setdefault(key, {}).setdefault(row.kind, {})
            # Two rows of one price differ by what the table cannot say, such as long contexts: the dearer one counts.
            sides[row.is_input] = max(row.usd, sides.get(row.is_input, 0.0))
    models = {
        key: ModelPrices(
            **{
                kind: Price(sides[True], sides.get(False, 0.0))
                for kind, sides in kinds.items()
                # An answer in text that counted as free would pass any limit.
                if True in sides and (False in sides or _EMBEDDING.search(key))
            }
        )
        for key, kinds in sorted(prices.items())
    }
    return FoundPrices(PriceTable(as_of=today, source=source, models=models), dict(unknown))


def _ids_by_words(names: Mapping[str, str]) -> dict[tuple[str, ...], Sequence[str]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for model_id, name in names.items():
        base = base_model_id(model_id)
        of_name = found.setdefault(_words(name), [])
        if base not in of_name:
            of_name.append(base)
    return {words: ids for words, ids in found.items() if words}


def _by_id(model: str, names: Mapping[str, str]) -> Sequence[str]:
    """The model ids that begin with a name such as `openai.gpt-oss-120b`."""
    if "." not in model:
        return []
    return sorted({base_model_id(key) for key in names if re.match(rf"{re.escape(model)}(?:[-:]|$)", key)})


def _words(name: str) -> tuple[str, ...]:
    """The words of a name in alphabetical order: `Nova2.0Lite` and `Nova 2 Lite` have the same."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=\d)(?=[A-Z][a-z])", " ", name)
    text = re.sub(r"(\d)\.0\b", r"\1", text.lower()).replace("embeddings", "embedding")
    words = [word for word in _WORD.findall(text) if word not in _DROPPED]
    return tuple(sorted(words))
