"""The mark of a run that waits for its job without a process.

A parked run keeps its id, its status and its place among the jobs in flight. What is known of it is one small value in
the instance's key-value store.
"""

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

import msgspec

from bedrock_batch_assets.internals.dagster_internals import read_values, write_values

if TYPE_CHECKING:
    from dagster import DagsterInstance

# Databases limit the values in a query, see `read_values`.
_RUNS_PER_QUERY = 500


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is that has been parked at least once, or was given another process.

    - `working`: it has a process.
    - `parked`: it has none, until `job` has ended.
    - `resuming`: a process was asked for, and has not begun yet.

    `replaces` is the ECS task whose place the process that was asked for takes. `resumes` counts the processes that
    were asked for after the first; `at` and `not_before` are in seconds since the epoch.
    """

    state: Literal["working", "parked", "resuming"]
    job: str = ""
    resumes: int = 0
    at: float = 0.0
    not_before: float = 0.0
    replaces: str = ""

    @property
    def has_process(self) -> bool:
        """Whether a process writes heartbeats for it."""
        return self.state == "working"


def read_mark(instance: "DagsterInstance", run_id: str) -> Mark | None:
    """The mark of a run; None if it has none."""
    return read_marks(instance, [run_id]).get(run_id)


def read_marks(instance: "DagsterInstance", run_ids: Collection[str]) -> dict[str, Mark]:
    """The marks of some runs, by run id."""
    ids = list(run_ids)
    found: dict[str, Mark] = {}
    for first in range(0, len(ids), _RUNS_PER_QUERY):
        keys = {_key(run_id): run_id for run_id in ids[first : first + _RUNS_PER_QUERY]}
        for key, text in read_values(instance, keys).items():
            found[keys[key]] = msgspec.json.decode(text, type=Mark)
    return found


def write_mark(instance: "DagsterInstance", run_id: str, mark: Mark) -> None:
    """Write a run's mark, with the time of now."""
    stamped = msgspec.structs.replace(mark, at=time.time())
    write_values(instance, {_key(run_id): msgspec.json.encode(stamped).decode()})


def _key(run_id: str) -> str:
    return f"bedrock_batch_parked/{run_id}"
