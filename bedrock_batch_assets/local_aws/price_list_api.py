"""GetProducts of the Price List API: a small catalogue in the names that AWS uses.

USD per 1,000,000 tokens in us-east-1, as LiteLLM's price table of November 2026 has them. Every Region has the same.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from bedrock_batch_assets.local_aws import parameters
from bedrock_batch_assets.local_aws.errors import ServiceError

# What the service returns at most, and unless told (API reference, GetProducts).
_MOST_RESULTS = 100
# What usage types of a Region begin with.
_USAGE_PREFIXES = {"us-east-1": "USE1", "us-west-2": "USW2", "eu-central-1": "EUC1"}
# Name in usage types, name in words: tier, input and output.
_OWN: list[tuple[str, str, dict[str, tuple[float, float]]]] = [
    ("NovaMicro", "Nova Micro", {"": (0.035, 0.14), "-batch": (0.0175, 0.07), "-flex": (0.0175, 0.07)}),
    ("NovaLite", "Nova Lite", {"": (0.06, 0.24), "-batch": (0.03, 0.12), "-flex": (0.03, 0.12)}),
    ("NovaPro", "Nova Pro", {"": (0.8, 3.2), "-batch": (0.4, 1.6), "-flex": (0.4, 1.6)}),
    ("TitanEmbeddingV2-Text", "Titan Embedding V2 Text", {"": (0.02, 0.0), "-batch": (0.01, 0.0)}),
    ("Llama3-3-70B", "Llama 3.3 70B", {"": (0.72, 0.72), "-batch": (0.36, 0.36)}),
    ("openai.gpt-oss-120b-mantle", "gpt-oss-120b", {"-standard": (0.15, 0.6), "-batch": (0.075, 0.3)}),
]
# Models that are sold through the marketplace: usage, and input and output.
_MARKETPLACE: list[tuple[str, dict[str, tuple[float, float]]]] = [
    ("Claude 3 Haiku", {"{}TokenCount": (0.25, 1.25), "MillionBatch{}Tokens": (0.125, 0.625)}),
    (
        "Claude Haiku 4.5",
        {
            "{}TokenCount": (1.1, 5.5),
            "{}TokenCount_Batch": (0.55, 2.75),
            "{}TokenCount_Global": (1.0, 5.0),
            "{}TokenCount_Batch_Global": (0.5, 2.5),
            "CacheRead{}TokenCount": (0.11, 0.0),
        },
    ),
]


def get_products(request: dict[str, Any]) -> dict[str, Any]:
    """GetProducts.

    Raises:
        ServiceError: A parameter does not fit.
    """
    parameters.check("pricing", "GetProducts", request)
    filters = {item["Field"]: item["Value"] for item in request.get("Filters", ())}
    region = filters.pop("regionCode", "us-east-1")
    found = [
        json.dumps(item)
        for item in _items(request["ServiceCode"], region)
        if all(item["product"]["attributes"].get(name) == value for name, value in filters.items())
    ]
    start = _place(request.get("NextToken"))
    stop = start + request.get("MaxResults", _MOST_RESULTS)
    page: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": found[start:stop]}
    return page | ({"NextToken": _token(stop)} if stop < len(found) else {})


def _items(service: str, region: str) -> Iterator[dict[str, Any]]:
    prefix = _USAGE_PREFIXES.get(region, region[:2].upper())
    if service == "AmazonBedrock":
        for usage, model, tiers in _OWN:
            for tier, usd in tiers.items():
                for side, price in zip(("input", "output"), usd, strict=True):
                    if price or side == "input":
                        attributes = {"model": model, "inferenceType": f"{side.capitalize()} tokens"}
                        name = f"{prefix}-{usage}-{side}-tokens{tier}"
                        yield _item(service, region, name, attributes, "1K tokens", price / 1_000)
        attributes = {"model": "Nova Lite", "inferenceType": "Prompt cache read input tokens"}
        name = f"{prefix}-NovaLite-cache-read-input-token-count"
        yield _item(service, region, name, attributes, "1K tokens", 0.000015)
    elif service == "AmazonBedrockFoundationModels":
        for model, usages in _MARKETPLACE:
            for usage, usd in usages.items():
                for side, price in zip(("Input", "Output"), usd, strict=True):
                    attributes = {"servicename": f"{model} (Amazon Bedrock Edition)"}
                    name = f"{prefix}-MP:{prefix}_{usage.format(side)}-Units"
                    yield _item(service, region, name, attributes, "Units", price)


def _item(service: str, region: str, usage: str, attributes: dict[str, str], unit: str, usd: float) -> dict[str, Any]:
    sku = hashlib.sha256(f"{service} {usage}".encode()).hexdigest()[:16].upper()
    dimension = {
        "unit": unit,
        "description": f"${usd:.10f} per {unit} for {usage}",
        "pricePerUnit": {"USD": f"{usd:.10f}"},
        "beginRange": "0",
        "endRange": "Inf",
        "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
        "appliesTo": [],
    }
    return {
        "product": {
            "productFamily": "Amazon Bedrock",
            "attributes": {"servicecode": service, "regionCode": region, "usagetype": usage, **attributes},
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {f"{sku}.JRTCKXETXF": {"sku": sku, "priceDimensions": {dimension["rateCode"]: dimension}}}
        },
    }


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"products {place}".encode()).decode()


def _place(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("products "))
    except ValueError as error:
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.") from error
