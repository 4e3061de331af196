"""What a batch will cost at most, and what it has cost, if the price table has its model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.cost.measurements import MIN_ANSWERS, ExpectedTokens, Measurement
from bedrock_batch_assets.cost.prices import Kind, PriceQuote, Prices, UnknownPriceError
from bedrock_batch_assets.errors import BatchError, RequestError
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.model_ids import base_model_id
from bedrock_batch_assets.storage.manifests import PartSummary

# English text has about 4 characters a token (a common rule of thumb of the model providers); it is a first guess of
# cost for a person, nothing is decided by it. Bytes of JSON count slightly more than characters of prompt.
_BYTES_PER_TOKEN = 4


class SizedChunk(Protocol):
    """The sizes that a chunk's cost depends on, see `ingest.ingestion.PlannedChunk`."""

    @property
    def records_to_send(self) -> int:
        """The number of its records."""
        ...

    @property
    def rendered_bytes(self) -> int:
        """The size of its records as JSON lines, in bytes."""
        ...


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """USD of a whole batch by what a pilot measured: most likely, the range of about 95 %, and a bound of 99.7 %.

    `found` is the measurement.
    """

    found: Measurement
    usd: float
    low: float
    high: float
    bound: float

    def in_words(self) -> str:
        """`about 1.20 USD, probably 1.10 USD to 1.30 USD`."""
        return f"about {usd(self.usd)}, probably {usd(self.low)} to {usd(self.high)}"


@dataclass(frozen=True, slots=True)
class CostForecast:
    """What asking for every record of a batch will cost, computed before anything is stored or asked for.

    Attributes:
        input_usd: USD for the estimated input tokens, a rough guess; None if a price is not known.
        at_most_usd: USD for these and for answers as long as `max_tokens` allows; None if a price is not known, or
            nothing bounds the answers.
        max_output_tokens: The most tokens that all answers can have together; None if nothing bounds them.
        prices: Which model's prices these are, and how old.
        unknown: Why the cost is not known; empty if it is.
        measured: What a pilot of the same prompt, model and parameters says; None if there was none.
    """

    input_usd: float | None
    at_most_usd: float | None
    max_output_tokens: int | None
    prices: str = ""
    unknown: str = ""
    measured: MeasuredCost | None = None

    @property
    def limit(self) -> tuple[float, str] | None:
        """What `max_cost_usd` is compared with, in USD, and what that is: the smaller bound. None if there is none.

        A pilot of few answers says too little about the others to be one.
        """
        bounds = [] if self.at_most_usd is None else [(self.at_most_usd, "if every answer is as long as max_tokens")]
        if self.measured is not None and self.measured.found.answers >= MIN_ANSWERS:
            bounds.append((self.measured.bound, f"by {self.measured.found.describe()}"))
        return min(bounds, default=None)

    @property
    def likely_usd(self) -> float:
        """USD by a pilot's measurement, else for the input alone; 0 if no price is known."""
        return self.measured.usd if self.measured is not None else self.input_usd or 0.0

    def check(self, max_cost_usd: float | None) -> None:
        """Refuse a batch that may cost more than a person allows.

        Args:
            max_cost_usd: The request's limit; None if it has none.

        Raises:
            RequestError: The batch may cost more, or nobody can tell.
        """
        if max_cost_usd is None:
            return
        if self.input_usd is None:
            raise limit_not_checkable(self.unknown)
        if self.limit is None:
            raise limit_not_checkable(
                "nothing bounds the length of the answers. Set max_tokens in inference_parameters, or run a pilot"
            )
        at_most, why = self.limit
        if at_most > max_cost_usd:
            raise RequestError(
                f"The batch may cost up to {at_most:,.2f} USD {why}, of which about {self.input_usd:,.2f} for the "
                f"input; max_cost_usd is {max_cost_usd:,.2f}. Lower max_tokens in inference_parameters, run a pilot "
                "that measures the answers, send fewer rows (max_records_total), or raise max_cost_usd. "
                f"(Prices {self.prices}.)"
            )

    def metadata(self) -> dict[str, Any]:
        """The forecast as metadata of `input_dataset`."""
        bound = self.max_output_tokens
        metadata: dict[str, Any] = {
            "max_output_tokens": "no bound: max_tokens is not set" if bound is None else bound,
        }
        if self.input_usd is None:
            return metadata | {"estimated_cost": f"not known: {self.unknown}"}
        metadata |= {"estimated_input_cost_usd": _rounded(self.input_usd), "prices": self.prices}
        if self.measured is not None:
            metadata |= {
                "estimated_cost_usd": _rounded(self.measured.usd),
                "estimated_cost": self.measured.in_words(),
                "measured_by": self.measured.found.describe(),
            }
        if self.at_most_usd is None:
            return {"estimated_cost": "no upper bound: max_tokens is not set", **metadata}
        metadata |= {"estimated_cost_at_most_usd": _rounded(self.at_most_usd)}
        return metadata if self.limit is None else metadata | {"max_cost_usd_is_compared_with": self.limit[1]}


def limit_not_checkable(why: str) -> RequestError:
    """The error for a request whose limit cannot be checked."""
    return RequestError(f"max_cost_usd is set, and cannot be checked: {why}.")


def forecast_cost(
    chunks: Iterable[SizedChunk],
    processor: BaseProcessor,
    prices: PriceQuote,
    minimum_records: int,
    measurement: Measurement | None = None,
) -> CostForecast:
    """Forecast the cost of a whole batch.

    Args:
        chunks: All chunks of the batch.
        processor: The batch's processor, which bounds the answers.
        prices: The prices of the batch's model.
        minimum_records: Chunks with fewer records go on demand, at that price.
        measurement: What a pilot of the same prompt, model and parameters measured, if there was one.
    """
    # Whether a model has the cheaper flex tier shows when the first record is sent, so a bound does without it.
    kinds: tuple[Kind, ...] = ("batch", "on_demand")
    records = dict.fromkeys(kinds, 0)
    sizes = dict.fromkeys(kinds, 0)
    for chunk in chunks:
        kind = kinds[chunk.records_to_send < minimum_records]
        records[kind] += chunk.records_to_send
        sizes[kind] += chunk.rendered_bytes
    per_record = _max_output_tokens(processor)
    bound = None if per_record is None else per_record * sum(records.values())
    input_usd = output_usd = 0.0
    measured = [0.0] * 4
    try:
        for kind in kinds:
            if records[kind]:
                price = prices.price(kind)
                input_usd += price.cost(estimated_tokens(sizes[kind]), 0)
                output_usd += price.cost(0, (per_record or 0) * records[kind])
                if measurement is not None:
                    expected = ExpectedTokens.of(measurement, records[kind], sizes[kind], per_record)
                    most = None if per_record is None else per_record * records[kind]
                    likely = (expected.input, expected.output)
                    ways = (likely, expected.low(most), expected.high(most), expected.bound(most))
                    measured = [usd + price.cost(*tokens) for usd, tokens in zip(measured, ways, strict=True)]
    except UnknownPriceError as error:
        return CostForecast(None, None, bound, unknown=str(error))
    return CostForecast(
        input_usd,
        None if bound is None else input_usd + output_usd,
        bound,
        prices=prices.about,
        measured=None if measurement is None else MeasuredCost(measurement, *measured),
    )


def estimated_tokens(rendered_bytes: int) -> int:
    """A rough guess of the tokens in so many bytes of records."""
    return -(-rendered_bytes // _BYTES_PER_TOKEN)


def _max_output_tokens(processor: BaseProcessor) -> int | None:
    """The most tokens that one answer can have; None if the processor sets no bound."""
    if processor.kind == "embedding":
        return 0
    # Every text processor here has this field; a user's own may name it otherwise.
    bound = getattr(processor, "max_tokens", None)
    return bound if isinstance(bound, int) else None


def used_tokens(total: PartSummary) -> dict[str, int]:
    """The tokens that were used, by kind of price, as metadata."""
    kinds: tuple[Kind, ...] = ("batch", "on_demand", "flex")
    names = [f"{kind}_{side}_tokens" for kind in kinds for side in ("input", "output")]
    # The flex tier is shown if it was used: not every model has it.
    return {name: getattr(total, name) for name in names if getattr(total, name) or not name.startswith("flex")}


def cost_metadata(total: PartSummary, model_id: str, prices: Prices) -> dict[str, Any]:
    """What the answers of a table have cost, by the tokens that were used, as metadata of `result_table`.

    A price that is not known is no error here: the table is there, whatever its cost.
    """
    used: dict[Kind, tuple[int, int]] = {
        "batch": (total.batch_input_tokens, total.batch_output_tokens),
        "on_demand": (total.on_demand_input_tokens, total.on_demand_output_tokens),
        "flex": (total.flex_input_tokens, total.flex_output_tokens),
    }
    metadata: dict[str, Any] = {}
    cost = 0.0
    try:
        found = prices.quote(model_id, base_model_id(model_id))
        if found.unknown:
            raise UnknownPriceError(found.unknown)
        metadata["prices"] = found.about
        for kind, tokens in used.items():
            if any(tokens):
                part = found.price(kind).cost(*tokens)
                metadata[f"{kind}_cost_usd"] = _rounded(part)
                cost += part
    except BatchError as error:
        return metadata | {"cost": f"not known: {error}"}
    return metadata | {"cost_usd": _rounded(cost)}


def _rounded(usd: float) -> float:
    # A small batch costs a fraction of a cent.
    return round(usd, 6)
