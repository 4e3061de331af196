"""The instance's database, which can be away for minutes: a failover, a restart, a lock, a full disk.

A run waits for a paid job for hours, and must outlast that. Dagster writes each event of a run and each line of its log
at once, and fails the step if it cannot; a step that failed is not started again. So in a run's process every call to
the database is repeated until it is back, whoever makes it: this package or Dagster.

Sensors have no time to wait. They end their tick and look again in the next one.
"""

import functools
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bedrock_batch_assets.internals.storage_internals import (
    STORAGE_ERROR_TEXT,
    STORAGE_ERRORS,
    step_errors,
    wrap_storage_calls,
)
from bedrock_batch_assets.jobs.clock import Clock

if TYPE_CHECKING:
    from dagster import DagsterInstance

# After that time a run gives up and its process ends. When the database is back, a sensor starts the run again.
LONGEST_OUTAGE_SECONDS = 3600.0
LONGEST_PAUSE_SECONDS = 5.0

# Results of SQLite that pass by themselves, or when a person has made room: busy, locked, out of memory, read-only,
# I/O error, disk full, cannot open, locking protocol (sqlite.org/rescode.html).
_SQLITE_PASSING = frozenset({5, 6, 7, 8, 10, 13, 14, 15})
_SQLITE_TEXTS = (
    "is locked",
    "out of memory",
    "readonly database",
    "disk I/O error",
    "disk is full",
    "unable to open database file",
    "locking protocol",
)
# A former primary, during a failover (PostgreSQL Documentation, appendix A: read_only_sql_transaction).
_READ_ONLY = "25006"
# Error classes of SQLAlchemy and of the drivers, which all have them (PEP 249).
_LOST_CONNECTION = frozenset({"OperationalError", "InterfaceError", "DisconnectionError"})
# Classes of psycopg for states that pass (the same appendix), for errors that are known by their text alone.
_PASSING_POSTGRES = frozenset(
    {
        "AdminShutdown",
        "CannotConnectNow",
        "ConnectionException",
        "CrashShutdown",
        "DiskFull",
        "OutOfMemory",
        "QueryCanceled",
        "ReadOnlySqlTransaction",
        "TooManyConnections",
    }
)
_NAMED_ERROR = re.compile(r"(?:sqlalchemy\.exc\.\w+: )?\(?(?P<library>\w+)(?:\.\w+)*\.(?P<kind>\w+)[):]")
_LIBRARIES = frozenset({"sqlalchemy", "psycopg2", "psycopg", "sqlite3", "pymysql", "mysql", "MySQLdb"})
_log = logging.getLogger(__name__)
_state = threading.local()
# Whether a run failed in an outage, by run id: sensors ask every few seconds, for a day.
_failures: dict[str, bool] = {}
Result = TypeVar("Result")


def is_outage(error: BaseException | None) -> bool:
    """Whether the error, or one that caused it, says that the database cannot be used at the moment."""
    while error is not None:
        if _is_outage(error):
            return True
        error = error.__cause__
    return False


def is_outage_text(text: str) -> bool:
    """Whether the text of an error, in an event of a run or in an answer of the webserver, says the same.

    Args:
        text: As Dagster writes it, e.g. `sqlalchemy.exc.OperationalError: (psycopg2.errors.AdminShutdown) …`.
    """
    if text.startswith(STORAGE_ERRORS) or text.startswith(STORAGE_ERROR_TEXT):
        return True
    found = _NAMED_ERROR.match(text)
    if found is None or found["library"] not in _LIBRARIES:
        return False
    if found["library"] == "sqlite3":
        return any(sign in text for sign in _SQLITE_TEXTS)
    return found["kind"] in _LOST_CONNECTION | _PASSING_POSTGRES


def outlast(call: Callable[[], Result], *, seconds: float, clock: Clock | None = None) -> Result:
    """Call until the database can be used, and return the result.

    A call whose answer was lost is made twice, so making it twice must do no harm.

    Args:
        call: Reads or writes the database.
        seconds: For how long it is repeated.
        clock: Time, for tests.

    Raises:
        Exception: Any other error than an outage, or the outage's own when the time is over.
    """
    clock = clock or Clock()
    started = clock.now()
    attempt = 0
    while True:
        try:
            result = call()
        except Exception as error:
            if not is_outage(error) or clock.now() - started > seconds:
                raise
            if attempt == 0:
                _log.warning("Dagster's database cannot be used at the moment, waiting for it: %s", error)
            clock.sleep(clock.backoff(attempt, LONGEST_PAUSE_SECONDS))
            attempt += 1
        else:
            if attempt:
                _log.warning("Dagster's database is back after %.0f s.", clock.now() - started)
            return result


def outlast_outages(instance: "DagsterInstance", clock: Clock | None = None) -> None:
    """Let every call to the instance's databases, from anywhere in this process, wait until they can be used.

    Meant for processes of runs. There Dagster itself uses the same instance: it writes the events of all steps to come.
    """
    wrap_storage_calls(instance, lambda call: _outlasting(call, clock))


def failed_in_outage(instance: "DagsterInstance", run_id: str) -> bool:
    """Whether a step of the run failed because the database was away. One query for each run, the first time only."""
    known = _failures.get(run_id)
    if known is None:
        # The reason why a run failed does not change.
        known = _failures[run_id] = any(map(is_outage_text, step_errors(instance, run_id)))
    return known


@contextmanager
def without_waiting() -> Iterator[None]:
    """Let calls in the block, by this thread, fail at once while the database is away."""
    before = getattr(_state, "fails_at_once", False)
    _state.fails_at_once = True
    try:
        yield
    finally:
        _state.fails_at_once = before


def _outlasting(call: Callable[..., Any], clock: Clock | None) -> Callable[..., Any]:
    @functools.wraps(call)
    def outlasting(*arguments: Any, **options: Any) -> Any:
        if getattr(_state, "fails_at_once", False):
            return call(*arguments, **options)
        # Storages call their own methods. Only the outermost call is repeated.
        with without_waiting():
            return outlast(lambda: call(*arguments, **options), seconds=LONGEST_OUTAGE_SECONDS, clock=clock)

    return outlasting


def _is_read_only(error: object) -> bool:
    return _READ_ONLY in (getattr(error, "pgcode", None), getattr(error, "sqlstate", None))


def _is_outage(error: BaseException) -> bool:
    kinds = type(error).__mro__
    if any(f"{kind.__module__}.{kind.__qualname__}" in STORAGE_ERRORS for kind in kinds):
        return True
    if isinstance(error, OSError):
        return False
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and isinstance(error, sqlite3.Error):
        # The extended result code keeps the primary one in its lowest byte.
        return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _SQLITE_PASSING
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    if sqlalchemy is not None and isinstance(error, sqlalchemy.DBAPIError):
        if sqlite3 is None or not isinstance(error.orig, sqlite3.Error):
            is_lost = isinstance(error, sqlalchemy.OperationalError | sqlalchemy.InterfaceError)
            return is_lost or error.connection_invalidated or _is_read_only(error.orig)
        return _is_outage(error.orig)
    if sqlalchemy is not None and isinstance(error, sqlalchemy.TimeoutError):
        # No connection of the pool became free.
        return True
    if _is_read_only(error):
        return True
    return any(kind.__module__.partition(".")[0] in _LIBRARIES and kind.__name__ in _LOST_CONNECTION for kind in kinds)
