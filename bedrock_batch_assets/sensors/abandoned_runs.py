"""Runs and backfills that failed through no fault of their own, and that Dagster does not start again.

Dagster's run retries try once: if the code server is down at that moment, as it is when a whole host restarts, the run
is marked not to be retried. Neither is one whose retries are used up, or whose backfill was over before its retry. The
work is the batch's all the same, so it is asked for again: whoever takes it up finds the jobs that there are.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import AssetKey, DagsterInstance, DagsterRunStatus

from bedrock_batch_assets.asset_names import BATCH_ASSETS, CHUNK_ASSETS
from bedrock_batch_assets.internals.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_CANCELED,
    BACKFILL_FAILED,
    RUN_FAILURE_REASON_TAG,
    STEP_FAILURE,
    WILL_RETRY_TAG,
    backfills,
    find_backfill,
)
from bedrock_batch_assets.partitions import batches, chunks
from bedrock_batch_assets.runs.database import failed_in_outage
from bedrock_batch_assets.runs.identity import RunIdentity, assets_of, identify, newest_runs_of
from bedrock_batch_assets.runs.launches import FAILED_LAUNCHES_TAG
from bedrock_batch_assets.tags import (
    ASKED_AGAIN_TAG,
    BATCH_TAG,
    INPUT_EVENT_TAG,
    PARTITION_TAG,
    TABLE_OF_TAG,
    VERSION_TAG,
)

# A failed run stays in view for so long after it failed.
LOOKBACK = timedelta(days=1)
# The daemon takes up a retry within seconds; on a busy machine it may take longer.
RETRY_GRACE = timedelta(minutes=2)
# Each time Dagster's own retries come on top. What fails that often has a reason that a person should see.
MAX_TIMES = 5
# A request for the same work goes with these tags of the run that died.
_KEPT_TAGS = (BATCH_TAG, VERSION_TAG, INPUT_EVENT_TAG, TABLE_OF_TAG, FAILED_LAUNCHES_TAG)


def abandoned_runs(instance: DagsterInstance, now: datetime | None = None) -> list[dg.DagsterRun]:
    """Runs of batches that ended without an error of a step, are the last ones of their partition, and stay so.

    A step that failed because the instance's database was away counts as no error of the step. Not those of a backfill
    that a person cancelled, or of a partition that is no more. Each has our tags and its assets, also if the stored
    run has not.
    """
    now = now or datetime.now(UTC)
    failed = instance.get_run_records(
        filters=dg.RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=now - LOOKBACK)
    )
    found: list[dg.DagsterRun] = []
    for record in failed:
        run = record.dagster_run
        is_of_step = run.tags.get(RUN_FAILURE_REASON_TAG) == STEP_FAILURE
        if not _may_be_left_alone(record, now) or (is_of_step and not failed_in_outage(instance, run.run_id)):
            continue
        identity = identify(instance, run)
        assets = assets_of(instance, run) & {*CHUNK_ASSETS, *BATCH_ASSETS}
        if identity is None or not assets or _is_cancelled(instance, run) or not _is_last(instance, run, identity):
            continue
        tags = {**run.tags, BATCH_TAG: identity.batch, PARTITION_TAG: identity.partition}
        if record.start_time is not None:
            tags.pop(FAILED_LAUNCHES_TAG, None)
        found.append(run.with_tags(tags)._replace(asset_selection=frozenset(AssetKey(name) for name in assets)))
    return found


def ask_again(run: dg.DagsterRun) -> dg.RunRequest:
    """A request for the same assets of the same partition, with the same config."""
    tags = {name: run.tags[name] for name in _KEPT_TAGS if name in run.tags}
    return dg.RunRequest(
        run_key=f"again:{run.run_id}",
        asset_selection=list(run.asset_selection or ()),
        partition_key=run.tags[PARTITION_TAG],
        run_config=dict(run.run_config),
        tags={**tags, ASKED_AGAIN_TAG: str(_times(run) + 1)},
    )


def given_up_backfills(instance: DagsterInstance, now: datetime | None = None) -> set[tuple[str, str]]:
    """Batches, with the version of their input, whose last backfill is one that Dagster has given up.

    It does so if it cannot load the assets while the code server restarts, for example.
    """
    since = (now or datetime.now(UTC)) - LOOKBACK
    if not backfills(instance, is_wanted=lambda status: status == BACKFILL_FAILED, created_after=since, limit=1):
        # As nearly always: the rest reads whole backfills.
        return set()
    found: dict[tuple[str, str], list[str]] = {}
    # Newest first. Not by tag: in a storage that was migrated, that finds no backfill that never had a run.
    for backfill in backfills(instance, created_after=since):
        if BATCH_TAG in backfill.tags and VERSION_TAG in backfill.tags:
            found.setdefault((backfill.tags[BATCH_TAG], backfill.tags[VERSION_TAG]), []).append(backfill.status)
    return {
        batch
        for batch, statuses in found.items()
        if statuses[0] == BACKFILL_FAILED and statuses.count(BACKFILL_FAILED) <= MAX_TIMES
    }


def _may_be_left_alone(record: dg.RunRecord, now: datetime) -> bool:
    run = record.dagster_run
    if _times(run) >= MAX_TIMES or AUTO_RETRY_RUN_ID_TAG in run.tags:
        return False
    return run.tags.get(WILL_RETRY_TAG) == "false" or now - record.update_timestamp.replace(tzinfo=UTC) >= RETRY_GRACE


def _is_cancelled(instance: DagsterInstance, run: dg.DagsterRun) -> bool:
    backfill = find_backfill(instance, run)
    return backfill is not None and backfill.status in BACKFILL_CANCELED


def _is_last(instance: DagsterInstance, run: dg.DagsterRun, identity: RunIdentity) -> bool:
    """Whether nobody has started the partition's work again, and there still is such a partition."""
    definition = chunks if identity.of_chunk else batches
    assert definition.name is not None
    if not instance.has_dynamic_partition(definition.name, identity.partition):
        return False
    for record in newest_runs_of(instance, identity.partition):
        if record.dagster_run.run_id == run.run_id:
            return True
        other = identify(instance, record.dagster_run)
        # A batch may be named like another's chunk.
        if other is not None and (other.batch, other.of_chunk) == (identity.batch, identity.of_chunk):
            return False
    return False


def _times(run: dg.DagsterRun) -> int:
    text = run.tags.get(ASKED_AGAIN_TAG, "0")
    return int(text) if text.isdigit() else 0
