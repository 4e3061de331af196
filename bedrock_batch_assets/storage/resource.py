"""The bucket as a resource of Dagster's."""

import dagster as dg

from bedrock_batch_assets.storage.bucket import BatchBucket


class BatchStorage(BatchBucket, dg.ConfigurableResource):  # type: ignore[type-arg]
    """The S3 bucket that holds inputs, records, outputs and results of all batches."""
