"""Thousands of runs in Dagster's storage, put there at once: one by one they take tens of milliseconds each."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._serdes import serialize_value
from dagster._time import get_current_datetime


def add_runs(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> None:
    """Store runs as they are, without any events."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    now = get_current_datetime()
    rows = [
        {
            "run_id": run.run_id,
            "pipeline_name": run.job_name,
            "status": run.status.value,
            "run_body": serialize_value(run),
            "snapshot_id": run.job_snapshot_id,
            "partition": run.tags.get("dagster/partition"),
            "create_timestamp": now,
        }
        for run in runs
    ]
    tags = [
        {"run_id": run.run_id, "key": key, "value": value}
        for run in runs
        for key, value in run.tags_for_storage().items()
    ]
    with storage.connect() as connection:
        connection.execute(RunsTable.insert(), rows)
        connection.execute(RunTagsTable.insert(), tags)
