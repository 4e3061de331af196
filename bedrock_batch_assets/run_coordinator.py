"""The run queue's view of a batch: tags that its concurrency limits count.

Asset definitions cannot tag runs, and a run that a person starts in the UI carries no tags of ours (Dagster issues
15752 and 33430). The coordinator is the one place that sees every run, whoever launched it: UI, backfill, sensor or
command line. It runs in the webserver and in the daemon, so it uses the instance and no code of the assets.
"""

from collections.abc import Mapping
from typing import Any

from dagster import AssetKey, AssetRecordsFilter, DagsterRun, QueuedRunCoordinator, SubmitRunContext

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.internals.dagster_internals import (
    PARTITION_NAME_TAG,
    instance_of,
    let_backfills_wait_for_code_servers,
)
from bedrock_batch_assets.partitions import split_chunk_key
from bedrock_batch_assets.tags import (
    BATCH_TAG,
    MODEL_METADATA,
    MODEL_TAG,
    PARTITION_TAG,
    UNKNOWN_MODEL,
)

_INPUT_DATASET = AssetKey("input_dataset")
_JOB_OUTPUTS = AssetKey("batch_job_outputs")
_CHUNK_ASSETS = frozenset({AssetKey("jsonl_chunks"), _JOB_OUTPUTS, AssetKey("result_parts")})
_BATCH_ASSETS = frozenset({_INPUT_DATASET, AssetKey("result_table")})


class BatchRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, with every run of a batch tagged for the limits in dagster.yaml.

    - `bedrock/batch`: the batch.
    - `bedrock/partition`: the chunk (or batch) that the run works on; a limit of one keeps two runs off it.
    - `bedrock/model`: the base model, on runs that own a job; its limit is the number of jobs in flight.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Set up the queue, and the daemon that it is made in."""
        super().__init__(*arguments, **options)
        # Otherwise backfills fail while the code server restarts, and cancel their runs, which wait for paid jobs.
        let_backfills_wait_for_code_servers()

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run, then queue it."""
        tags = self._tags(context.dagster_run)
        if tags:
            instance_of(self).add_run_tags(context.dagster_run.run_id, tags)
        return super().submit_run(context)

    def _tags(self, run: DagsterRun) -> Mapping[str, str]:
        partition = run.tags.get(PARTITION_NAME_TAG)
        selection = run.asset_selection or frozenset()
        if partition is None:
            return {}
        if selection & _BATCH_ASSETS:
            return {BATCH_TAG: partition, PARTITION_TAG: partition}
        if not selection & _CHUNK_ASSETS:
            return {}
        try:
            batch, _ = split_chunk_key(partition)
        except BatchError:
            return {}
        tags = {BATCH_TAG: batch, PARTITION_TAG: partition}
        if _JOB_OUTPUTS in selection:
            tags[MODEL_TAG] = self._model_of(batch)
        return tags

    def _model_of(self, batch: str) -> str:
        records = (
            instance_of(self)
            .fetch_materializations(AssetRecordsFilter(asset_key=_INPUT_DATASET, asset_partitions=[batch]), limit=1)
            .records
        )
        materialization = records[0].asset_materialization if records else None
        value: Any = materialization.metadata.get(MODEL_METADATA) if materialization else None
        # A run that cannot find its model must not slip past the limit: all of those share one.
        return str(value.value) if value is not None else UNKNOWN_MODEL
