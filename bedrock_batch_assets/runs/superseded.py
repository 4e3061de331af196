"""Ending the work on an earlier input of a batch when there is a newer one.

A backfill cannot go on when some of its partitions are deleted: Dagster fails it, and ends all of its runs. So it is
cancelled before that, with the reason, and the newer input's backfill takes over what has not changed: its runs attach
to the jobs that there are. The jobs of chunks that the batch has no more, or that changed, are stopped by their runs.
"""

from collections.abc import Iterable

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from bedrock_batch_assets.internals.dagster_internals import (
    BACKFILL_ID_TAG,
    BACKFILL_REQUESTED,
    backfills,
    cancel_backfill,
    cancel_queued_run,
)
from bedrock_batch_assets.runs.identity import identify, newest_runs_of
from bedrock_batch_assets.runs.statuses import not_finished_statuses
from bedrock_batch_assets.runs.terminations import EndedBy, ended_by, superseded_tag
from bedrock_batch_assets.tags import BATCH_TAG, JOB_TAG, VERSION_TAG


def supersede_backfills(instance: DagsterInstance, batch: str, version: str) -> list[str]:
    """Cancel the batch's backfills of other versions of its input than this one. Returns their ids.

    The daemon ends their runs, which takes it up to half a minute; those that only wait in the queue end here.
    """
    # Not by tag: in a storage that was migrated, that finds no backfill that has no run yet.
    active = backfills(instance, is_wanted=lambda status: status == BACKFILL_REQUESTED)
    ended: list[str] = []
    for backfill in active:
        of_version = backfill.tags.get(VERSION_TAG)
        if backfill.tags.get(BATCH_TAG) != batch or of_version in {None, version}:
            continue
        why = (
            f"Cancelled: the batch has a newer input (version {version}), whose backfill goes on with the jobs of "
            "chunks that have not changed."
        )
        if cancel_backfill(instance, backfill, superseded_tag(backfill.id, version), why):
            _cancel_queued(instance, backfill.id)
            ended.append(backfill.id)
    return ended


def end_runs_of_chunks(instance: DagsterInstance, chunks: Iterable[str], version: str) -> dict[str, str]:
    """End all runs on chunks that the batch has no more, so that they stop their jobs.

    Returns:
        By run id: why a run cannot be ended, or an empty text.
    """
    gone = frozenset(chunks)
    said: dict[str, str] = {}
    if not gone:
        return said
    for run in instance.get_runs(filters=RunsFilter(statuses=not_finished_statuses())):
        identity = identify(instance, run)
        if identity is None or not identity.of_chunk or identity.partition not in gone:
            continue
        instance.add_run_tags(run.run_id, superseded_tag(run.run_id, version))
        said[run.run_id] = _end(instance, run)
    return said


def families_left_behind(instance: DagsterInstance, chunk: str, family: str) -> list[str]:
    """Families of jobs that the chunk's last runs left going when they made way for a newer input, but for `family`."""
    found: list[str] = []
    for record in newest_runs_of(instance, chunk):
        run = record.dagster_run
        earlier = run.tags.get(JOB_TAG)
        if earlier is None or earlier == family or earlier in found:
            continue
        if ended_by(instance, run) is EndedBy.newer_input:
            found.append(earlier)
    return found


def _cancel_queued(instance: DagsterInstance, backfill_id: str) -> None:
    queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED], tags={BACKFILL_ID_TAG: backfill_id})
    for run in instance.get_runs(filters=queued):
        _cancel(instance, run)


def _end(instance: DagsterInstance, run: DagsterRun) -> str:
    if run.status in {DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED}:
        _cancel(instance, run)
        return ""
    if run.status is DagsterRunStatus.CANCELING:
        return ""
    try:
        is_asked = instance.run_launcher.terminate(run.run_id)
    except Exception as error:  # noqa: BLE001  # Each launcher has errors of its own, and the input is in all the same.
        return f"its launcher does not end it: {error}"
    return "" if is_asked else "its launcher cannot end it at the moment"


def _cancel(instance: DagsterInstance, run: DagsterRun) -> None:
    cancel_queued_run(instance, run, "Cancelled in the queue: the batch has a newer input.")
