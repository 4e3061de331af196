"""Everything wired together."""

import os

import dagster as dg

from bedrock_batch_assets.assets.batch_job_outputs import batch_job_outputs
from bedrock_batch_assets.assets.checks import CheckLimits
from bedrock_batch_assets.assets.input_dataset import input_dataset
from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
from bedrock_batch_assets.assets.result_parts import result_parts
from bedrock_batch_assets.assets.result_table import result_table
from bedrock_batch_assets.cost.prices import PRICES_VARIABLE, Prices
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resource import EVENT_QUEUE_VARIABLE, ROLE_ARN_VARIABLE, BedrockBatchJobs
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.runs.forked_workers import start_forked_workers
from bedrock_batch_assets.sensors.batch_progress import batch_progress_sensor
from bedrock_batch_assets.sensors.job_status import job_status_sensor
from bedrock_batch_assets.storage.resource import BUCKET_VARIABLE, BatchStorage


def platform(processors: Processors | None = None) -> dg.Definitions:
    """Assets, sensors and resources of the platform.

    Args:
        processors: Those to use instead of the defaults, such as a subclass with one of your own.
    """
    start_forked_workers()
    return dg.Definitions(
        assets=[input_dataset, jsonl_chunks, batch_job_outputs, result_parts, result_table],
        sensors=[batch_progress_sensor, job_status_sensor],
        resources={
            # Unset variables are not an error here: the location loads, and what needs them says what is missing.
            "storage": BatchStorage(bucket=os.environ.get(BUCKET_VARIABLE, "")),
            "jobs": BedrockBatchJobs(
                role_arn=os.environ.get(ROLE_ARN_VARIABLE, ""),
                event_queue_url=os.environ.get(EVENT_QUEUE_VARIABLE, ""),
            ),
            "on_demand": OnDemand(),
            "prices": Prices(path=os.environ.get(PRICES_VARIABLE, "")),
            "check_limits": CheckLimits(),
            "processors": processors
            or Processors(
                anthropic=AnthropicProcessor(),
                titan_text_embeddings_v2=TitanTextEmbeddingsV2Processor(),
                converse=ConverseProcessor(),
            ),
        },
        # A run mostly waits: one process for it, not two.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The platform as it comes."""
    return platform()
