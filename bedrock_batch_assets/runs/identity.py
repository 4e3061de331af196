"""What a run works on: its batch, partition and model, however it was launched.

The run coordinator tags the runs that pass through the queue. A run by another door (`dagster asset materialize`, a
notebook, an asset job on an instance with another coordinator) has no tags of ours, but always Dagster's partition tag
and its assets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRun

from bedrock_batch_assets.asset_names import BATCH_ASSETS, CHUNK_ASSETS, JOB_OUTPUTS, PILOT
from bedrock_batch_assets.internals.dagster_internals import (
    PARTITION_NAME_TAG,
    planned_assets,
    read_values,
    write_values,
)
from bedrock_batch_assets.partition_keys import batch_of_chunk
from bedrock_batch_assets.tags import (
    BATCH_TAG,
    MODEL_METADATA,
    MODEL_TAG,
    PARTITION_TAG,
    UNKNOWN_MODEL,
)

# How many runs of a batch are searched for one that knows the model. Each run that owns a job does.
_RUNS_WITH_MODEL = 10
_RUNS_READ = 25


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a run works on. `model` is None if the run owns no job, or has no tag that says it.

    A batch may be named like another's chunk (`run-20240`), so `of_chunk` says which set `partition` is from.
    """

    batch: str
    partition: str
    of_chunk: bool
    model: str | None = None


def identify(instance: DagsterInstance, run: DagsterRun) -> RunIdentity | None:
    """The batch, partition and model of any run; None if it works on none of the platform's partitions."""
    partition = run.tags.get(PARTITION_NAME_TAG) or run.tags.get(PARTITION_TAG)
    if partition is None:
        return None
    model = run.tags.get(MODEL_TAG)
    tagged_batch = run.tags.get(BATCH_TAG)
    if tagged_batch is not None:
        return RunIdentity(tagged_batch, partition, partition != tagged_batch, model)
    assets = assets_of(instance, run)
    if assets & {*BATCH_ASSETS, PILOT}:
        return RunIdentity(partition, partition, of_chunk=False, model=model)
    batch = batch_of_chunk(partition) if assets & {*CHUNK_ASSETS} else None
    return None if batch is None else RunIdentity(batch, partition, of_chunk=True, model=model)


def assets_of(instance: DagsterInstance, run: DagsterRun) -> frozenset[str]:
    """The names of the assets that a run makes. A job's run and an in-process one select none: their plan has them."""
    if run.asset_selection:
        return frozenset(key.to_user_string() for key in run.asset_selection)
    return planned_assets(instance, run)


def newest_runs_of(instance: DagsterInstance, partition: str) -> list[dg.RunRecord]:
    """The last runs of a partition key, newest first, however they were launched: at most 25 for each tag."""
    found: dict[str, dg.RunRecord] = {}
    # Runs that the coordinator has not tagged have Dagster's own tag alone.
    for tag in (PARTITION_NAME_TAG, PARTITION_TAG):
        for record in instance.get_run_records(filters=dg.RunsFilter(tags={tag: partition}), limit=_RUNS_READ):
            found[record.dagster_run.run_id] = record
    return sorted(found.values(), key=lambda record: record.storage_id, reverse=True)


def identity_tags(instance: DagsterInstance, run: DagsterRun) -> Mapping[str, str]:
    """The tags that the queue's limits count; none if the run is of no batch."""
    identity = identify(instance, run)
    if identity is None:
        return {}
    # A batch may have the name of another batch's chunk. The two must not wait for each other.
    partition = identity.partition if identity.of_chunk else f"{identity.partition} (batch)"
    tags = {BATCH_TAG: identity.batch, PARTITION_TAG: partition}
    if identity.of_chunk and JOB_OUTPUTS in assets_of(instance, run):
        tags[MODEL_TAG] = model_of(instance, identity.batch)
    return tags


def tag_run(instance: DagsterInstance, run: DagsterRun) -> None:
    """Give a run the tags that the coordinator would have given it, if it lacks them.

    A run that did not pass the queue tags itself when its first asset begins. From then on it counts towards the
    limits, and is found among the batch's runs.
    """
    if BATCH_TAG not in run.tags and (tags := identity_tags(instance, run)):
        instance.add_run_tags(run.run_id, dict(tags))


def model_of(instance: DagsterInstance, batch: str) -> str:
    """The batch's base model; `UNKNOWN_MODEL` if it cannot be found.

    The input's newest materialization says it. A person may have wiped that: then what the input left beside its
    events does, and for batches of earlier releases the runs that know it.
    """
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey("input_dataset"), asset_partitions=[batch]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    value: Any = materialization.metadata.get(MODEL_METADATA) if materialization else None
    if value is not None:
        return str(value.value)
    key = _model_key(batch)
    remembered = read_values(instance, {key}).get(key)
    if remembered:
        return remembered
    runs = instance.get_runs(filters=dg.RunsFilter(tags={BATCH_TAG: batch}), limit=_RUNS_WITH_MODEL)
    known = (run.tags[MODEL_TAG] for run in runs if run.tags.get(MODEL_TAG, UNKNOWN_MODEL) != UNKNOWN_MODEL)
    # A run whose model is not known must not escape the limit: all of those share one limit.
    return next(known, UNKNOWN_MODEL)


def remember_model(instance: DagsterInstance, batch: str, model: str) -> None:
    """Keep the batch's base model in a place that wiping the asset's history does not reach."""
    # The small key-value store that the heartbeats are in, too.
    write_values(instance, {_model_key(batch): model})


def _model_key(batch: str) -> str:
    return f"bedrock_batch_model/{batch}"
