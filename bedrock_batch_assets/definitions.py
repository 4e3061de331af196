"""The code location: assets, sensors and resources wired together."""

import os
from functools import partial
from pathlib import Path

import dagster as dg

from bedrock_batch_assets.assets.batch_job_outputs import batch_job_outputs
from bedrock_batch_assets.assets.input_dataset import input_dataset_of
from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
from bedrock_batch_assets.assets.launchpad import allowed_models, offering
from bedrock_batch_assets.assets.pilot import pilot_of
from bedrock_batch_assets.assets.request_config import BatchConfig, PilotConfig
from bedrock_batch_assets.assets.result_parts import result_parts
from bedrock_batch_assets.assets.result_table import result_table
from bedrock_batch_assets.parking.parked import runs_executor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import PROMPTS_VARIABLE, add_prompts, prompt_id_to_template
from bedrock_batch_assets.resources import default_resources, fixed
from bedrock_batch_assets.runs.forked_workers import start_forked_workers
from bedrock_batch_assets.runs.instance_rules import warn_code_server
from bedrock_batch_assets.sensors.batch_notices import batch_notices_sensor
from bedrock_batch_assets.sensors.batch_progress import batch_progress_sensor
from bedrock_batch_assets.sensors.job_status import job_status_sensor


def platform(processors: Processors | None = None, *, prompts: Path | None = None) -> dg.Definitions:
    """Assets, sensors and resources of the platform.

    Args:
        processors: The processors to use instead of the defaults, such as a subclass with one of your own.
        prompts: A folder of prompts to add, see `prompt_templates.add_prompts`.

    Raises:
        BatchError: A prompt cannot be used.
    """
    if prompts is not None:
        add_prompts(prompts)
    start_forked_workers()
    warn_code_server()
    processors = processors or Processors()
    offer = partial(offering, prompts=prompt_id_to_template, processors=processors.by_name(), models=allowed_models())
    return dg.Definitions(
        assets=[
            pilot_of(offer(PilotConfig)),
            input_dataset_of(offer(BatchConfig)),
            jsonl_chunks,
            batch_job_outputs,
            result_parts,
            result_table,
        ],
        sensors=[batch_progress_sensor, job_status_sensor, batch_notices_sensor],
        resources=fixed(default_resources(processors)),
        executor=runs_executor(),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The platform with its default processors, and the prompts of the folder that BEDROCK_BATCH_PROMPTS names."""
    folder = os.environ.get(PROMPTS_VARIABLE)
    return platform(prompts=Path(folder) if folder else None)
