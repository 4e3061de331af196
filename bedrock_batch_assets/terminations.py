"""Whether a person ended a run. Dagster ends runs too: those of a backfill that it gives up."""

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import BACKFILL_ID_TAG

_GIVEN_UP = frozenset({BulkActionStatus.FAILING, BulkActionStatus.FAILED})
_TERMINATED = frozenset({DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED})


def is_terminated_by_person(instance: DagsterInstance, run: DagsterRun | None) -> bool:
    """Whether somebody terminated the run, or cancelled its backfill: then its job is not wanted any more.

    A backfill that failed, since its assets could not be loaded for example, cancels its runs as well. Nobody wanted
    that, and their jobs go on.
    """
    if run is None or run.status not in _TERMINATED:
        return False
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return backfill is None or backfill.status not in _GIVEN_UP
