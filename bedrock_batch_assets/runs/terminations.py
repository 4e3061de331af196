"""Who ended a run: a person, a newer input, or Dagster, which ends the runs of a backfill that it gives up."""

from collections.abc import Mapping
from enum import Enum

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_CANCELED,
    BACKFILL_GIVEN_UP,
    find_backfill,
)
from bedrock_batch_assets.tags import SUPERSEDED_TAG

_TERMINATED = frozenset({DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED})


class EndedBy(Enum):
    """Who ended a run, and so what becomes of its job.

    - `nobody`: the job goes on, and whoever takes up the run's work attaches to it.
    - `person`: the job is not wanted any more.
    - `newer_input`: the job is wanted if the batch still has the chunk, with the same content.
    """

    nobody = "nobody"
    person = "person"
    newer_input = "newer input"


def ended_by(instance: DagsterInstance, run: DagsterRun | None) -> EndedBy:
    """Who terminated the run, or cancelled its backfill.

    A backfill that failed, since its assets could not be loaded for example, cancels its runs as well. Nobody wanted
    that, and their jobs go on. On the other hand a run may die just before its backfill is cancelled: it stays failed,
    and is not retried.
    """
    if run is None:
        return EndedBy.nobody
    backfill = find_backfill(instance, run)
    if run.status in _TERMINATED:
        is_ended = backfill is None or backfill.status not in BACKFILL_GIVEN_UP
    else:
        is_dead = run.status is DagsterRunStatus.FAILURE and AUTO_RETRY_RUN_ID_TAG not in run.tags
        is_ended = is_dead and backfill is not None and backfill.status in BACKFILL_CANCELED
    if not is_ended:
        return EndedBy.nobody
    made_way = is_superseded(run.tags, run.run_id) or (
        # The backfill's tags as they are now: a run has those of the time when it was made.
        backfill is not None and is_superseded(backfill.tags, backfill.id)
    )
    return EndedBy.newer_input if made_way else EndedBy.person


def superseded_tag(identifier: str, version: str) -> dict[str, str]:
    """The tag of a run or backfill that makes way for this version of the input.

    It names its owner: whoever executes a run or a backfill again copies its tags.
    """
    return {SUPERSEDED_TAG: f"{identifier}/{version}"}


def is_superseded(tags: Mapping[str, str], identifier: str) -> bool:
    """Whether this run or backfill was ended since its batch has a newer input."""
    return tags.get(SUPERSEDED_TAG, "").startswith(f"{identifier}/")


def is_terminated_by_person(instance: DagsterInstance, run: DagsterRun | None) -> bool:
    """Whether somebody terminated the run, or cancelled its backfill: then its job is not wanted any more."""
    return ended_by(instance, run) is EndedBy.person
