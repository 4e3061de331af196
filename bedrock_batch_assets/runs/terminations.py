"""Whether a person ended a run. Dagster ends runs too: those of a backfill that it gives up."""

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from bedrock_batch_assets.internals.dagster_internals import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_CANCELED,
    BACKFILL_GIVEN_UP,
    find_backfill,
)

_TERMINATED = frozenset({DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED})


def is_terminated_by_person(instance: DagsterInstance, run: DagsterRun | None) -> bool:
    """Whether somebody terminated the run, or cancelled its backfill: then its job is not wanted any more.

    A backfill that failed, since its assets could not be loaded for example, cancels its runs as well. Nobody wanted
    that, and their jobs go on. On the other hand a run may die just before its backfill is cancelled: it stays failed,
    and is not retried.
    """
    if run is None:
        return False
    backfill = find_backfill(instance, run)
    if run.status in _TERMINATED:
        return backfill is None or backfill.status not in BACKFILL_GIVEN_UP
    is_dead = run.status is DagsterRunStatus.FAILURE and AUTO_RETRY_RUN_ID_TAG not in run.tags
    return is_dead and backfill is not None and backfill.status in BACKFILL_CANCELED
