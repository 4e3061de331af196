"""Carries a batch over the edges that Dagster's partition mappings cannot: input → chunks → table."""

import dagster as dg
import msgspec
from dagster import AssetKey, DagsterInstance

from bedrock_batch_assets.assets.checks import BUILT_FROM_CURRENT_INPUT
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.internals.dagster_internals import BACKFILL_FINISHED, backfills
from bedrock_batch_assets.partitions import chunk_key, split_chunk_key
from bedrock_batch_assets.runs.event_log import (
    asset_backfill,
    data_versions,
    latest_storage_id,
    materializations_since,
)
from bedrock_batch_assets.sensors.abandoned_runs import abandoned_runs, ask_again, given_up_backfills
from bedrock_batch_assets.storage.manifests import BatchManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import BATCH_TAG, PARTITION_TAG, VERSION_TAG

CHUNK_ASSETS = ("jsonl_chunks", "batch_job_outputs", "result_parts")

# Events read in one tick. A tick has 60 s; each event costs well under a millisecond, each batch that they touch
# one object from S3 and three queries.
MAX_INPUT_EVENTS = 20
MAX_PART_EVENTS = 5_000


class Cursor(msgspec.Struct):
    """How far the event log was read, and the batches that have to be looked at again."""

    input_id: int = 0
    part_id: int = 0
    busy: list[str] = []


@dg.sensor(
    asset_selection=dg.AssetSelection.assets("input_dataset", *CHUNK_ASSETS, "result_table"),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def batch_progress_sensor(
    context: dg.SensorEvaluationContext, storage: BatchStorage
) -> dg.SensorResult | dg.SkipReason:
    """Starts one backfill over a new input's chunks, and builds the result table when all of its parts are in.

    A chunk whose result was made from the same rows, prompt, model and parameters is not asked for again. What a run
    was at that died, and that Dagster does not start again, is.
    """
    if not storage.bucket:
        return dg.SkipReason("No bucket configured: set BEDROCK_BATCH_BUCKET, or run `make dev`.")
    cursor = read_cursor(context.cursor)
    instance = context.instance
    inputs, cursor.input_id = materializations_since(instance, "input_dataset", cursor.input_id, MAX_INPUT_EVENTS)
    parts, cursor.part_id = materializations_since(instance, "result_parts", cursor.part_id, MAX_PART_EVENTS)
    new = dict.fromkeys(batch for batch, _ in inputs)
    given_up = given_up_backfills(instance)
    touched = dict.fromkeys([*new, *cursor.busy, *dict(given_up), *(split_chunk_key(chunk)[0] for chunk, _ in parts)])
    requests: list[dg.RunRequest] = []
    events: list[dg.AssetCheckEvaluation] = []
    still_busy: list[str] = []
    for key in touched:
        try:
            batch = storage.find_batch_manifest(key)
        except BatchError as error:
            context.log.error(f"Batch {key}: {error}")
            still_busy.append(key)
            continue
        if batch is None:
            continue
        pending = pending_chunks(instance, batch)
        if key in new:
            events.extend(_stale_table(instance, batch))
        is_wanted = key in new or (key, batch.version) in given_up
        if pending and is_wanted and not _backfill_in_progress(instance, batch):
            tags = {BATCH_TAG: key, VERSION_TAG: batch.version}
            requests.append(asset_backfill(CHUNK_ASSETS, pending, tags))
        elif not pending:
            if _chunks_in_progress(instance, key):
                still_busy.append(key)
            else:
                requests.extend(_table_request(instance, batch))
    cursor.busy = still_busy
    for run in abandoned_runs(instance):
        context.log.warning(f"Run {run.run_id} of {run.tags[PARTITION_TAG]} died and is not retried: asking again.")
        requests.append(ask_again(run))
    return dg.SensorResult(
        run_requests=requests,
        asset_events=events,
        cursor=msgspec.json.encode(cursor).decode(),
        skip_reason=None if requests else "No new input, and no batch whose parts are all in.",
    )


def read_cursor(text: str | None) -> Cursor:
    """The cursor, or a fresh one where it is missing or unreadable: reading events again does no harm."""
    try:
        return msgspec.json.decode(text, type=Cursor) if text else Cursor()
    except msgspec.DecodeError:
        return Cursor()


def pending_chunks(instance: DagsterInstance, batch: BatchManifest) -> list[str]:
    """Chunks whose result is not there, or was made from something else than the batch is now."""
    keys = [chunk_key(batch.batch, index) for index in range(len(batch.chunks))]
    versions = data_versions(instance, "result_parts", keys)
    return [key for key, entry in zip(keys, batch.chunks, strict=True) if versions.get(key) != entry.version]


def _table_request(instance: DagsterInstance, batch: BatchManifest) -> list[dg.RunRequest]:
    keys = {chunk_key(batch.batch, index) for index in range(len(batch.chunks))}
    newest_part = latest_storage_id(instance, "result_parts", keys)
    table_version = data_versions(instance, "result_table", [batch.batch]).get(batch.batch)
    if table_version == batch.version and latest_storage_id(instance, "result_table", {batch.batch}) > newest_part:
        return []
    return [
        dg.RunRequest(
            # The newest part is in the key: a part that is made again asks for the table again, a second tick does not.
            run_key=f"{batch.batch}:{batch.version}:{newest_part}",
            asset_selection=[AssetKey("result_table")],
            partition_key=batch.batch,
            tags={BATCH_TAG: batch.batch, VERSION_TAG: batch.version},
        )
    ]


def _stale_table(instance: DagsterInstance, batch: BatchManifest) -> list[dg.AssetCheckEvaluation]:
    built_from = data_versions(instance, "result_table", [batch.batch]).get(batch.batch)
    if built_from is None or built_from == batch.version:
        return []
    return [
        dg.AssetCheckEvaluation(
            asset_key=AssetKey("result_table"),
            check_name=BUILT_FROM_CURRENT_INPUT.name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"batch": batch.batch, "built_from": built_from, "input_is_now": batch.version},
            description=f"The table of batch {batch.batch} is of an earlier input; a new one is on its way.",
        )
    ]


def _backfill_in_progress(instance: DagsterInstance, batch: BatchManifest) -> bool:
    # Not by tag: in a storage that was migrated, that finds no backfill that has no run yet.
    active = backfills(instance, is_wanted=lambda status: status not in BACKFILL_FINISHED)
    wanted = {BATCH_TAG: batch.batch, VERSION_TAG: batch.version}
    return any(wanted.items() <= backfill.tags.items() for backfill in active)


def _chunks_in_progress(instance: DagsterInstance, batch: str) -> bool:
    """Whether runs of the batch's chunks are queued or running; the table waits for them."""
    runs = instance.get_runs(
        filters=dg.RunsFilter(tags={BATCH_TAG: batch}, statuses=list(_IN_PROGRESS)),
    )
    return any(run.tags.get(PARTITION_TAG) != batch for run in runs)


_IN_PROGRESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
