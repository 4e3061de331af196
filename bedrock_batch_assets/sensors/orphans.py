"""Runs without a process, and jobs without a run: who is responsible when the one who was is gone.

Nothing here asks whether the code server was restarted: workers survive that. A run is dead when its own process is.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import (
    BACKFILL_CANCELED,
    Backfill,
    backfills,
    end_run,
    keeps_values,
)
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.parking.marks import read_marks
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.runs.heartbeat import DEAD_AFTER_SECONDS, dead_runs
from bedrock_batch_assets.runs.identity import RunIdentity, identify
from bedrock_batch_assets.runs.statuses import not_finished_statuses
from bedrock_batch_assets.runs.terminations import EndedBy, ended_by, is_superseded
from bedrock_batch_assets.tags import BATCH_TAG, JOB_TAG

# For so long after a run was cancelled its job is looked after. Stopping takes the service minutes.
CANCELED_LOOKBACK = timedelta(hours=1)
_HELD = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
# Dagster's run monitoring ends these after minutes. If it is off nobody else does; a launcher may need long for a
# machine.
_NOT_STARTED = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
NOT_STARTED_SECONDS = 1800.0
_CANCELED_MESSAGE = "The run's process was gone before it could end by itself."
_FAILED_MESSAGE = "The run's process is gone. A retry takes over where it stopped."
_NOT_STARTED_MESSAGE = "The run has not started for half an hour, and run monitoring, which would end it, is off."


def end_dead_runs(instance: dg.DagsterInstance, now: float) -> list[dg.DagsterRun]:
    """End the runs of batches whose process is gone, and return them.

    One that was running fails, and Dagster's run retries start it again: it attaches to its job. One that was being
    cancelled is cancelled. Either way its place in the queue is free. If run monitoring is off, runs that never start
    are ended as well.

    Args:
        instance: The Dagster instance.
        now: Seconds since the epoch.
    """
    if not keeps_values(instance):
        # Without heartbeats a run that waits looks like a dead one.
        return []
    ended: list[dg.DagsterRun] = []
    statuses = _HELD if instance.run_monitoring_enabled else _HELD + _NOT_STARTED
    held = [record.dagster_run for record in instance.get_run_records(filters=dg.RunsFilter(statuses=statuses))]
    ours = [run for run in held if identify(instance, run) is not None]
    longest_silence = {
        run.run_id: NOT_STARTED_SECONDS if run.status in _NOT_STARTED else DEAD_AFTER_SECONDS for run in ours
    }
    # A run that is parked has no process, and one that is resumed has none yet: its launcher looks after both.
    parked = {run_id for run_id, mark in read_marks(instance, list(longest_silence)).items() if not mark.has_process}
    longest_silence = {run_id: seconds for run_id, seconds in longest_silence.items() if run_id not in parked}
    dead = dead_runs(instance, longest_silence, now)
    for run in (run for run in ours if run.run_id in dead):
        # It may have gone on or ended by itself since it was listed. If its process is gone, what it wrote is its last
        # word.
        latest = instance.get_run_by_id(run.run_id)
        if latest is None or (latest.status not in _HELD and latest.status is not run.status):
            continue
        is_canceled = latest.status is DagsterRunStatus.CANCELING
        failed = _NOT_STARTED_MESSAGE if latest.status in _NOT_STARTED else _FAILED_MESSAGE
        message = _CANCELED_MESSAGE if is_canceled else failed
        if end_run(instance, run, message, canceled=is_canceled):
            ended.append(run)
    return ended


def canceled_jobs(instance: dg.DagsterInstance, now: datetime | None = None) -> dict[str, str]:
    """Families of jobs, each with its chunk key, whose runs were cancelled of late and that nobody wants any more.

    Without those whose chunk another run works on by now, and those of a run that only made way for a newer input,
    which still has the chunk and was not cancelled itself. A family is named by its run before a job of it is asked
    for, so that a process that dies right after Create leaves no job behind that nobody can find.
    """
    since = (now or datetime.now(UTC)) - CANCELED_LOOKBACK
    ended = [DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE]
    canceled = instance.get_runs(filters=dg.RunsFilter(statuses=ended, updated_after=since))
    found: dict[str, str] = {}
    superseded: dict[str, RunIdentity] = {}
    for run in canceled:
        identity = identify(instance, run) if JOB_TAG in run.tags else None
        if identity is not None:
            by = ended_by(instance, run)
            if by is EndedBy.person:
                found[run.tags[JOB_TAG]] = identity.partition
            elif by is EndedBy.newer_input:
                superseded[run.tags[JOB_TAG]] = identity
    if superseded:
        assert chunks.name is not None
        known = set(instance.get_dynamic_partitions(chunks.name))
        cancelled = _cancelled_batches(instance, since)
        # Of a chunk that is still there, the newer input's run takes the job over, unless that was cancelled too.
        found |= {
            family: identity.partition
            for family, identity in superseded.items()
            if identity.partition not in known or identity.batch in cancelled
        }
    if not found:
        return {}
    active = instance.get_runs(filters=dg.RunsFilter(statuses=not_finished_statuses()))
    wanted = {identity.partition for run in active if (identity := identify(instance, run)) and identity.of_chunk}
    return {family: chunk for family, chunk in found.items() if chunk not in wanted}


def _cancelled_batches(instance: dg.DagsterInstance, since: datetime) -> set[str]:
    """Batches whose newest backfill a person cancelled."""
    newest: dict[str, Backfill] = {}
    for backfill in backfills(instance, created_after=since):
        if BATCH_TAG in backfill.tags:
            newest.setdefault(backfill.tags[BATCH_TAG], backfill)
    return {
        batch
        for batch, backfill in newest.items()
        if backfill.status in BACKFILL_CANCELED and not is_superseded(backfill.tags, backfill.id)
    }


def family_of(state: JobState) -> str | None:
    """The family of a job, or None if it is none of ours."""
    name = JobName.parse(state.name)
    return None if name is None else name.family


def stop_orphans(jobs: BedrockBatchJobs, states: Iterable[JobState], canceled: dict[str, str]) -> list[JobState]:
    """Stop the live jobs among `states` whose runs were cancelled with no process left to do it."""
    stopped: list[JobState] = []
    for state in states:
        if family_of(state) in canceled and not state.finished and state.status != "Stopping" and jobs.stop(state.arn):
            stopped.append(state)
    return stopped
