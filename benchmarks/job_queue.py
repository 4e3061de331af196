"""Many jobs through a queue of few places: how much longer than the jobs themselves, and where the rest goes.

python -m benchmarks.job_queue [--jobs 60] [--seconds 60] [--in-flight 10]
"""

import argparse
import math
import re
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from benchmarks.cpu import CpuWatch
from benchmarks.running_platform import FailedRunError, RunningPlatform, limits, started_platform

BATCH = "queue"
RECORDS = 100
_STARTED_PROCESS = re.compile(r"Started process for run \(pid: (\d+)\)")
# In the order in which a run passes through them.
PHASES = (
    "queued to dequeued",
    "dequeued to process started",
    "process started to Create",
    "Create to Completed",
    "Completed to noticed",
    "noticed to run end",
    "run end to next dequeue",
)


# Measured once, in turns with what came after it (3.4 s, of it the worker 2.0 s, and 2 s) on two cores that others used
# as well: 10 jobs of 20 s. Each run worker was a fresh Python then, which imported everything anew.
BEFORE = (
    "before run workers were forks of a warm process: CPU per run 7.1 s, of it the run worker 5.1 s, and 7 s from "
    "dequeued to process started (10 jobs of 20 s, busy machine)"
)


@dataclass(frozen=True)
class RunTimes:
    """When a run came to each point, in seconds since the epoch, and what it cost until Create, in CPU seconds."""

    queued: float
    dequeued: float
    started: float
    created: float
    completed: float
    noticed: float
    ended: float
    cpu_to_create: float | None

    def phases(self) -> dict[str, float]:
        """Seconds of each phase that lies within the run."""
        points = (
            self.queued,
            self.dequeued,
            self.started,
            self.created,
            self.completed,
            self.noticed,
            self.ended,
        )
        return {name: late - early for name, early, late in zip(PHASES, points, points[1:], strict=False)}


@dataclass(frozen=True)
class QueueFigures:
    """What a queue of jobs came to. All times in seconds.

    `makespan`: from the first run in the queue to the last run's end. `to_first_queued`: from the input's
    materialization to the first run in the queue. `phases`: median and longest. `cpu_per_run`: CPU seconds by part of
    Dagster, divided by the number of runs; `cpu_to_create` is the median run worker's until it has its job.
    """

    jobs: int
    job_seconds: float
    in_flight: int
    makespan: float
    ideal: float
    to_first_queued: float
    to_last_queued: float
    max_in_flight: int
    phases: dict[str, tuple[float, float]] = field(default_factory=dict)
    cpu_per_run: dict[str, float] = field(default_factory=dict)
    cpu_to_create: float = 0.0

    @property
    def ratio(self) -> float:
        """The makespan over that of the jobs alone, in full waves."""
        return self.makespan / self.ideal

    @property
    def cpu_per_start(self) -> float:
        """CPU seconds of all of Dagster for a run."""
        return sum(self.cpu_per_run.values())

    def lines(self) -> list[str]:
        """The figures as text."""
        return [
            f"{self.jobs} jobs of {self.job_seconds:g} s, {self.in_flight} in flight (seen: {self.max_in_flight})",
            f"makespan {self.makespan:.1f} s, ideal {self.ideal:.1f} s, ratio {self.ratio:.2f}",
            f"input to first run queued {self.to_first_queued:.1f} s, to last {self.to_last_queued:.1f} s",
            *(
                f"  {name:30} median {middle:6.2f} s  longest {most:6.2f} s"
                for name, (middle, most) in self.phases.items()
            ),
            f"CPU per run {self.cpu_per_start:.2f} s, of it the worker until Create {self.cpu_to_create:.2f} s",
            *(f"  {name:30} {seconds:6.2f} s" for name, seconds in self.cpu_per_run.items()),
            BEFORE,
        ]


def measure(jobs: int = 60, job_seconds: float = 60.0, in_flight: int = 10) -> QueueFigures:
    """Run a batch of so many jobs on a platform of its own.

    Args:
        jobs: Number of chunks, each of 100 records.
        job_seconds: What each job takes on local AWS, from Create to Completed.
        in_flight: The limit on jobs in flight per model.

    Raises:
        TooSlowError: It takes more than three times the ideal and three minutes.
        FailedRunError: A run failed.
    """
    ideal = math.ceil(jobs / in_flight) * job_seconds
    seconds = {"Submitted": 0.5, "Validating": 0.5, "Scheduled": 0.5, "InProgress": job_seconds - 1.5}
    with started_platform(dagster_yaml=limits(in_flight), aws_settings={"seconds": seconds}) as running:
        with CpuWatch(running.platform.dagster.pid) as cpu:
            running.launch(BATCH, jobs * RECORDS, RECORDS)
            running.wait_for("all chunks", lambda: _ended(running) == jobs, 3 * ideal + 180)
            # What the code server has not taken in yet.
            time.sleep(1.0)
        return _figures(running, cpu, jobs, job_seconds, in_flight)


def _ended(running: RunningPlatform) -> int:
    runs = [record.dagster_run for record in running.runs(BATCH)]
    for run in runs:
        if run.is_failure:
            raise FailedRunError(f"Run {run.run_id} failed: {running.web.failure_of(run.run_id)}")
    return sum(run.is_success for run in runs)


def _figures(running: RunningPlatform, cpu: CpuWatch, jobs: int, job_seconds: float, in_flight: int) -> QueueFigures:
    service = {job["name"].rsplit("-", 1)[0]: job for job in running.ask_aws("jobs")["jobs"]}
    by_chunk = {chunk: job for name, job in service.items() for chunk in [_chunk_of(name)]}
    runs = [_times(running, record, by_chunk, cpu) for record in running.runs(BATCH)]
    made = running.web.materializations("input_dataset", [BATCH])[BATCH].at
    phases: dict[str, list[float]] = {name: [] for name in PHASES}
    for run in runs:
        for name, value in run.phases().items():
            phases[name].append(value)
    phases[PHASES[-1]] = _slot_changes(runs, in_flight)
    return QueueFigures(
        jobs=jobs,
        job_seconds=job_seconds,
        in_flight=in_flight,
        makespan=max(run.ended for run in runs) - min(run.queued for run in runs),
        ideal=math.ceil(jobs / in_flight) * job_seconds,
        to_first_queued=min(run.queued for run in runs) - made,
        to_last_queued=max(run.queued for run in runs) - made,
        max_in_flight=max(running.ask_aws("jobs")["max_in_flight"].values()),
        phases={name: (statistics.median(values), max(values)) for name, values in phases.items() if values},
        cpu_per_run={part: seconds / jobs for part, seconds in sorted(cpu.seconds.items())},
        cpu_to_create=statistics.median(run.cpu_to_create for run in runs if run.cpu_to_create is not None),
    )


def _slot_changes(runs: list[RunTimes], in_flight: int) -> list[float]:
    """From the end of the run number n to the dequeueing of the run that takes its place."""
    ends = sorted(run.ended for run in runs)
    dequeues = sorted(run.dequeued for run in runs)
    return [late - early for early, late in zip(ends, dequeues[in_flight:], strict=False)]


def _chunk_of(family: str) -> str:
    return "-".join(family.split("-")[:2])


def _times(running: RunningPlatform, record: dg.RunRecord, jobs: dict[str, Any], cpu: CpuWatch) -> RunTimes:
    run = record.dagster_run
    first: dict[DagsterEventType, float] = {}
    started = noticed = 0.0
    pid = 0
    for entry in running.instance.all_logs(run.run_id):
        if entry.dagster_event is not None:
            first.setdefault(entry.dagster_event.event_type, entry.timestamp)
        text = entry.user_message if entry.dagster_event is None else entry.dagster_event.message or ""
        process = _STARTED_PROCESS.match(text)
        if process:
            started, pid = entry.timestamp, int(process[1])
        if text.startswith("Job ") and ": Completed" in text:
            noticed = entry.timestamp
    job = jobs[run.tags["dagster/partition"]]
    return RunTimes(
        queued=first[DagsterEventType.PIPELINE_ENQUEUED],
        dequeued=first[DagsterEventType.PIPELINE_STARTING],
        started=started,
        created=job["submitTime"],
        completed=job["endTime"],
        noticed=noticed,
        ended=first[DagsterEventType.PIPELINE_SUCCESS],
        cpu_to_create=cpu.seconds_of(pid, job["submitTime"]),
    )


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--in-flight", type=int, default=10)
    options = parser.parse_args()
    print("\n".join(measure(options.jobs, options.seconds, options.in_flight).lines()))


if __name__ == "__main__":
    main()
