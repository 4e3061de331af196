"""Tells people that a batch has ended. A notice that cannot be sent is tried again, and never fails a batch."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec
from dagster import DagsterInstance, DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import (
    BACKFILL_FINISHED,
    BACKFILL_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    STEP_FAILURE,
    backfills,
)
from bedrock_batch_assets.notices.notice import Notice, State
from bedrock_batch_assets.notices.resource import Notices
from bedrock_batch_assets.runs.event_log import materializations_since, newest_event
from bedrock_batch_assets.runs.identity import assets_of, identify, newest_runs_of
from bedrock_batch_assets.sensors.cursors import encode_cursor, read_cursor
from bedrock_batch_assets.sensors.outages import skipping_outages
from bedrock_batch_assets.tags import BATCH_TAG

# Ticks in which a notice is tried, each with a few tries of its own: at a tick a minute, half an hour.
MAX_TICKS = 30
# A job lives at most 168 hours, and a backfill as long as its jobs.
LONGEST_BACKFILL = timedelta(days=9)
TICK_BUDGET_SECONDS = 30.0
_MOST_EVENTS = 100
_STATUSES = ("ok", "error", "truncated", "skipped", "missing")


class Unsent(msgspec.Struct, array_like=True):
    """A notice that a target has not taken yet, and how often it was tried."""

    notice: Notice
    target: str
    ticks: int = 0


class Cursor(msgspec.Struct):
    """How far the instance was read. Without one, only what comes after the first tick is told.

    Attributes:
        table_id: The newest table that was told of.
        failures_since: Runs that failed before are known (seconds since the epoch).
        backfills: Backfills that have ended and are known, with their time of creation.
        unsent: Notices to try again.
    """

    table_id: int | None = None
    failures_since: float = 0.0
    backfills: dict[str, float] = {}
    unsent: list[Unsent] = []


@dg.sensor(
    asset_selection=dg.AssetSelection.assets("result_table"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends one message per batch when it is done, failed, refused or over budget: to SNS, a webhook or "
    "EventBridge, as the resource `notices` says. A message that cannot be sent is tried again for half an hour.",
)
@skipping_outages
def batch_notices_sensor(context: dg.SensorEvaluationContext, notices: Notices) -> dg.SensorResult | dg.SkipReason:
    """Sends one message per batch that has ended."""
    if not notices.targets():
        return dg.SkipReason("No notices configured: see the resource notices.")
    cursor = read_cursor(context.cursor, Cursor)
    now = time.time()
    if cursor.table_id is None:
        first = Cursor(
            table_id=newest_event(context.instance, "result_table")[0],
            failures_since=now,
            backfills=_ended_backfills(context.instance, now),
        )
        return dg.SensorResult(cursor=encode_cursor(first), skip_reason="Notices begin now.")
    found = [*_done(context.instance, cursor, notices.ui_url), *_refused(context.instance, cursor, notices.ui_url, now)]
    found += _failed(context.instance, cursor, notices.ui_url, now)
    waiting = cursor.unsent + [Unsent(notice, target) for notice in found for target in notices.targets()]
    cursor.unsent = send_all(notices, waiting, context.log.warning, time.monotonic)
    sent = len(waiting) - len(cursor.unsent)
    return dg.SensorResult(cursor=encode_cursor(cursor), skip_reason=f"{sent} notices sent.")


def send_all(
    notices: Notices, waiting: list[Unsent], complain: Callable[[str], None], clock: Callable[[], float]
) -> list[Unsent]:
    """Send notices, and return those to try again in the next tick."""
    left: list[Unsent] = []
    deadline = clock() + TICK_BUDGET_SECONDS
    for item in waiting:
        if clock() > deadline:
            left.append(item)
            continue
        try:
            notices.send(item.notice, item.target)
        except Exception as error:  # noqa: BLE001  # whatever it is, no batch may fail for it
            ticks = item.ticks + 1
            again = "trying again in a minute" if ticks < MAX_TICKS else "given up"
            complain(f"The notice of batch {item.notice.batch} cannot be sent to {item.target}, {again}: {error}")
            if ticks < MAX_TICKS:
                left.append(Unsent(item.notice, item.target, ticks))
    return left


def _done(instance: DagsterInstance, cursor: Cursor, ui_url: str) -> Iterator[Notice]:
    tables, cursor.table_id = materializations_since(instance, "result_table", cursor.table_id or 0, _MOST_EVENTS)
    for batch, values in tables:
        cost = values.get("cost_usd")
        yield Notice(
            batch=batch,
            state="done",
            rows={status: int(values[status]) for status in _STATUSES if isinstance(values.get(status), int)},
            cost_usd=float(cost) if isinstance(cost, int | float) else None,
            url=f"{ui_url}/assets/result_table?view=partitions&partition={batch}" if ui_url else "",
        )


def _refused(instance: DagsterInstance, cursor: Cursor, ui_url: str, now: float) -> Iterator[Notice]:
    """Runs that read an input and failed with an error of their step: the request, or its table, cannot be used."""
    records = instance.get_run_records(
        filters=dg.RunsFilter(
            statuses=[DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(cursor.failures_since, UTC)
        ),
        limit=_MOST_EVENTS,
    )
    since = cursor.failures_since
    cursor.failures_since = now
    for record in reversed(records):
        run = record.dagster_run
        ended = record.end_time or 0.0
        identity = identify(instance, run)
        if identity is None or not since <= ended < now or "input_dataset" not in assets_of(instance, run):
            continue
        if run.tags.get(RUN_FAILURE_REASON_TAG) == STEP_FAILURE:
            reason = _reason(instance, run.run_id)
            state: State = "over budget" if "may cost up to" in reason else "refused"
            yield Notice(batch=identity.batch, state=state, reason=reason, url=_run_url(ui_url, run.run_id))


def _failed(instance: DagsterInstance, cursor: Cursor, ui_url: str, now: float) -> Iterator[Notice]:
    """Batches whose backfill has ended and left chunks whose last run failed."""
    ended = _ended_backfills(instance, now)
    for backfill_id in ended.keys() - cursor.backfills.keys():
        runs = instance.get_runs(
            filters=dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}, statuses=[DagsterRunStatus.FAILURE])
        )
        failed: dict[str, dg.DagsterRun] = {}
        for run in runs:
            identity = identify(instance, run)
            if (
                identity is not None
                and newest_runs_of(instance, identity.partition)[0].dagster_run.run_id == run.run_id
            ):
                failed[identity.partition] = run
        if failed:
            chunk, run = next(iter(sorted(failed.items())))
            reason = f"{len(failed)} chunks failed; {chunk}: {_reason(instance, run.run_id)}"
            batch = run.tags.get(BATCH_TAG, "")
            url = f"{ui_url}/runs/b/{backfill_id}" if ui_url else ""
            yield Notice(batch=batch, state="failed", reason=reason, url=url)
    cursor.backfills = ended


def _ended_backfills(instance: DagsterInstance, now: float) -> dict[str, float]:
    since = datetime.fromtimestamp(now, UTC) - LONGEST_BACKFILL
    found = backfills(instance, is_wanted=lambda status: status in BACKFILL_FINISHED, created_after=since)
    return {item.id: item.created_at for item in found if BATCH_TAG in item.tags}


def _reason(instance: DagsterInstance, run_id: str) -> str:
    """What the step that failed says."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
    for record in records:
        event = record.event_log_entry.dagster_event
        data = event.step_failure_data if event is not None else None
        if data is not None and data.user_failure_data is not None and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        if data is not None and data.error is not None:
            return " ".join(data.error.message.split())
    return "see its run"


def _run_url(ui_url: str, run_id: str) -> str:
    return f"{ui_url}/runs/{run_id}" if ui_url else ""
