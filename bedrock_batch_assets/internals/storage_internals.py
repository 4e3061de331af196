"""What is private in Dagster's storages: the calls that read and write its databases, and what is left of their errors.

See `dagster_internals.py` for the rest of what Dagster keeps private, and for what happens if a part is missing.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals.private_parts import PrivateParts

if TYPE_CHECKING:
    from dagster import DagsterInstance

PRIVATE_PARTS = PrivateParts(
    "Dagster",
    "dagster>=1.13,<1.14",
    {
        "storages' methods": (
            "Read in dagster 1.13.27 (DagsterInstance.run_storage and event_log_storage, whose public methods are all "
            "that Dagster reads and writes of runs and events with): the place where calls can wait for a database "
            "that is away. Without it an outage of half a minute ends every run that writes something meanwhile."
        ),
        "step failures": (
            "Read in dagster 1.13.27 (DagsterInstance.all_logs, StepFailureData.error and SerializableErrorInfo): what "
            "a step failed of. Without it a run whose step failed since the database was away waits for a person."
        ),
        "errors of storages": (
            "Read in dagster-postgres 0.29.27 (dagster_postgres.utils.DagsterPostgresException, of which dagster-mysql "
            "has its like): what their storages raise after their own tries. Without the names such an error counts "
            "as one that does not pass, and ends the run."
        ),
    },
)

# Its errors, which derive from Exception alone.
STORAGE_ERRORS = ("dagster_postgres.utils.DagsterPostgresException", "dagster_mysql.utils.DagsterMySQLException")
# The message of those errors, which the webserver shows without their name.
STORAGE_ERROR_TEXT = "too many retries for DB connection"

# Methods that set up and close a storage.
_NO_CALLS = frozenset({"dispose", "watch", "end_watch", "optimize_for_webserver", "upgrade", "wipe"})
_MARK = "_bedrock_batch_wrapped"


def wrap_storage_calls(instance: "DagsterInstance", wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put something around each call to the databases of an instance, whoever makes it. A second time nothing happens.

    Args:
        instance: The instance. Other instances on the same databases are not changed.
        wrap: Given a method that reads or writes, returns what is called in its place.
    """
    storages = [getattr(instance, name, None) for name in ("run_storage", "event_log_storage")]
    if None in storages:
        PRIVATE_PARTS.say_once("storages' methods")
    for storage in storages:
        if storage is None or _MARK in vars(storage):
            continue
        for name in dir(type(storage)):
            is_method = inspect.isfunction(inspect.getattr_static(type(storage), name))
            if is_method and not name.startswith("_") and name not in _NO_CALLS:
                setattr(storage, name, wrap(getattr(storage, name)))
        vars(storage)[_MARK] = True


def step_errors(instance: "DagsterInstance", run_id: str) -> list[str]:
    """The errors that made steps of the run fail, with their causes: texts that begin with the error's class."""
    from dagster import DagsterEventType

    found: list[str] = []
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        try:
            error: Any = entry.dagster_event.step_failure_data.error  # type: ignore[union-attr]
            while error is not None:
                found.append(str(error.message))
                error = error.cause
        except AttributeError as missing:
            PRIVATE_PARTS.say_once("step failures", missing)
    return found
