"""Carries a batch over the edges that Dagster's partition mappings cannot: input → chunks → table."""

import time
from collections.abc import Callable, Iterable

import dagster as dg
import msgspec
from dagster import DagsterInstance

from bedrock_batch_assets.asset_names import CHUNK_ASSETS
from bedrock_batch_assets.aws.error_kinds import is_passing
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.partition_keys import batch_of_chunk
from bedrock_batch_assets.runs.event_log import materializations_since, newest_event
from bedrock_batch_assets.sensors.abandoned_runs import abandoned_runs, ask_again, given_up_backfills
from bedrock_batch_assets.sensors.batch_facts import Facts
from bedrock_batch_assets.sensors.batch_needs import PROBLEM_SECONDS, Judge, Need, pending_chunks
from bedrock_batch_assets.sensors.cursors import encode_cursor, read_cursor
from bedrock_batch_assets.sensors.full_look import look_at_all
from bedrock_batch_assets.sensors.outages import skipping_outages
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import PARTITION_TAG

__all__ = ["CHUNK_ASSETS", "Cursor", "batch_progress_sensor", "pending_chunks", "progress"]

# Events read in one tick, each at well under a millisecond. Each batch that they touch costs one object from S3 and
# some queries: tens of milliseconds.
MAX_INPUT_EVENTS = 500
MAX_PART_EVENTS = 5_000
# Of a tick's 60 s; Dagster's own polling sensors leave 20 s as well. Batches that are left wait for the next tick.
TICK_BUDGET_SECONDS = 40.0
# Between two looks at all batches, beside the one that a sensor without a cursor begins with.
FULL_LOOK_SECONDS = 600.0
# The sensor's page names so many of what is waited for.
_NOTES_SHOWN = 3


class Cursor(msgspec.Struct):
    """How far the event log was read, and when batches have to be looked at without an event.

    Attributes:
        input_id: The last event of input_dataset that was read; None if the cursor is fresh.
        part_id: The last event of result_parts that was read.
        table_id: The newest event of result_table: if it is gone, a person has wiped the asset.
        waiting: By batch, when to look at it again (seconds since the epoch).
        looked_at: When all batches were looked at (seconds since the epoch).
    """

    input_id: int | None = None
    part_id: int = 0
    table_id: int = 0
    waiting: dict[str, float] = {}
    looked_at: float = 0.0


@dg.sensor(
    asset_selection=dg.AssetSelection.assets("input_dataset", *CHUNK_ASSETS, "result_table"),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts one backfill over the chunks of a new input, and builds the result table when all of its parts "
    "are there. A chunk whose result was made from the same rows, prompt, model and parameters is not asked for again. "
    "A batch that a person cancelled is not started again; work of a run that died is, if Dagster does not retry it.",
)
@skipping_outages
def batch_progress_sensor(
    context: dg.SensorEvaluationContext, storage: BatchStorage
) -> dg.SensorResult | dg.SkipReason:
    """Starts one backfill over a new input's chunks, and builds the result table when all of its parts are there."""
    if not storage.bucket:
        return dg.SkipReason("No bucket configured: set BEDROCK_BATCH_BUCKET, or run `make dev`.")
    return progress(context, storage, time.time)


def progress(context: dg.SensorEvaluationContext, storage: BatchStorage, clock: Callable[[], float]) -> dg.SensorResult:
    """One tick of the sensor.

    Args:
        context: Dagster's.
        storage: The bucket with the manifests.
        clock: Seconds since the epoch.
    """
    instance = context.instance
    now = clock()
    facts = Facts(instance)
    requests: list[dg.RunRequest] = []
    abandoned = abandoned_runs(instance)
    for run in abandoned:
        context.log.warning(f"Run {run.run_id} of {run.tags[PARTITION_TAG]} died and is not retried: asking again.")
        requests.append(ask_again(run))
    given_up = given_up_backfills(instance)
    cursor, touched, with_new_part = _touched(facts, read_cursor(context.cursor, Cursor), now)
    first = dict.fromkeys([*touched, *dict(given_up), *_due(cursor.waiting, now)])
    keys = list(dict.fromkeys([*first, *with_new_part]))
    taken_care_of = frozenset(run.tags[PARTITION_TAG] for run in abandoned)
    judge = Judge(facts, storage, given_up, taken_care_of, now, context.log.warning)
    notes: list[str] = []
    left = list(reversed(keys))
    is_outage = False
    while left and not is_outage and clock() - now <= TICK_BUDGET_SECONDS:
        key = left.pop()
        cursor.waiting.pop(key, None)
        need, is_outage = _look_at(judge, key, after_part=key not in first)
        if need.problem is not None:
            context.log.error(need.problem)
        notes += [text for text in (need.problem, need.note) if text is not None]
        requests += need.requests
        if need.look_again_in is not None:
            cursor.waiting[key] = now + need.look_again_in
    cursor.waiting |= dict.fromkeys(left, now)
    return dg.SensorResult(
        run_requests=requests,
        cursor=encode_cursor(cursor),
        skip_reason=None if requests else _skip_reason(notes),
    )


def _look_at(judge: Judge, key: str, *, after_part: bool) -> tuple[Need, bool]:
    """What a batch needs, and whether AWS does not answer: then a look at any other batch is as slow, and in vain."""
    try:
        return judge.look_at(key, after_part=after_part), False
    except Exception as error:
        is_outage = is_passing(error)
        if not is_outage and not isinstance(error, BatchError):
            raise
        return Need(problem=f"Batch {key} cannot be looked at: {error}", look_again_in=PROBLEM_SECONDS), is_outage


def _touched(facts: Facts, cursor: Cursor, now: float) -> tuple[Cursor, list[str], list[str]]:
    """What has happened since the last tick.

    Returns:
        The next cursor; the batches with a new input, or all unfinished ones if that is not known; and those of which
        a part came in.
    """
    instance = facts.instance
    if _is_to_look_at_all(instance, cursor, now):
        # Before the look: what comes in meanwhile is an event for the next tick.
        table_id, _ = newest_event(instance, "result_table")
        look = look_at_all(facts)
        return Cursor(look.input_id, look.part_id, table_id, cursor.waiting, looked_at=now), look.batches, []
    inputs, input_id = materializations_since(instance, "input_dataset", cursor.input_id or 0, MAX_INPUT_EVENTS)
    parts, part_id = materializations_since(instance, "result_parts", cursor.part_id, MAX_PART_EVENTS)
    table_id, _ = newest_event(instance, "result_table")
    with_new_part = [batch for chunk, _ in parts if (batch := batch_of_chunk(chunk)) is not None]
    cursor = Cursor(input_id, part_id, table_id, cursor.waiting, cursor.looked_at)
    return cursor, [batch for batch, _ in inputs], with_new_part


def _is_to_look_at_all(instance: DagsterInstance, cursor: Cursor, now: float) -> bool:
    if cursor.input_id is None or not 0 <= now - cursor.looked_at < FULL_LOOK_SECONDS:
        return True
    # An event that was there and is not any more: a person wiped the asset, or the event log was lost.
    newest_input, _ = newest_event(instance, "input_dataset")
    newest_table, _ = newest_event(instance, "result_table")
    return newest_input < cursor.input_id or newest_table < cursor.table_id


def _due(waiting: dict[str, float], now: float) -> Iterable[str]:
    # The clock may have been set back: nothing waits for longer than it would have.
    return [batch for batch, at in sorted(waiting.items(), key=lambda item: item[1]) if not now < at <= now + 3600.0]


def _skip_reason(notes: list[str]) -> str:
    if not notes:
        return "No new input, and no batch whose parts are all in."
    more = f"; and {len(notes) - _NOTES_SHOWN} more" if len(notes) > _NOTES_SHOWN else ""
    return "; ".join(notes[:_NOTES_SHOWN]) + more
