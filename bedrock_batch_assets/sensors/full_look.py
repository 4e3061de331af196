"""A look at all batches at once: what a sensor without a cursor begins with.

Four queries for all batches of the instance, whatever their number, say which of them are not finished.
"""

from dataclasses import dataclass

from dagster import DagsterInstance

from bedrock_batch_assets.partition_keys import batch_of_chunk
from bedrock_batch_assets.runs.event_log import data_versions, latest_storage_ids, newest_input
from bedrock_batch_assets.sensors.batch_facts import Facts


@dataclass(frozen=True)
class FullLook:
    """Batches that may need something, and the newest events that were seen, by storage id."""

    batches: list[str]
    input_id: int
    part_id: int


def look_at_all(facts: Facts) -> FullLook:
    """Find the batches whose table is not there, or older than what it is made of."""
    instance = facts.instance
    inputs = latest_storage_ids(instance, "input_dataset")
    parts = latest_storage_ids(instance, "result_parts")
    newest_parts: dict[str, int] = {}
    for chunk, storage_id in parts.items():
        if (batch := batch_of_chunk(chunk)) is not None:
            newest_parts[batch] = max(storage_id, newest_parts.get(batch, 0))
    finished = _finished(instance, newest_parts)
    begun = [key for key in sorted(facts.batches) if (key in inputs or key in newest_parts) and key not in finished]
    waiting = _waiting_for_parts(facts, begun, set(parts))
    return FullLook(
        [key for key in begun if key not in waiting],
        max(inputs.values(), default=0),
        max(parts.values(), default=0),
    )


def _finished(instance: DagsterInstance, newest_parts: dict[str, int]) -> set[str]:
    tables = latest_storage_ids(instance, "result_table")
    versions = data_versions(instance, "result_table", None)
    input_versions = data_versions(instance, "input_dataset", None)
    return {
        batch
        for batch, storage_id in tables.items()
        if storage_id > newest_parts.get(batch, 0)
        and versions.get(batch) == input_versions.get(batch, versions.get(batch))
    }


def _waiting_for_parts(facts: Facts, begun: list[str], with_part: set[str]) -> set[str]:
    """Batches whose chunks were asked for and that lack parts: a part that comes in is an event of its own."""
    incomplete = {batch for chunk in facts.chunks - with_part if (batch := batch_of_chunk(chunk)) is not None}
    asked = facts.settled([key for key in begun if key in incomplete])
    return {key for key, name in asked.items() if (event := newest_input(facts.instance, key)) and event.name == name}
