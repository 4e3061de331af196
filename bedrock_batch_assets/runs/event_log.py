"""What sensors ask the event log, one query a question."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance
from dagster._core.definitions.data_version import DATA_VERSION_TAG

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
    # Not in the public API: one query for all partitions, where the public way is a query for each.
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        AssetKey(asset), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=partitions
    )
    return {partition: values[DATA_VERSION_TAG] for partition, values in tags.items() if DATA_VERSION_TAG in values}


def latest_storage_id(instance: DagsterInstance, asset: str, partitions: set[str]) -> int:
    """The id of the newest materialization of any of the partitions, 0 where there is none."""
    ids = instance.get_latest_storage_id_by_partition(
        AssetKey(asset), DagsterEventType.ASSET_MATERIALIZATION, partitions
    )
    return max(ids.values(), default=0)


def asset_backfill(assets: Sequence[str], partitions: Sequence[str], tags: dict[str, str]) -> dg.RunRequest:
    """A request for ONE asset backfill of some chunks: Dagster makes one run per chunk of it.

    The constructor is not public API, but Dagster's own automation sensor uses it; a contract test watches it.
    """
    from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset

    subset = chunks.empty_subset().with_partition_keys(partitions)
    return dg.RunRequest.for_asset_graph_subset(
        AssetGraphSubset(  # type: ignore[call-arg]  # a record class: its fields are not seen by type checkers
            non_partitioned_asset_keys=set(),
            partitions_subsets_by_asset_key={AssetKey(asset): subset for asset in assets},
        ),
        tags=tags,
    )
