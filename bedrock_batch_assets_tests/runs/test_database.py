"""Databases that are away: which errors say so, and what waits for them."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._utils.error import serializable_error_info_from_exc_info

from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.runs import database
from bedrock_batch_assets.runs.database import (
    failed_in_outage,
    is_outage,
    is_outage_text,
    outlast,
    outlast_outages,
    without_waiting,
)
from bedrock_batch_assets.runs.job_notices import has_finished_notice, post_finished_notices
from bedrock_batch_assets_tests.postgres import Postgres

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"


def caught(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which one it is, the test looks at
        call()
    assert isinstance(raised.value, Exception)
    return raised.value


def texts(error: BaseException) -> list[str]:
    """What is left of the error in an event of a run: the text of itself, and of what caused it."""
    assert error.__traceback__ is not None
    info: Any = serializable_error_info_from_exc_info((type(error), error, error.__traceback__))
    found: list[str] = []
    while info is not None:
        found.append(info.message)
        info = info.cause
    return found


class SteppedClock:
    """Time that passes while somebody sleeps, and what happens then."""

    def __init__(self, *happenings: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._happenings = list(happenings)
        self.clock = Clock(now=lambda: self.seconds, sleep=self._sleep, random=lambda: 1.0)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self._happenings:
            self._happenings.pop(0)()


# What the errors of real databases say.


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A database file, and a connection of another program's."""
    file = tmp_path / "some.db"
    with sqlite3.connect(file) as other:
        other.execute("create table t (x)")
        other.commit()
        yield file, other
    other.close()


def run_sqlite(file: Path, statement: str, options: str = "") -> None:
    engine = db.create_engine(f"sqlite:///file:{file}?uri=true{options}", connect_args={"timeout": 0.0})
    with engine.connect() as connection:
        connection.execute(db.text("pragma max_page_count = 2"))
        connection.execute(db.text(statement))


def test_sqlite(sqlite_file: tuple[Path, sqlite3.Connection]) -> None:
    """A locked, read-only, full or unreachable database file is an outage; a statement that is wrong is none."""
    file, other = sqlite_file
    full = caught(lambda: run_sqlite(file, "insert into t select randomblob(9000)"))
    read_only = caught(lambda: run_sqlite(file, "insert into t values (1)", "&mode=ro"))
    missing = caught(lambda: run_sqlite(file / "no folder" / "some.db", "select 1"))
    other.execute("begin exclusive")
    locked = caught(lambda: run_sqlite(file, "insert into t values (1)"))
    other.rollback()
    outages = {"full": full, "readonly": read_only, "unable to open": missing, "locked": locked}
    for sign, error in outages.items():
        assert sign in str(error)
        assert is_outage(error)
        assert any(map(is_outage_text, texts(error)))
        assert is_outage_text(str(error))
    for text in ("select * from nothing", "no statement"):
        error = caught(partial(run_sqlite, file, text))
        assert isinstance(error, db.exc.OperationalError)
        assert not is_outage(error)
        assert not any(map(is_outage_text, texts(error)))


def test_postgres(postgres: Postgres, postgres_instance: dg.DagsterInstance, quick_driver: None) -> None:
    """A server that is gone, that ends connections, or that is no primary any more is an outage; wrong SQL is none."""
    engine = db.create_engine(postgres.url)
    with engine.connect() as connection:
        wrong = caught(lambda: connection.execute(db.text("select * from nothing")))
        connection.rollback()
        connection.execute(db.text("set default_transaction_read_only = on"))
        connection.commit()
        demoted = caught(lambda: connection.execute(db.text("create table t (x int)")))
        connection.rollback()
        cancelled = caught(lambda: connection.execute(db.text("set statement_timeout = 1; select pg_sleep(5)")))
        connection.rollback()
        postgres.stop()
        broken = caught(lambda: connection.execute(db.text("select 1")))
    refused = caught(lambda: engine.connect())
    of_dagster = caught(lambda: postgres_instance.get_runs())
    assert not is_outage(wrong)
    assert not any(map(is_outage_text, texts(wrong)))
    for error in (demoted, cancelled, broken, refused, of_dagster):
        assert is_outage(error), repr(error)
        assert is_outage_text(texts(error)[0]), texts(error)[0]
        assert is_outage_text(str(error)), str(error)
    assert type(of_dagster).__name__ == "DagsterPostgresException"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: (psycopg2.OperationalError) quoted in another error",
        "boto3.exceptions.OperationalError: no database",
        "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedTable) relation does not exist",
        "sqlalchemy.exc.IntegrityError: (sqlite3.IntegrityError) UNIQUE constraint failed",
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: runs",
    ],
)
def test_texts_of_other_errors(text: str) -> None:
    """An error of something else, or that does not pass, is no outage, whatever it quotes."""
    assert not is_outage_text(text)


def test_causes() -> None:
    """An error that an outage caused is one; an error that came up while one was handled is not."""
    lost = db.exc.OperationalError("select", {}, Exception("gone"))
    wrapped = ValueError("cannot look")
    wrapped.__cause__ = lost
    handling = ValueError("something else")
    handling.__context__ = lost
    assert is_outage(wrapped)
    assert not is_outage(handling)
    assert not is_outage(None)


# Waiting.


def test_a_call_is_repeated_until_the_database_is_back() -> None:
    """It waits with pauses that grow to five seconds, and gives up when its time is over; other errors come at once."""
    stepped = SteppedClock()
    tries: list[float] = []

    def call() -> str:
        tries.append(stepped.seconds)
        if len(tries) < 7:
            raise db.exc.OperationalError("select", {}, Exception("gone"))
        return "done"

    assert outlast(call, seconds=60.0, clock=stepped.clock) == "done"
    assert tries == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0, 22.0]
    tries.clear()
    with pytest.raises(db.exc.OperationalError):
        outlast(call, seconds=10.0, clock=stepped.clock)
    with pytest.raises(ZeroDivisionError):
        outlast(lambda: 1 / 0, seconds=20.0, clock=stepped.clock)


def test_everything_in_a_runs_process_waits(
    postgres: Postgres, postgres_instance: dg.DagsterInstance, quick_driver: None
) -> None:
    """Reads, writes, events and tags wait for a Postgres that is stopped, whichever of them meets it first."""
    instance = postgres_instance
    stepped = SteppedClock(*[postgres.start] * 10)
    outlast_outages(instance, stepped.clock)
    run = dg.DagsterRun(job_name="some_job")
    calls: dict[str, Callable[[], object]] = {
        "new run": lambda: instance.add_run(run),
        "run": lambda: instance.get_run_by_id(run.run_id),
        "runs": lambda: instance.get_runs(limit=1),
        "tags": lambda: instance.add_run_tags(run.run_id, {"a": "b"}),
        "event": lambda: instance.report_engine_event("something", run),
        "end": lambda: instance.report_run_failed(run),
        "partitions": lambda: instance.add_dynamic_partitions("some", ["a"]),
        "backfill": lambda: instance.get_backfill("none"),
        "values": lambda: instance.run_storage.set_cursor_values({"a": "b"}),
    }
    for name, call in calls.items():
        before = stepped.seconds
        postgres.stop()
        call()
        assert stepped.seconds == before + 1.0, name
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert (found.status, found.tags["a"]) == (dg.DagsterRunStatus.FAILURE, "b")
    assert instance.get_dynamic_partitions("some") == ["a"]


def test_waiting_has_an_end(
    postgres: Postgres,
    postgres_instance: dg.DagsterInstance,
    quick_driver: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process does not wait for a database for ever, and not at all inside `without_waiting`."""
    monkeypatch.setattr(database, "LONGEST_OUTAGE_SECONDS", 60.0)
    stepped = SteppedClock()
    outlast_outages(postgres_instance, stepped.clock)
    # A second time changes nothing.
    outlast_outages(postgres_instance, stepped.clock)
    postgres.stop()
    with without_waiting():
        assert is_outage(caught(lambda: postgres_instance.get_runs(limit=1)))
    assert stepped.seconds == 0.0
    assert is_outage(caught(lambda: postgres_instance.get_runs(limit=1)))
    assert 60.0 < stepped.seconds <= 65.0


def test_a_locked_sqlite_database_is_waited_for(tmp_path: Path) -> None:
    """A run writes its events when another program lets go of the file, as a backup does."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        other = sqlite3.connect(tmp_path / "history" / "runs.db", isolation_level=None, check_same_thread=False)

        def let_go() -> None:
            other.execute("rollback")

        stepped = SteppedClock(let_go)
        outlast_outages(instance, stepped.clock)
        run = dg.DagsterRun(job_name="some_job")
        instance.add_run(run)
        other.execute("begin exclusive")
        instance.add_run_tags(run.run_id, {"a": "b"})
        other.close()
        assert stepped.seconds == 1.0
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.tags["a"] == "b"


def test_a_database_that_is_away_is_no_notice(
    postgres: Postgres, postgres_instance: dg.DagsterInstance, quick_driver: None
) -> None:
    """Whoever listens for word of a job goes on with its own polling, at once, and hears of it when all is back."""
    stepped = SteppedClock()
    outlast_outages(postgres_instance, stepped.clock)
    post_finished_notices(postgres_instance, [ARN])
    postgres.stop()
    assert not has_finished_notice(postgres_instance, ARN)
    assert stepped.seconds == 0.0
    postgres.start()
    assert has_finished_notice(postgres_instance, ARN)


@pytest.mark.parametrize(("error", "expected"), [("outage", True), ("own", False)])
def test_why_a_run_failed(error: str, expected: bool) -> None:
    """A step that an outage ended is told from one that had a reason of its own, by what the event log keeps."""

    @dg.asset
    def failing() -> None:
        lost = db.exc.OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
        if error == "outage":
            raise RuntimeError("cannot write") from lost
        raise RuntimeError("(sqlite3.OperationalError) database is locked")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
        assert not result.success
        assert failed_in_outage(instance, result.run_id) is expected
        # What a run failed of does not change, and is not read again.
        instance.delete_run(result.run_id)
        assert failed_in_outage(instance, result.run_id) is expected
