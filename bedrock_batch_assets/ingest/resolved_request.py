"""The batch request, with everything that it names looked up."""

from dataclasses import dataclass

from bedrock_batch_assets.cost.forecast import limit_not_checkable
from bedrock_batch_assets.cost.measurements import recipe_of
from bedrock_batch_assets.cost.prices import PriceQuote, Prices
from bedrock_batch_assets.jobs.model_id_rule import check_model_id
from bedrock_batch_assets.partition_keys import check_batch_key
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import PromptTemplate, get_prompt_template
from bedrock_batch_assets.request import BatchRequest


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A checked batch request, with everything that it names: made once, before anything is read, and handed on.

    Attributes:
        batch: The batch key.
        given: The request as a person filled it in.
        base_model_id: The model itself, see `registry.base_model_id`.
        processor_name: The field of `Processors`.
        processor: The processor, with the request's inference parameters.
        template: The prompt; None for an embedding model.
        records_per_job: Records per job at most.
        records_total: Rows to use at most; None for all.
        minimum_records: Chunks with fewer records go on demand.
        prices: The model's prices.
    """

    batch: str
    given: BatchRequest
    base_model_id: str
    processor_name: str
    processor: BaseProcessor
    template: PromptTemplate | None
    records_per_job: int
    records_total: int | None
    minimum_records: int
    prices: PriceQuote

    @property
    def recipe(self) -> str:
        """What the lengths of answers depend on besides the rows, see `measurements.recipe_of`."""
        template = None if self.template is None else self.template.text
        return recipe_of(self.given.model_id, self.processor_name, self.processor, template)

    @property
    def max_num_jobs(self) -> int | None:
        """Jobs at most; None for as many as the rows need."""
        return self.given.max_num_jobs


def resolve_request(
    batch: str, given: BatchRequest, *, processors: Processors, prices: Prices, minimum_records: int
) -> ResolvedRequest:
    """Check all of a request that can be checked without reading its table, and look up what it names.

    Args:
        batch: The batch key.
        given: The request.
        processors: The processors to choose from.
        prices: The price table, if there is one.
        minimum_records: The service's minimum of records per job.

    Raises:
        RequestError: The batch key, a field of the request or the prompt template cannot be used, no processor takes
            the model, or there is a limit on the cost and no price to check it with.
        ConfigurationError: The price table cannot be read.
    """
    check_batch_key(batch)
    check_model_id(given.model_id)
    given.check()
    chosen = processors.choose(given.model_id, given.processor, given.inference_parameters)
    # A prompt for an embedding model is ignored, as in version 0.1.
    wants_prompt = chosen.processor.kind == "text" and given.prompt_id is not None
    template = get_prompt_template(str(given.prompt_id)) if wants_prompt else None
    quote = prices.quote(given.model_id, chosen.base_model_id)
    if given.max_cost_usd is not None and quote.unknown:
        raise limit_not_checkable(quote.unknown)
    return ResolvedRequest(
        batch=batch,
        given=given,
        base_model_id=chosen.base_model_id,
        processor_name=chosen.name,
        processor=chosen.processor,
        template=template,
        records_per_job=given.records_per_job,
        records_total=given.records_total,
        minimum_records=minimum_records,
        prices=quote,
    )
