"""A run that waits for its job: the memory that it holds, and the calls to AWS that it makes.

python -m benchmarks.waiting_run [--records 1000 50000] [--seconds 20]
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bedrock_batch_assets.runs.heartbeat import last_beat
from benchmarks.cpu import session_times
from benchmarks.running_platform import RunningPlatform, started_platform

# Libraries that a waiting run must not hold, by the folder that their files are in.
HEAVY = ("pandas", "datasets", "moto")
# The second by leaving out `start_forked_workers`.
MEASURED_ONCE = (
    "before run workers were forks and gave memory back: private 152 MB with 1,000 records, 180 MB with 50,000",
    "where they are no forks, as under other launchers, imports are shared with no other: 143 MB and 163 MB",
)
# Longer than any measurement.
_JOB_SECONDS = 36_000.0
_RECORDS_PER_JOB = 50_000


@dataclass(frozen=True)
class WaitingRun:
    """One run that waits. Memory in MB (10^6 bytes): private to the process, and its share of what is shared.

    `helpers` is the private memory of the processes that Dagster starts to mirror a run's output. `heavy` names heavy
    libraries whose files the process has mapped.
    """

    records: int
    private: float
    proportional: float
    helpers: float
    heavy: tuple[str, ...]


@dataclass(frozen=True)
class WaitingFigures:
    """Runs that wait, and the calls a minute of one of them by operation, early in its wait when it asks most often.

    `cpu_per_minute`: CPU seconds of one run in a minute of waiting.
    """

    runs: tuple[WaitingRun, ...]
    seconds: float
    calls_per_minute: dict[str, float]
    sensor_calls_per_minute: dict[str, float]
    cpu_per_minute: float

    def lines(self) -> list[str]:
        """The figures as text."""
        calls = ", ".join(f"{name} {count:.1f}" for name, count in self.calls_per_minute.items()) or "none"
        sensors = ", ".join(f"{name} {count:.1f}" for name, count in self.sensor_calls_per_minute.items()) or "none"
        return [
            *(
                f"waiting run, {run.records} records: private {run.private:.0f} MB, proportional "
                f"{run.proportional:.0f} MB, helpers {run.helpers:.0f} MB; heavy libraries: "
                f"{', '.join(run.heavy) or 'none'}"
                for run in self.runs
            ),
            f"calls a minute, each run, first {self.seconds:g} s: {calls}",
            f"calls a minute, sensors: {sensors}",
            f"CPU seconds a minute, each run: {self.cpu_per_minute:.2f}",
            *MEASURED_ONCE,
        ]


def measure(records: Sequence[int] = (1_000, 50_000), seconds: float = 20.0) -> WaitingFigures:
    """Start one job for each number of records, and look at the runs that wait.

    Args:
        records: Of each job.
        seconds: How long to count calls.

    Raises:
        TooSlowError: The runs do not come to their wait within four minutes.
    """
    with started_platform(aws_settings={"seconds": {"InProgress": _JOB_SECONDS}}) as running:
        batches = [f"waiting-{count}" for count in records]
        for batch, count in zip(batches, records, strict=True):
            running.launch(batch, count, _RECORDS_PER_JOB)
        running.wait_for("the jobs", lambda: _in_progress(running) == len(batches), 240)
        before, cpu_before, started = running.ask_aws("calls"), _cpu(running, batches), time.monotonic()
        time.sleep(seconds)
        minutes = (time.monotonic() - started) / 60
        after, cpu_after = running.ask_aws("calls"), _cpu(running, batches)
        made = {name: (count - before.get(name, 0)) / minutes for name, count in after.items()}
        # The sensors list jobs, the runs get their own.
        sensors = {name: count for name, count in made.items() if name.startswith("List") and count}
        runs = tuple(_waiting_run(running, batch, count) for batch, count in zip(batches, records, strict=True))
    return WaitingFigures(
        runs=runs,
        seconds=seconds,
        calls_per_minute={name: count / len(records) for name, count in made.items() if name not in sensors and count},
        sensor_calls_per_minute=sensors,
        cpu_per_minute=(cpu_after - cpu_before) / len(records) / minutes,
    )


def _in_progress(running: RunningPlatform) -> int:
    return sum(job["status"] == "InProgress" for job in running.ask_aws("jobs")["jobs"])


def _pid(running: RunningPlatform, batch: str) -> int:
    (record,) = running.runs(batch)
    beat = last_beat(running.instance, record.dagster_run.run_id)
    assert beat is not None
    return beat.pid


def _cpu(running: RunningPlatform, batches: Sequence[str]) -> float:
    pids = {_pid(running, batch) for batch in batches}
    return sum(times.own for times in session_times(running.platform.dagster.pid) if times.pid in pids)


def _waiting_run(running: RunningPlatform, batch: str, records: int) -> WaitingRun:
    pid = _pid(running, batch)
    children = [times.pid for times in session_times(running.platform.dagster.pid) if times.parent == pid]
    private, proportional = memory(pid)
    maps = Path(f"/proc/{pid}/maps").read_text()
    return WaitingRun(
        records=records,
        private=private,
        proportional=proportional,
        helpers=sum(memory(child)[0] for child in children),
        heavy=tuple(name for name in HEAVY if f"/running-packages/{name}/" in maps),
    )


def memory(pid: int) -> tuple[float, float]:
    """Private and proportional memory of a process, in MB (10^6 bytes), from proc(5)'s smaps_rollup in kB."""
    kilobytes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, number = line.split()[:2]
        kilobytes[name.rstrip(":")] = int(number)
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return private * 1024 / 1e6, kilobytes["Pss"] * 1024 / 1e6


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 50_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print("\n".join(measure(options.records, options.seconds).lines()))


if __name__ == "__main__":
    main()
