"""What a batch will cost at most, and what it has cost, as far as the price table tells."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.cost.prices import ModelPrices, Price, Prices, UnknownPriceError
from bedrock_batch_assets.errors import BatchError, RequestError
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.storage.manifests import PartSummary

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.ingestion import IngestedTable


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What asking for every record of a batch will cost, in USD.

    Attributes:
        input_usd: For the estimated input tokens, a rough guess.
        at_most_usd: That, and every answer as long as `max_tokens` allows; None where nothing bounds the answers.
        prices: Whose prices these are.
    """

    input_usd: float
    at_most_usd: float | None
    prices: str


def max_output_tokens(processor: BaseProcessor, records: int) -> int | None:
    """The most tokens that so many answers can have together; None where the processor sets no bound."""
    if processor.kind == "embedding":
        return 0
    # By convention the field of every text processor here; one of a user's own may have another.
    bound = getattr(processor, "max_tokens", None)
    return None if not isinstance(bound, int) else bound * records


def estimate_cost(
    table: "IngestedTable", processor: BaseProcessor, model_id: str, prices: Prices, minimum_records: int
) -> CostEstimate:
    """Estimate the cost of a whole batch, before anything is asked for.

    Args:
        table: The input.
        processor: The batch's.
        model_id: As in the request.
        prices: The price table.
        minimum_records: Chunks with fewer records go on demand, at that price.

    Raises:
        UnknownPriceError: A price that is needed is not known.
        ConfigurationError: The price table cannot be read.
    """
    from bedrock_batch_assets.ingest.ingestion import estimated_tokens

    found, about = prices.for_model(model_id)
    input_usd = at_most = 0.0
    bounded = True
    for kind in ("batch", "on_demand"):
        chunks = [
            chunk
            for chunk in table.chunks
            if chunk.records_to_send and (chunk.records_to_send < minimum_records) == (kind == "on_demand")
        ]
        if not chunks:
            continue
        price = _price(found, kind, model_id)
        tokens = estimated_tokens(sum(chunk.rendered_bytes for chunk in chunks))
        output = max_output_tokens(processor, sum(chunk.records_to_send for chunk in chunks))
        bounded = bounded and output is not None
        input_usd += price.cost(tokens, 0)
        at_most += price.cost(tokens, output or 0)
    return CostEstimate(input_usd, at_most if bounded else None, about)


def check_cost(max_cost_usd: float, estimate: CostEstimate | None, why_unknown: str) -> None:
    """Refuse a batch that may cost more than a person allows.

    Raises:
        RequestError: It may, or nobody can tell.
    """
    if estimate is None:
        raise RequestError(f"max_cost_usd is set, and cannot be checked: {why_unknown}.")
    if estimate.at_most_usd is None:
        raise RequestError(
            "max_cost_usd is set, and cannot be checked: nothing bounds the length of the answers. Set max_tokens in "
            "inference_parameters."
        )
    if estimate.at_most_usd > max_cost_usd:
        raise RequestError(
            f"The batch may cost up to {estimate.at_most_usd:,.2f} USD, of which about {estimate.input_usd:,.2f} for "
            f"the input and the rest if every answer is as long as max_tokens allows; max_cost_usd is "
            f"{max_cost_usd:,.2f}. Lower max_tokens in inference_parameters, send fewer rows (max_records_total), or "
            f"raise max_cost_usd. (Prices {estimate.prices}.)"
        )


def estimate_metadata(estimate: CostEstimate | None, why_unknown: str) -> dict[str, Any]:
    """The estimate as metadata of `input_dataset`."""
    if estimate is None:
        return {"estimated_cost": f"not known: {why_unknown}"}
    metadata: dict[str, Any] = {"estimated_input_cost_usd": _rounded(estimate.input_usd), "prices": estimate.prices}
    if estimate.at_most_usd is None:
        return metadata | {"estimated_cost": "no upper bound: max_tokens is not set"}
    return metadata | {"estimated_cost_at_most_usd": _rounded(estimate.at_most_usd)}


class CostForecast:
    """What the batch may cost, found out before anything of it is stored or asked for."""

    def __init__(self, prices: Prices, minimum_records: int, request: BatchRequest) -> None:
        self._prices = prices
        self._minimum_records = minimum_records
        self._request = request
        self.metadata: dict[str, Any] = {}

    def check_price(self) -> None:
        """Where a limit is set: that there is a price at all, before the input is read.

        Raises:
            RequestError: There is none.
        """
        if self._request.max_cost_usd is not None:
            try:
                self._prices.for_model(self._request.model_id)
            except UnknownPriceError as error:
                check_cost(self._request.max_cost_usd, None, str(error))

    def check(self, table: "IngestedTable", processor: BaseProcessor) -> None:
        """Estimate, and compare with the request's limit.

        Raises:
            RequestError: It may cost more than `max_cost_usd`, or nobody can tell.
            ConfigurationError: The price table cannot be read.
        """
        estimate, why = None, ""
        try:
            estimate = estimate_cost(table, processor, self._request.model_id, self._prices, self._minimum_records)
        except UnknownPriceError as error:
            why = str(error)
        if self._request.max_cost_usd is not None:
            check_cost(self._request.max_cost_usd, estimate, why)
        bound = max_output_tokens(processor, table.records_to_send)
        self.metadata = {
            "max_output_tokens": "no bound: max_tokens is not set" if bound is None else bound,
            **estimate_metadata(estimate, why),
        }


def used_tokens(total: PartSummary) -> dict[str, int]:
    """The tokens that were used, by what they cost, as metadata."""
    names = ("batch_input_tokens", "batch_output_tokens", "on_demand_input_tokens", "on_demand_output_tokens")
    return {name: getattr(total, name) for name in names}


def cost_metadata(total: PartSummary, model_id: str, prices: Prices) -> dict[str, Any]:
    """What the answers of a table have cost, by the tokens that were used, as metadata of `result_table`.

    Never raises for prices: the table is there, whatever is known of its cost.
    """
    try:
        found, about = prices.for_model(model_id)
    except BatchError as error:
        return {"cost": f"not known: {error}"}
    used = {
        "batch": (total.batch_input_tokens, total.batch_output_tokens),
        "on_demand": (total.on_demand_input_tokens, total.on_demand_output_tokens),
    }
    metadata: dict[str, Any] = {"prices": about}
    cost = 0.0
    for kind, tokens in used.items():
        if not any(tokens):
            continue
        try:
            part = _price(found, kind, model_id).cost(*tokens)
        except UnknownPriceError as error:
            return metadata | {"cost": f"not known: {error}"}
        metadata[f"{kind}_cost_usd"] = _rounded(part)
        cost += part
    return metadata | {"cost_usd": _rounded(cost)}


def _price(found: ModelPrices, kind: str, model_id: str) -> Price:
    price: Price | None = getattr(found, kind)
    if price is None:
        raise UnknownPriceError(f"the price table has no {kind} price for {model_id}")
    return price


def _rounded(usd: float) -> float:
    # A small batch costs a fraction of a cent.
    return round(usd, 6)
