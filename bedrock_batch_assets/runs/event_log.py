"""The questions that sensors ask of the event log, with one query each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from bedrock_batch_assets.internals import dagster_internals
from bedrock_batch_assets.internals.dagster_internals import DATA_VERSION_TAG
from bedrock_batch_assets.partitions import chunks


@dataclass(frozen=True, slots=True)
class InputEvent:
    """The newest materialization of a batch's input: storage id, time (seconds since the epoch) and version.

    `version` is None if the event has none: a person may report one by hand.
    """

    storage_id: int
    timestamp: float
    version: str | None

    @property
    def name(self) -> str:
        """A name for the event. It holds the time, since ids begin at 1 again if the event log is lost."""
        return f"{self.storage_id}@{self.timestamp:.3f}"


def newest_input(instance: DagsterInstance, batch: str) -> InputEvent | None:
    """The newest materialization of the batch's input; None if there is none, or a person wiped it."""
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey("input_dataset"), asset_partitions=[batch]), limit=1
    ).records
    if not records:
        return None
    materialization = records[0].asset_materialization
    version = (materialization.tags or {}).get(DATA_VERSION_TAG) if materialization is not None else None
    return InputEvent(records[0].storage_id, records[0].timestamp, version)


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


def newest_event(instance: DagsterInstance, asset: str) -> tuple[int, float]:
    """The storage id and the time of the newest materialization of any partition; zeros if there is none."""
    records = instance.fetch_materializations(AssetKey(asset), limit=1).records
    return (records[0].storage_id, records[0].timestamp) if records else (0, 0.0)


def data_versions(instance: DagsterInstance, asset: str, partitions: Sequence[str] | None) -> dict[str, str]:
    """The data version of the latest materialization of each partition that has one; of all partitions for None."""
    return dagster_internals.latest_data_versions(instance, AssetKey(asset), partitions)


def latest_storage_ids(instance: DagsterInstance, asset: str) -> Mapping[str, int]:
    """The id of the newest materialization of each partition that ever had one."""
    return dagster_internals.latest_storage_ids(instance, AssetKey(asset), None)


def latest_storage_id(instance: DagsterInstance, asset: str, partitions: set[str]) -> int:
    """The id of the newest materialization of any of the partitions, 0 if there is none."""
    return dagster_internals.latest_storage_id(instance, AssetKey(asset), partitions)


def asset_backfill(assets: Sequence[str], partitions: Sequence[str], tags: dict[str, str]) -> dg.RunRequest:
    """A request for ONE asset backfill of some chunks: Dagster makes one run per chunk of it."""
    return dagster_internals.asset_backfill([AssetKey(asset) for asset in assets], chunks, partitions, tags)
