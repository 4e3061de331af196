"""A batch's whole way, from the request to the table: what the platform adds to the service's own time.

python -m benchmarks.whole_way [--rows 1000000] [--jobs 20]
"""

import argparse
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dagster import DagsterRunStatus

from benchmarks.running_platform import FailedRunError, RunningPlatform, limits, started_platform

SMALL_BATCHES = 5
_SMALL_ROWS = 100
# States between which local AWS does not wait: a job takes as long as its records.
_AT_ONCE = {"Submitted": 0.1, "Validating": 0.1, "Scheduled": 0.1, "InProgress": 0.1}
_LONGEST_SECONDS = 900.0


@dataclass(frozen=True)
class WholeWay:
    """What was measured. Times in seconds.

    Attributes:
        first_jobs: Of small batches, one after the other: from the input's materialization to the first Create.
        rows: Rows of the large batch.
        jobs: Its jobs.
        total: From its launch to its table.
        service: In how much of that time at least one of its jobs was in progress.
    """

    first_jobs: list[float]
    rows: int
    jobs: int
    total: float
    service: float

    def lines(self) -> list[str]:
        """The figures as text."""
        return [
            f"input to first job, {len(self.first_jobs)} batches of {_SMALL_ROWS} rows, one after the other: median "
            f"{statistics.median(self.first_jobs):.1f} s, longest {max(self.first_jobs):.1f} s; of it up to 30 s until "
            "Dagster looks at new backfills",
            f"{self.rows:,} rows in {self.jobs} jobs, from launch to table: {self.total:.0f} s; in {self.service:.0f} "
            f"s of it a job was in progress, {self.total - self.service:.0f} s are everything else (target 60 s)",
        ]


def measure(rows: int = 1_000_000, jobs: int = 20) -> WholeWay:
    """Run some small batches and a large one on a platform of their own.

    Raises:
        TooSlowError: A batch takes more than 15 minutes.
        FailedRunError: A run failed.
    """
    with started_platform(dagster_yaml=limits(jobs), aws_settings={"seconds": _AT_ONCE}) as running:
        first_jobs = [_first_job(running, f"small{number}") for number in range(SMALL_BATCHES)]
        launched, ended = _run(running, "large", rows, -(-rows // jobs))
        spans = [(job["submitTime"], job["endTime"]) for job in _jobs(running, "large")]
    return WholeWay(first_jobs, rows, len(spans), ended - launched, _covered(spans))


def _first_job(running: RunningPlatform, batch: str) -> float:
    _run(running, batch, _SMALL_ROWS, _SMALL_ROWS)
    made = running.web.materializations("input_dataset", [batch])[batch].at
    return float(min(job["submitTime"] for job in _jobs(running, batch)) - made)


def _run(running: RunningPlatform, batch: str, rows: int, per_job: int) -> tuple[float, float]:
    """Run a batch to its end. Returns when its input was asked for, and when its table was there."""
    run_id = running.launch(batch, rows, per_job)

    def has_table() -> bool:
        run = running.instance.get_run_by_id(run_id)
        if run is not None and run.status is DagsterRunStatus.FAILURE:
            raise FailedRunError(f"Run {run_id} failed: {running.web.failure_of(run_id)}")
        return batch in running.web.materializations("result_table", [batch])

    running.wait_for(f"the table of {batch}", has_table, _LONGEST_SECONDS)
    record = running.instance.get_run_record_by_id(run_id)
    assert record is not None
    return record.create_timestamp.timestamp(), running.web.materializations("result_table", [batch])[batch].at


def _jobs(running: RunningPlatform, batch: str) -> list[dict[str, float]]:
    return [job for job in running.ask_aws("jobs")["jobs"] if job["name"].startswith(f"{batch}-")]


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """For how long at least one of the spans lasts."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    print("\n".join(measure(options.rows, options.jobs).lines()))


if __name__ == "__main__":
    main()
