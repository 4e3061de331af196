"""One panel for each batch in flight: rows done, cost so far, time left, errors by reason, links."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import msgspec
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from bedrock_batch_assets.cost.amounts import usd
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.records.durations import duration
from bedrock_batch_assets.runs.event_log import data_versions, newest_input
from bedrock_batch_assets.runs.statuses import not_finished_statuses
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import BATCH_TAG, runs_page

# A batch in flight is looked at so often for its panel, at most: a look costs an object and a query.
PANEL_SECONDS = 30.0
# New panels of a tick: each reads the accounts of the batch's parts.
MAX_PANELS = 5
# Parts whose account is read for a panel: each is an event of some kilobytes.
_MOST_PARTS = 1_000
_REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        batch: The batch.
        rows_done: Rows of the parts that are in, and records that jobs in flight have processed.
        parts: The chunks whose part is in.
        jobs: Its jobs in flight.
    """

    batch: BatchManifest
    rows_done: int
    parts: Sequence[str]
    jobs: Sequence[JobState]

    @property
    def tenth(self) -> int:
        """How many tenths of the rows are done."""
        return 10 * self.rows_done // self.batch.row_count


class Shown(msgspec.Struct, array_like=True):
    """When a batch was last looked at (seconds since the epoch), and the version and tenth that its panel shows."""

    at: float = 0.0
    version: str = ""
    tenth: int = -1


@dataclass(frozen=True, slots=True)
class Panels:
    """New panels, and what is shown of each batch in flight after them."""

    events: list[dg.AssetObservation]
    shown: dict[str, Shown]


def batch_panels(
    instance: DagsterInstance,
    storage: BatchStorage,
    in_flight: Mapping[str, Mapping[str, JobState]],
    shown: Mapping[str, Shown],
    *,
    backfills: Mapping[str, str],
    console_url: str,
    now: float,
    complain: Callable[[str], None],
) -> Panels:
    """The panels of the batches that are another tenth further.

    Args:
        instance: Dagster's.
        storage: The bucket.
        in_flight: By batch: its jobs in flight, by chunk key.
        shown: By batch, what was shown last. One that has no job in flight any more gets a last panel.
        backfills: By batch, the id of its backfill.
        console_url: The jobs' page in the AWS console.
        now: Seconds since the epoch.
        complain: Takes a sentence about a batch that cannot be looked at.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    found = Panels([], {})
    for key in dict.fromkeys([*in_flight, *shown]):
        last = shown.get(key, Shown())
        found.shown[key] = last
        # The clock may have been set back.
        if 0 <= now - last.at < PANEL_SECONDS or len(found.events) >= MAX_PANELS:
            continue
        try:
            manifest = storage.find_batch_manifest(key) if storage.bucket else None
        except (BatchError, ClientError, BotoCoreError) as error:
            complain(f"The progress of batch {key} cannot be shown now: {error}")
            continue
        is_over = key not in in_flight and (manifest is None or not _is_at_work(instance, key))
        if is_over:
            del found.shown[key]
        if manifest is None:
            if not is_over:
                found.shown[key] = Shown(now, last.version, last.tenth)
            continue
        progress = progress_of(instance, manifest, in_flight.get(key, {}))
        if not is_over:
            found.shown[key] = Shown(now, manifest.version, progress.tenth)
        if (manifest.version, progress.tenth) != (last.version, last.tenth):
            found.events.append(panel(instance, progress, backfills.get(key), console_url, now))
    return found


def _is_at_work(instance: DagsterInstance, batch: str) -> bool:
    wanted = dg.RunsFilter(tags={BATCH_TAG: batch}, statuses=not_finished_statuses())
    return bool(instance.get_run_records(filters=wanted, limit=1))


def progress_of(instance: DagsterInstance, batch: BatchManifest, jobs: Mapping[str, JobState]) -> BatchProgress:
    """How far a batch is.

    Args:
        instance: Dagster's.
        batch: The batch.
        jobs: Its jobs in flight, by chunk key.
    """
    chunks = batch.keyed_chunks()
    versions = data_versions(instance, "result_parts", list(chunks))
    rows, parts = 0, []
    for key, chunk in chunks.items():
        if versions.get(key) == chunk.version:
            parts.append(key)
            rows += chunk.row_count
        elif key in jobs:
            rows += min(jobs[key].processed or 0, chunk.row_count)
    return BatchProgress(batch, batch.rows_done(rows), parts, list(jobs.values()))


def panel(
    instance: DagsterInstance, progress: BatchProgress, backfill: str | None, console_url: str, now: float
) -> dg.AssetObservation:
    """The panel, as an observation of the batch's input: that asset's page is where a person started the batch.

    Args:
        instance: Dagster's.
        progress: How far the batch is.
        backfill: The id of its backfill; None if it has none.
        console_url: The jobs' page in the AWS console.
        now: Seconds since the epoch.
    """
    batch, done, rows = progress.batch, progress.rows_done, progress.batch.row_count
    spent, errors = _account(instance, progress)
    event = newest_input(instance, batch.batch)
    elapsed = max(0.0, now - event.timestamp) if event is not None else 0.0
    running = sum(job.status == "InProgress" for job in progress.jobs)
    facts = [
        ("rows", f"**{done:,} of {rows:,}** ({done / rows:.0%})"),
        ("chunks", f"{len(progress.parts)} of {len(batch.chunks)} done"),
        ("jobs in flight", f"{len(progress.jobs)}, {running} of them processing"),
        ("cost so far", "not known yet" if spent is None else f"about {usd(spent)}"),
        ("time", f"{duration(elapsed)} so far{_left(elapsed, done, rows)}"),
    ]
    links = [f"[all runs]({runs_page(batch.batch)})", f"[jobs in the AWS console]({console_url})"]
    if backfill is not None:
        links.insert(0, f"[its backfill](/runs/b/{backfill})")
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in facts), ""]
    lines += [f"- {count:,} rows: {reason}" for reason, count in errors] + ["", " · ".join(links)]
    return dg.AssetObservation(
        asset_key=AssetKey("input_dataset"),
        partition=batch.batch,
        description=f"{done:,} of {rows:,} rows done",
        metadata={"progress": dg.MetadataValue.md("\n".join(lines))},
    )


def _left(elapsed: float, done: int, rows: int) -> str:
    return f", about {duration(elapsed * (rows - done) / done)} left at this pace" if 0 < done < rows else ""


def _account(instance: DagsterInstance, progress: BatchProgress) -> tuple[float | None, list[tuple[str, int]]]:
    """What the rows so far have cost in USD (None if that is not known), and the most frequent reasons of errors."""
    wanted = list(progress.parts[-_MOST_PARTS:])
    if not wanted:
        return None, []
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey("result_parts"), asset_partitions=wanted), limit=len(wanted)
    ).records
    rows, cost, is_known = 0, 0.0, True
    errors: dict[str, int] = {}
    for record in records:
        if record.asset_materialization is None:
            continue
        values: dict[str, Any] = {name: item.value for name, item in record.asset_materialization.metadata.items()}
        rows += int(values.get("dagster/row_count", 0))
        is_known = is_known and "cost_usd" in values
        cost += float(values.get("cost_usd", 0.0))
        for reason, count in (values.get("errors_by_reason") or {}).items():
            errors[reason] = errors.get(reason, 0) + int(count)
    most = sorted(errors.items(), key=lambda item: -item[1])[:_REASONS_SHOWN]
    return (cost * progress.rows_done / rows if rows and is_known else None), most
