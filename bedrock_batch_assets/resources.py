"""The resources that assets and sensors use, with the names under which they ask for them.

| name | class | what it is |
| --- | --- | --- |
| `storage` | `storage.resource.BatchStorage` | the bucket and the layout of everything in it |
| `jobs` | `jobs.resource.BedrockBatchJobs` | the Bedrock batch API: role, timeout, network, repair waves, event queue |
| `on_demand` | `jobs.resource.BedrockOnDemand` | the on-demand API, for records that are too few for a job |
| `processors` | `processors.registry.Processors` | one processor for each family of models, with its defaults |
| `prices` | `cost.prices.Prices` | the price table |
| `notices` | `notices.resource.Notices` | who is told when a batch has ended |
| `check_limits` | `assets.checks.CheckLimits` | the share of unanswered rows at which a check warns or fails |
"""

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from bedrock_batch_assets.assets.checks import CheckLimits
from bedrock_batch_assets.cost.prices import PRICES_VARIABLE, Prices
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs, BedrockOnDemand
from bedrock_batch_assets.jobs.service import EVENT_QUEUE_VARIABLE, ROLE_ARN_VARIABLE
from bedrock_batch_assets.notices.resource import Notices
from bedrock_batch_assets.notices.sender import EVENT_BUS_VARIABLE, TOPIC_VARIABLE, WEBHOOK_VARIABLE
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE
from bedrock_batch_assets.storage.resource import BatchStorage

# The same that the command line reads.
UI_VARIABLE = "BEDROCK_BATCH_DAGSTER_URL"


def default_resources(processors: Processors | None = None) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """The resources by name, configured from the environment.

    An unset variable is no error here: the code location loads, and what needs the variable says that it is missing.

    Args:
        processors: The processors to use instead of the defaults.
    """
    return {
        "storage": BatchStorage(bucket=os.environ.get(BUCKET_VARIABLE, "")),
        "jobs": BedrockBatchJobs(
            role_arn=os.environ.get(ROLE_ARN_VARIABLE, ""),
            event_queue_url=os.environ.get(EVENT_QUEUE_VARIABLE, ""),
        ),
        "on_demand": BedrockOnDemand(),
        "prices": Prices(path=os.environ.get(PRICES_VARIABLE, "")),
        "check_limits": CheckLimits(),
        "notices": Notices(
            sns_topic_arn=os.environ.get(TOPIC_VARIABLE, ""),
            webhook_url=os.environ.get(WEBHOOK_VARIABLE, ""),
            event_bus_name=os.environ.get(EVENT_BUS_VARIABLE, ""),
            ui_url=os.environ.get(UI_VARIABLE, ""),
        ),
        "processors": processors
        or Processors(
            anthropic=AnthropicProcessor(),
            titan_text_embeddings_v2=TitanTextEmbeddingsV2Processor(),
            converse=ConverseProcessor(),
        ),
    }


def fixed(resources: Mapping[str, dg.ConfigurableResource]) -> dict[str, dg.ResourceDefinition]:  # type: ignore[type-arg]
    """The resources as definitions without config, so that no launch can change them.

    The launchpad of an asset shows the config of all of its resources, and takes changes for one launch. A run with
    another bucket or prefix would write what no sensor ever looks at, so the launchpad shows the request alone.
    Whoever wants other settings makes the resources with them, or sets the environment.
    """
    return {name: _fixed(resource) for name, resource in resources.items()}


def _fixed(resource: dg.ConfigurableResource) -> dg.ResourceDefinition:  # type: ignore[type-arg]
    # The first paragraph alone: what follows is about code, and the UI would run it together.
    description = (inspect.getdoc(type(resource)) or "").partition("\n\n")[0]

    @dg.resource(config_schema={}, description=description)
    def initialized(_: dg.InitResourceContext) -> Iterator[Any]:
        with resource.process_config_and_initialize_cm() as ready:
            yield ready

    return initialized
