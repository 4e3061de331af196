"""Signs of life of many runs at once."""

import dagster as dg
import pytest

from bedrock_batch_assets.runs.heartbeat import beating, last_beats
from bedrock_batch_assets.sensors.orphans import end_dead_runs


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each read of the instance's small values asked for."""
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

    asked: list[int] = []
    read = SqlRunStorage.get_cursor_values

    def counted(self: SqlRunStorage, keys: set[str]) -> object:
        asked.append(len(keys))
        return read(self, keys)

    monkeypatch.setattr(SqlRunStorage, "get_cursor_values", counted)
    return asked


def test_beats_of_many_runs_are_read_five_hundred_at_a_time(queries: list[int]) -> None:
    """A database's limit on values in a query is kept, and only runs that have left a beat are in the answer."""
    names = [f"run-{number}" for number in range(1100)]
    with dg.DagsterInstance.ephemeral() as instance:
        for name in (names[0], names[-1]):
            with beating(instance, name):
                pass
        assert set(last_beats(instance, names)) == {names[0], names[-1]}
    assert queries == [500, 500, 100]


def test_all_running_runs_are_looked_at_with_one_query(queries: list[int]) -> None:
    """What a tick of the sensor costs does not grow by a query for each run that waits."""
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(30):
            tags = {"bedrock/batch": "demo", "bedrock/partition": f"demo-{number:05d}"}
            run = dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags)
            instance.run_storage.add_run(run)
        end_dead_runs(instance, 0.0)
    assert queries == [30]
