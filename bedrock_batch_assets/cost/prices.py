"""What tokens cost, from a table that the user supplies: prices differ by Region and contract, and they change.

There are no built-in prices. Without a table, costs are not known, and the UI says so.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import dagster as dg
import msgspec
from pydantic import Field

from bedrock_batch_assets.errors import BatchError, ConfigurationError
from bedrock_batch_assets.processors.model_ids import base_model_id

PRICES_VARIABLE = "BEDROCK_BATCH_PRICES"

_TOKENS_PER_PRICE = 1_000_000
Usd = Annotated[float, msgspec.Meta(ge=0)]


class UnknownPriceError(BatchError):
    """What the tokens cost is not known: there is no table, or the model is not in it. The message says which."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per 1,000,000 tokens. Embedding models have no output tokens."""

    input: Usd
    output: Usd = 0.0

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """USD for so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / _TOKENS_PER_PRICE


Kind = Literal["batch", "on_demand", "flex"]


class ModelPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model costs in batch jobs, on demand, and on demand in the flex tier; None if the table does not say."""

    batch: Price | None = None
    on_demand: Price | None = None
    flex: Price | None = None


@dataclass(frozen=True, slots=True)
class PriceQuote:
    """The prices of one model, looked up once.

    Attributes:
        model_id: The model, as it was asked for.
        prices: Its prices; none of them if the model or the table is not known.
        about: Which model's prices these are, and how old they are; empty if there are none.
        unknown: Why the model has no prices; empty if it has.
    """

    model_id: str
    prices: ModelPrices
    about: str = ""
    unknown: str = ""

    def price(self, kind: Kind) -> Price:
        """One of the model's prices. A flex price that the table does not have is that of a batch.

        The flex tier has the price of a batch for each model that has both (LiteLLM's price table, November 2026).

        Raises:
            UnknownPriceError: The table does not have it.
        """
        if self.unknown:
            raise UnknownPriceError(self.unknown)
        price: Price | None = getattr(self.prices, kind)
        if price is None and kind == "flex":
            price = self.prices.batch
        if price is None:
            raise UnknownPriceError(f"the price table has no {kind} price for {self.model_id}")
        return price


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The price file.

    Attributes:
        as_of: The day of the prices.
        source: Where they are from.
        models: By base model id (`anthropic.claude-3-haiku-20240307-v1:0`), or by the id of an inference profile
            (`us.anthropic…`) or an ARN that has a price of its own.
        batch_share_of_on_demand: What a batch costs of the on-demand price, for models without a batch price.
    """

    as_of: date
    source: str
    models: dict[str, ModelPrices]
    batch_share_of_on_demand: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None

    def find(self, *ids: str) -> ModelPrices | None:
        """The prices of a model: under the first of its ids that the table has."""
        found = next((self.models[name] for name in ids if name in self.models), None)
        share = self.batch_share_of_on_demand
        if found is None or found.batch is not None or found.on_demand is None or share is None:
            return found
        batch = Price(found.on_demand.input * share, found.on_demand.output * share)
        return ModelPrices(batch=batch, on_demand=found.on_demand, flex=found.flex)

    def describe(self, today: date | None = None) -> str:
        """Where the prices are from, and how old they are: `as of 2026-11-22 (3 days old), AWS pricing page`."""
        return f"as of {self.as_of.isoformat()} ({self.days_old(today)} days old), {self.source}"

    def days_old(self, today: date | None = None) -> int:
        """The age of the prices in days."""
        return ((today or date.today()) - self.as_of).days


class Prices(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The price table. Not configured by default: then costs are not computed, and `max_cost_usd` is refused."""

    path: str = Field(
        default="", description=f"JSON file of prices, see examples/prices.json in the package ({PRICES_VARIABLE})."
    )

    def table(self) -> PriceTable | None:
        """The table, or None if none is configured.

        Raises:
            ConfigurationError: The file is not there, cannot be read, or does not fit. Names the place in it.
        """
        if not self.path:
            return None
        try:
            return msgspec.json.decode(Path(self.path).read_bytes(), type=PriceTable)
        except OSError as error:
            raise ConfigurationError(
                f"The price table {self.path} cannot be read ({error.strerror}): set {PRICES_VARIABLE} to a JSON file, "
                "or unset it."
            ) from error
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"The price table {self.path} does not fit: {error}") from error

    def quote(self, model_id: str, base_id: str) -> PriceQuote:
        """The prices of a model, or why there are none.

        Args:
            model_id: As the request has it; an inference profile may have a price of its own.
            base_id: Its base model id, see `registry.base_model_id`.

        Raises:
            ConfigurationError: See `table`.
        """
        table = self.table()
        found = table.find(model_id, base_id) if table is not None else None
        if table is None:
            unknown = f"no price table is configured: set {PRICES_VARIABLE} to a JSON file"
        elif found is None:
            unknown = f"the price table {self.path} has no price for {base_id}: add the model to it"
        else:
            return PriceQuote(model_id, found, about=table.describe())
        return PriceQuote(model_id, ModelPrices(), unknown=unknown)

    def for_model(self, model_id: str) -> tuple[ModelPrices, str]:
        """The prices of a model, and a line about the table they are from.

        Raises:
            UnknownPriceError: No table is configured, or it lacks the model.
            ConfigurationError: See `table`.
        """
        found = self.quote(model_id, base_model_id(model_id))
        if found.unknown:
            raise UnknownPriceError(found.unknown)
        return found.prices, found.about
