"""The classes of Dagster's that the launcher and the executor of parked runs derive from.

Derived classes need them when they are defined, so these imports are not in functions. Only what parks imports this.
"""

from dagster import DagsterInstance
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher.base import CheckRunHealthResult, ResumeRunContext, WorkerStatus

__all__ = [
    "CheckRunHealthResult",
    "InProcessExecutor",
    "ResumeRunContext",
    "RetryMode",
    "WorkerStatus",
    "instance_of_launcher",
]


def instance_of_launcher(launcher: object) -> DagsterInstance:
    """The instance that a run launcher belongs to."""
    instance: DagsterInstance = launcher._instance  # type: ignore[attr-defined]
    return instance
