"""Shows in the UI how far the jobs are: at most one sweep over the service's list a tick, whatever the number of jobs.

If there is a queue of state-change events, they say when to sweep. Since events can be lost, there is a sweep now
and then without any.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec
from dagster import AssetKey

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.internals.dagster_internals import BACKFILL_ID_TAG
from bedrock_batch_assets.jobs.events import JobEvent, drain_events
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.partition_keys import batch_of_chunk
from bedrock_batch_assets.runs.identity import RunIdentity, identify
from bedrock_batch_assets.runs.job_notices import post_finished_notices
from bedrock_batch_assets.runs.statuses import at_work_statuses
from bedrock_batch_assets.sensors.batch_panel import Panels, Shown, batch_panels
from bedrock_batch_assets.sensors.cursors import encode_cursor, read_cursor
from bedrock_batch_assets.sensors.orphans import canceled_jobs, end_dead_runs, family_of, stop_orphans
from bedrock_batch_assets.sensors.outages import skipping_outages
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import JOB_ARN_TAG

# A job lives at most 168 hours (`timeoutDurationInHours`) and some more in the service's queues.
LONGEST_LIFE = timedelta(days=9)
# Clocks differ, and submitTimeAfter may or may not include its bound.
MARGIN = timedelta(minutes=5)
# Of the tick's 60 s; Dagster's own polling sensors leave 20 s as well.
TICK_BUDGET_SECONDS = 40.0
# Of a tick, for reading events. The rest is for the sweep that they lead to.
EVENTS_BUDGET_SECONDS = 5.0
# With events: a minute between sweeps without one, at a tick each 10 s.
TICKS_PER_SWEEP = 6
# An observation costs the daemon 10 ms, on a busy machine 30: a tick is to stay under 10 s.
MAX_OBSERVATIONS = 200


class Cursor(msgspec.Struct):
    """What was last reported of each job in flight, and how far back the next sweep has to look."""

    since: datetime | None = None
    seen: dict[str, tuple[str, int]] = {}
    # Families of cancelled runs whose jobs have ended: nothing more to do for them.
    ended: list[str] = []
    # Ticks without a sweep since the last one.
    quiet_ticks: int = 0
    # What the panel of each batch in flight shows.
    panels: dict[str, Shown] = {}


@dg.sensor(
    asset_selection=dg.AssetSelection.assets("batch_job_outputs", "input_dataset"),
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports status and record counts of the jobs in flight as observations of batch_job_outputs, and how "
    "far each batch is as observations of input_dataset. Ends "
    "runs whose process is gone, so that a retry takes over their jobs, and stops jobs whose run was cancelled after "
    "its process had died.",
)
@skipping_outages
def job_status_sensor(
    context: dg.SensorEvaluationContext, jobs: BedrockBatchJobs, storage: BatchStorage
) -> dg.SensorResult | dg.SkipReason:
    """Reports the jobs in flight, ends runs whose process is gone, and stops jobs that have lost their run."""
    _end_dead_runs(context)
    if not jobs.role_arn:
        return dg.SkipReason("No service role configured: set BEDROCK_BATCH_ROLE_ARN, or run `make dev`.")
    cursor = read_cursor(context.cursor, Cursor)
    watched = _watched_jobs(context.instance, cursor)
    events = read_job_events(context, jobs, watched.owned) if jobs.event_queue_url else None
    if not watched.owned and not watched.orphaned:
        panels = _panels(context, storage, watched, [], cursor, jobs.console_url)
        next_cursor = Cursor(ended=watched.ended, panels=panels.shown)
        return dg.SensorResult(
            asset_events=panels.events, cursor=encode_cursor(next_cursor), skip_reason="No job in flight."
        )
    if not watched.orphaned and not is_time_to_look(cursor, watched.owned, events):
        quiet = msgspec.structs.replace(cursor, ended=watched.ended, quiet_ticks=cursor.quiet_ticks + 1)
        return dg.SensorResult(
            cursor=encode_cursor(quiet), skip_reason=f"{len(watched.owned)} jobs in flight, no event."
        )
    states = _look(context, jobs, watched, cursor.since)
    if isinstance(states, dg.SkipReason):
        return states
    panels = _panels(context, storage, watched, states, cursor, jobs.console_url)
    return _report_jobs(context.instance, watched, states, cursor, jobs.console_url, panels)


@dataclass(frozen=True)
class WatchedJobs:
    """The jobs of one tick.

    Attributes:
        owned: Chunk key by job ARN, for the jobs that running runs own.
        orphaned: Chunk key by family, for the jobs of cancelled runs.
        ended: Families of cancelled runs whose jobs have ended: nothing more to do for them.
        backfills: Backfill by batch, for the batches of owned jobs.
    """

    owned: dict[str, str]
    orphaned: dict[str, str]
    ended: list[str]
    backfills: dict[str, str]


def _end_dead_runs(context: dg.SensorEvaluationContext) -> None:
    """End the runs whose process is gone: Dagster retries them."""
    for run in end_dead_runs(context.instance, time.time()):
        identity = identify(context.instance, run)
        name = identity.partition if identity else "no partition"
        context.log.warning(f"Run {run.run_id} of {name} had no process any more: ended.")


def _watched_jobs(instance: dg.DagsterInstance, cursor: "Cursor") -> WatchedJobs:
    """What this tick has to know of, without asking the service."""
    canceled = canceled_jobs(instance)
    runs = runs_with_job(instance)
    return WatchedJobs(
        owned={run.tags[JOB_ARN_TAG]: identity.partition for run, identity in runs},
        backfills={identity.batch: run.tags[BACKFILL_ID_TAG] for run, identity in runs if BACKFILL_ID_TAG in run.tags},
        orphaned={family: chunk for family, chunk in canceled.items() if family not in cursor.ended},
        ended=[family for family in cursor.ended if family in canceled],
    )


def _look(
    context: dg.SensorEvaluationContext, jobs: BedrockBatchJobs, watched: WatchedJobs, since: datetime | None
) -> list[JobState] | dg.SkipReason:
    """Sweep over the service's list, and stop the jobs that nobody wants any more."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        states = sweep(jobs, watched.owned, watched.orphaned, since)
        for state in stop_orphans(jobs, states, watched.orphaned):
            context.log.warning(f"Stopping job {state.arn}: its run was cancelled, and has no process any more.")
    except (BatchError, ClientError, BotoCoreError) as error:
        return dg.SkipReason(f"Bedrock does not list its jobs at the moment: {error}")
    return states


def _panels(
    context: dg.SensorEvaluationContext,
    storage: BatchStorage,
    watched: WatchedJobs,
    states: list[JobState],
    cursor: "Cursor",
    console_url: str,
) -> Panels:
    """How far the batches in flight are."""
    in_flight: dict[str, dict[str, JobState]] = {}
    for state in states:
        chunk = watched.owned.get(state.arn)
        batch = batch_of_chunk(chunk) if chunk is not None else None
        if chunk is not None and batch is not None:
            in_flight.setdefault(batch, {})[chunk] = state
    return batch_panels(
        context.instance,
        storage,
        in_flight,
        cursor.panels,
        backfills=watched.backfills,
        console_url=console_url,
        now=time.time(),
        complain=context.log.warning,
    )


def _report_jobs(
    instance: dg.DagsterInstance,
    watched: WatchedJobs,
    states: list[JobState],
    cursor: "Cursor",
    console_url: str,
    panels: Panels,
) -> dg.SensorResult:
    """Observations of what changed, notices to the runs whose jobs have finished, and the next tick's cursor."""
    mine = [state for state in states if state.arn in watched.owned]
    news = [state for state in mine if cursor.seen.get(state.job_id) != state.progress]
    changed = news[:MAX_OBSERVATIONS]
    post_finished_notices(instance, [state.arn for state in news if state.finished])
    told = cursor.seen | {state.job_id: state.progress for state in changed}
    next_cursor = Cursor(
        since=_oldest(states, watched),
        seen={state.job_id: told[state.job_id] for state in mine if state.job_id in told},
        ended=watched.ended + _ended_families(states, watched),
        panels=panels.shown,
    )
    return dg.SensorResult(
        asset_events=[
            *(observation(watched.owned[state.arn], state, console_url) for state in changed),
            *panels.events,
        ],
        cursor=encode_cursor(next_cursor),
        skip_reason=f"{len(mine)} jobs in flight, {len(changed)} changed.",
    )


def _oldest(states: list[JobState], watched: WatchedJobs) -> datetime | None:
    """From which time of submission on the next sweep has to look; None for all jobs.

    A job that a run attached to can be older than all that were seen before: then the next sweep looks at all.
    """
    submitted = [state.submitted_at for state in states if state.submitted_at is not None]
    are_all_seen = watched.owned.keys() <= {state.arn for state in states}
    return min(submitted) - MARGIN if submitted and are_all_seen and not watched.orphaned else None


def _ended_families(states: list[JobState], watched: WatchedJobs) -> list[str]:
    """The orphaned families that were seen, and that have no job in flight any more."""
    live = {family_of(state) for state in states if not state.finished}
    seen = {family_of(state) for state in states} - live
    return sorted(family for family in watched.orphaned if family in seen)


def read_job_events(
    context: dg.SensorEvaluationContext, jobs: BedrockBatchJobs, owned: Mapping[str, str]
) -> list[JobEvent] | None:
    """Read the events that are there, and leave notices for the runs whose jobs have finished.

    Returns:
        The events, also of jobs that are not ours; None if the queue cannot be read, and each tick has to sweep.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    heard: list[JobEvent] = []

    def handle(events: list[JobEvent]) -> None:
        post_finished_notices(
            context.instance, [event.arn for event in events if event.finished and event.arn in owned]
        )
        heard.extend(events)

    def complain(text: str) -> None:
        context.log.warning(f"A message in the event queue is no state change of a job, and was deleted: {text}")

    try:
        drain_events(jobs, handle, complain, deadline=time.monotonic() + EVENTS_BUDGET_SECONDS)
    except (BatchError, ClientError, BotoCoreError) as error:
        context.log.error(f"The event queue cannot be read, so jobs are polled: {error}")
        return None
    return heard


def is_time_to_look(cursor: Cursor, owned: Mapping[str, str], events: list[JobEvent] | None) -> bool:
    """Whether this tick sweeps: an event brought news, a job is new, or it is time anyway."""
    if events is None or cursor.quiet_ticks + 1 >= TICKS_PER_SWEEP:
        return True
    reported = {arn: cursor.seen.get(arn.rsplit("/", 1)[-1], ("", 0))[0] for arn in owned}
    # Events come in any order, so each is compared and not only a job's last one.
    return "" in reported.values() or any(reported.get(event.arn, event.status) != event.status for event in events)


def runs_with_job(instance: dg.DagsterInstance) -> list[tuple[dg.DagsterRun, RunIdentity]]:
    """The running runs that own a job, whoever launched them."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=at_work_statuses()))
    owners = [(run, identify(instance, run)) for run in runs if JOB_ARN_TAG in run.tags]
    return [(run, identity) for run, identity in owners if identity is not None]


def sweep(
    jobs: BedrockBatchJobs, owned: Mapping[str, str], orphaned: Mapping[str, str], since: datetime | None
) -> list[JobState]:
    """The states of owned jobs (by ARN) and orphaned ones (by family), from one pass over the service's list.

    Stops when all owned jobs are found and no orphan is looked for, or when the tick's time is over.

    Args:
        jobs: The service.
        owned: By ARN.
        orphaned: By family, which can have several jobs, or none.
        since: Jobs submitted before are not looked at; ignored if orphans are looked for.
    """
    deadline = time.monotonic() + TICK_BUDGET_SECONDS
    start = datetime.now(UTC) - LONGEST_LIFE
    found: list[JobState] = []
    for state in jobs.list(submitted_after=start if orphaned or since is None else since):
        if state.arn in owned or family_of(state) in orphaned:
            found.append(state)
        if (len(found) == len(owned) and not orphaned) or time.monotonic() > deadline:
            break
    return found


def observation(chunk: str, state: JobState, console_url: str) -> dg.AssetObservation:
    """What people see of a job in flight, on its chunk's partition of batch_job_outputs."""
    metadata: dict[str, dg.MetadataValue | str | int] = {
        "status": state.status,
        "job_arn": state.arn,
        "console": dg.MetadataValue.url(console_url),
    }
    if state.total is not None:
        metadata["records_total"] = state.total
    if state.processed is not None:
        metadata["records_processed"] = state.processed
        metadata["records_succeeded"] = state.succeeded or 0
        metadata["records_failed"] = state.failed or 0
    return dg.AssetObservation(
        asset_key=AssetKey("batch_job_outputs"), partition=chunk, description=state.describe(), metadata=metadata
    )
