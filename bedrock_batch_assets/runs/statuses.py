"""The run statuses that have not ended: one list for the sensors and for the command line."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterRunStatus

# Names of DagsterRunStatus. SUSPENDED waits on external work, without a process; Dagster has it since 1.13.26.
NOT_FINISHED_NAMES = ("QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "SUSPENDED", "CANCELING")
# A run with one of these statuses is at work, or waits for its job.
AT_WORK_NAMES = ("STARTED", "SUSPENDED")


def not_finished_statuses() -> "list[DagsterRunStatus]":
    """The statuses of a run that has not ended, as far as the installed Dagster has them."""
    return _known(NOT_FINISHED_NAMES)


def at_work_statuses() -> "list[DagsterRunStatus]":
    """The statuses of a run that may own a job."""
    return _known(AT_WORK_NAMES)


def _known(names: Iterable[str]) -> "list[DagsterRunStatus]":
    from dagster import DagsterRunStatus

    members = DagsterRunStatus.__members__
    return [members[name] for name in names if name in members]
