"""Bedrock as resources of Dagster's: batch jobs, and models that are asked on demand."""

import dagster as dg

from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.service import BatchJobs


class BedrockBatchJobs(BatchJobs, dg.ConfigurableResource):  # type: ignore[type-arg]
    """Bedrock batch inference jobs (model invocation jobs)."""


class BedrockOnDemand(OnDemand, dg.ConfigurableResource):  # type: ignore[type-arg]
    """The on-demand API (InvokeModel, Converse), for batches and remainders that are too small for a batch job."""
