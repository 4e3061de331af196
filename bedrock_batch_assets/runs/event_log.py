"""What sensors ask the event log, one query a question."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from bedrock_batch_assets.internals import dagster_internals
from bedrock_batch_assets.partitions import chunks


def materializations_since(
    instance: DagsterInstance, asset: str, storage_id: int, limit: int
) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Materializations of `asset` after event `storage_id`, oldest first, at most `limit`.

    Returns:
        (partition key, metadata values) of each, and the id of the last event seen.
    """
    result = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey(asset), after_storage_id=storage_id), limit=limit, ascending=True
    )
    found: list[tuple[str, dict[str, Any]]] = []
    for record in result.records:
        storage_id = record.storage_id
        materialization = record.asset_materialization
        if materialization is not None and materialization.partition is not None:
            values = {name: value.value for name, value in materialization.metadata.items()}
            found.append((materialization.partition, values))
    return found, storage_id


def data_versions(instance: DagsterInstance, asset: str, partitions: Sequence[str]) -> dict[str, str]:
    """The data version of the latest materialization of each partition that has one."""
    return dagster_internals.latest_data_versions(instance, AssetKey(asset), partitions)


def latest_storage_id(instance: DagsterInstance, asset: str, partitions: set[str]) -> int:
    """The id of the newest materialization of any of the partitions, 0 if there is none."""
    return dagster_internals.latest_storage_id(instance, AssetKey(asset), partitions)


def asset_backfill(assets: Sequence[str], partitions: Sequence[str], tags: dict[str, str]) -> dg.RunRequest:
    """A request for ONE asset backfill of some chunks: Dagster makes one run per chunk of it."""
    return dagster_internals.asset_backfill([AssetKey(asset) for asset in assets], chunks, partitions, tags)
