"""Whether a batch's result table has to be asked for, and asked for again if it failed or was wiped.

A `run_key` holds for ever, also for a run that failed, and it does not hold under another location name. So what is
asked for is in the key, and whether it is asked for follows from the newest run of the table.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from dagster import AssetKey, DagsterInstance, DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import RUN_FAILURE_REASON_TAG, STEP_FAILURE
from bedrock_batch_assets.runs.event_log import InputEvent, data_versions, latest_storage_id, newest_event
from bedrock_batch_assets.runs.identity import assets_of, newest_runs_of
from bedrock_batch_assets.sensors.abandoned_runs import RETRY_GRACE
from bedrock_batch_assets.sensors.batch_facts import Facts
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.tags import (
    ASKED_AGAIN_TAG,
    BATCH_TAG,
    TABLE_OF_TAG,
    VERSION_TAG,
)

# A table costs no job. One that failed is asked for again after 1 minute, then 2, 4 and so on: the fault (a permission,
# an outage of S3) may be mended meanwhile. Ten times, which is 17 hours.
FIRST_RETRY_SECONDS = 60.0
MAX_TIMES = 10
# While it waits: another table may say that the fault has passed.
LOOK_AGAIN_SECONDS = 30.0
_ENDED = frozenset({DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED})


@dataclass
class TableNeed:
    """What a look at one table came to; see `batch_needs.Need`."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    note: str | None = None
    look_again_in: float | None = None


def table_need(facts: Facts, batch: BatchManifest, event: InputEvent | None, now: float) -> TableNeed:
    """Whether the table of a batch whose parts are all in is to be built, now or later.

    Args:
        facts: What the instance says.
        batch: The batch.
        event: The newest materialization of its input; None if a person wiped it.
        now: Seconds since the epoch.
    """
    instance = facts.instance
    newest_part = latest_storage_id(instance, "result_parts", set(batch.keyed_chunks()))
    version = data_versions(instance, "result_table", [batch.batch]).get(batch.batch)
    if version == batch.version and latest_storage_id(instance, "result_table", {batch.batch}) > newest_part:
        return TableNeed()
    made_of = f"{event.name if event else 'wiped'}:{newest_part}"
    last = _last_run(instance, batch.batch)
    if last is None or not _is_of(instance, last, made_of, event, newest_part):
        return _ask(batch, made_of, last=None, times=0)
    status = last.dagster_run.status
    if status is DagsterRunStatus.CANCELED:
        # A person did not want it.
        return TableNeed()
    if status not in _ENDED:
        return TableNeed(look_again_in=0.0)
    if status is DagsterRunStatus.SUCCESS:
        # It was there, and a person wiped it.
        return _ask(batch, made_of, last=last.dagster_run, times=0)
    return _after_failure(instance, batch, made_of, last, now)


def _after_failure(
    instance: DagsterInstance, batch: BatchManifest, made_of: str, last: dg.RunRecord, now: float
) -> TableNeed:
    run = last.dagster_run
    ended = last.end_time or last.update_timestamp.replace(tzinfo=UTC).timestamp()
    is_of_step = run.tags.get(RUN_FAILURE_REASON_TAG) == STEP_FAILURE
    if not is_of_step and now - ended < RETRY_GRACE.total_seconds():
        # Dagster retries it, or `abandoned_runs` asks for it again.
        return TableNeed(look_again_in=0.0)
    times = _times(run) + 1
    if times > MAX_TIMES:
        return TableNeed()
    due = ended + FIRST_RETRY_SECONDS * 2.0 ** (times - 1)
    _, other_table_at = newest_event(instance, "result_table")
    if other_table_at > ended:
        # Another batch's table was built since then: what stopped this one may have passed.
        due = min(due, max(other_table_at, ended + FIRST_RETRY_SECONDS))
    if now >= due:
        return _ask(batch, made_of, last=run, times=times)
    at = datetime.fromtimestamp(due, UTC).strftime("%H:%M:%S UTC")
    return TableNeed(
        note=f"the table of batch {batch.batch} failed in run {run.run_id} and is asked for again at {at}",
        look_again_in=min(LOOK_AGAIN_SECONDS, due - now),
    )


def _ask(batch: BatchManifest, made_of: str, *, last: dg.DagsterRun | None, times: int) -> TableNeed:
    tags = {BATCH_TAG: batch.batch, VERSION_TAG: batch.version, TABLE_OF_TAG: made_of}
    if times:
        tags[ASKED_AGAIN_TAG] = str(times)
    request = dg.RunRequest(
        run_key=":".join([batch.batch, batch.version, made_of, *([] if last is None else [last.run_id])]),
        asset_selection=[AssetKey("result_table")],
        partition_key=batch.batch,
        tags=tags,
    )
    # Until the table is there: if its run fails, no event tells.
    return TableNeed([request], look_again_in=0.0)


def _last_run(instance: DagsterInstance, batch: str) -> dg.RunRecord | None:
    """The newest run of the batch's table, whoever launched it."""
    for record in newest_runs_of(instance, batch):
        if "result_table" in assets_of(instance, record.dagster_run):
            return record
    return None


def _is_of(
    instance: DagsterInstance, record: dg.RunRecord, made_of: str, event: InputEvent | None, newest_part: int
) -> bool:
    """Whether the run builds, or was to build, the table of this input and of these parts."""
    tagged = record.dagster_run.tags.get(TABLE_OF_TAG)
    if tagged is not None:
        return tagged == made_of
    # A person's, or an earlier release's: then it was made after all that it is of.
    made_at = record.create_timestamp.replace(tzinfo=UTC).timestamp()
    parts = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=AssetKey("result_parts"), storage_ids=[newest_part]), limit=1
    ).records
    newest = max((record.timestamp for record in parts), default=0.0)
    return made_at >= max(newest, event.timestamp if event else 0.0)


def _times(run: dg.DagsterRun) -> int:
    text = run.tags.get(ASKED_AGAIN_TAG, "0")
    return int(text) if text.isdigit() else 0
