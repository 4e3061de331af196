"""Rows per second and peak memory of the stages that move rows, ours and the plain way in turn.

    python -m benchmarks.row_speed [--times 5]

Each side is a process of its own, and so is every figure of memory. Samples are made anew, in a temporary folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.stages import ENGINES

# In the order of a turn: a copy writes as many bytes as ours before it.
SIDES = ("ours", "copy", "baseline", *ENGINES, "ours_on_disk", "copy_on_disk")
STAGES = ("render", "prepare", "join_text", "join_embeddings")
# Rows per stage: about a second or more of the plain way, so that starting up is not what is measured.
ROWS = {"render": 100_000, "prepare": 100_000, "join_text": 100_000, "join_embeddings": 5_000}
TARGETS = {"render": 12.0, "prepare": 8.0, "join_text": 5.0, "join_embeddings": 10.0}
JOB_SIZES = (1_000, 10_000, 100_000)
# The plain way needs gigabytes and minutes for more than that.
BASELINE_JOB_SIZES = (1_000, 10_000)
# Beside the faster of the two engines; they render nothing on its own.
ENGINE_TARGETS = {"prepare": 1.5, "join_text": 1.7, "join_embeddings": 1.5}
MEMORY_TARGET = 400 << 20
_RUN_SECONDS = 300
# Its place in a line of /proc/stat.
_STEAL = 7


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one stage: seconds, and the most memory of its process in bytes."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class StageSpeed:
    """A stage, run several times by each side in turn.

    Attributes:
        stage: Its name.
        rows: Rows per run.
        ours: Seconds of each run.
        baseline: Seconds of each run of the plain way.
        copy: Seconds for reading and writing as many bytes as ours did.
        ours_on_disk: Seconds with nothing in the page cache at the beginning and all on the disk at the end.
        copy_on_disk: As the above.
        polars: Seconds of each run with Polars; none if it has no such stage.
        duckdb: The same with DuckDB.
        stolen: The share of the processors' time that the machine's host took for others meanwhile, 0 to 1. It slows
            what needs all processors more than what needs one.
    """

    stage: str
    rows: int
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    copy: tuple[float, ...]
    ours_on_disk: tuple[float, ...]
    copy_on_disk: tuple[float, ...]
    polars: tuple[float, ...]
    duckdb: tuple[float, ...]
    stolen: float

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster ours is, run by run."""
        return tuple(plain / own for own, plain in zip(self.ours, self.baseline, strict=True))

    @property
    def copy_ratios(self) -> tuple[float, ...]:
        """How many times longer ours takes than a copy, run by run."""
        return tuple(own / copied for own, copied in zip(self.ours, self.copy, strict=True))

    @property
    def disk_ratios(self) -> tuple[float, ...]:
        """The same from disk to disk."""
        return tuple(own / copied for own, copied in zip(self.ours_on_disk, self.copy_on_disk, strict=True))

    @property
    def engine_ratios(self) -> tuple[float, ...]:
        """How many times faster ours is than the faster of the two engines (by median), run by run."""
        faster = min(self.polars, self.duckdb, key=statistics.median)
        return tuple(other / own for own, other in zip(self.ours, faster, strict=True))

    def rate(self, seconds: Sequence[float]) -> float:
        """Rows per second by the median."""
        return self.rows / statistics.median(seconds)


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    """All stages."""

    stages: tuple[StageSpeed, ...]

    def lines(self) -> list[str]:
        """A Markdown table."""
        lines = [
            "| stage | rows | ours, rows/s | baseline, rows/s | ratio (min to max) | target "
            "| times a copy, disk to disk | times a copy, cache to cache |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for stage in self.stages:
            lines.append(
                f"| {stage.stage} | {stage.rows:,} | {stage.rate(stage.ours):,.0f} | {stage.rate(stage.baseline):,.0f} "
                f"| **{statistics.median(stage.ratios):.1f}×** ({spread(stage.ratios)}) | ≥ {TARGETS[stage.stage]:g}× "
                f"| {statistics.median(stage.disk_ratios):.1f} ({spread(stage.disk_ratios)}) "
                f"| {statistics.median(stage.copy_ratios):.1f} ({spread(stage.copy_ratios)}) |"
            )
        lines += [
            "",
            "| stage | ours, s | polars, s | duckdb, s | ratio to the faster (min to max) | target |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for stage in self.stages:
            if stage.polars:
                own, polars, duckdb = map(statistics.median, (stage.ours, stage.polars, stage.duckdb))
                lines.append(
                    f"| {stage.stage} | {own:.3f} | {polars:.3f} | {duckdb:.3f} "
                    f"| **{statistics.median(stage.engine_ratios):.1f}×** ({spread(stage.engine_ratios)}) "
                    f"| ≥ {ENGINE_TARGETS[stage.stage]:g}× |"
                )
        stolen = ", ".join(f"{stage.stage} {stage.stolen:.0%}" for stage in self.stages)
        return [*lines, "", f"Processor time that the host took away meanwhile (steal): {stolen}."]


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Peak memory in bytes by stage, side and rows per job."""

    peaks: Mapping[tuple[str, str, int], int]

    def lines(self) -> list[str]:
        """A Markdown table."""
        sizes = sorted({size for _, _, size in self.peaks})
        lines = [
            "| stage | side | " + " | ".join(f"{size:,} rows" for size in sizes) + " |",
            "| --- | --- |" + " ---: |" * len(sizes),
        ]
        for stage in STAGES:
            for side in ("ours", "baseline", *_engines(stage)):
                cells = [self.peaks.get((stage, side, size)) for size in sizes]
                texts = ["–" if cell is None else f"{cell / (1 << 20):,.0f} MB" for cell in cells]
                lines.append(f"| {stage} | {side} | " + " | ".join(texts) + " |")
        return lines


def spread(values: Sequence[float]) -> str:
    """The least and the greatest."""
    return f"{min(values):.1f} to {max(values):.1f}"


def measure_speed(times: int = 5, rows: Mapping[str, int] = ROWS) -> SpeedFigures:
    """Run each stage `times` times, all sides in turn, after one round that does not count."""
    stages = []
    for stage in STAGES:
        folder = _sample(stage, rows[stage])
        with ExitStack() as stack:
            seconds: dict[str, list[float]] = {side: [] for side in SIDES}
            skipped = set(ENGINES) - set(_engines(stage))
            processes = {
                side: stack.enter_context(_process(stage, side, folder)) for side in SIDES if side not in skipped
            }
            before = _processor_ticks()
            for turn in range(times + 1):
                for side, process in processes.items():
                    outcome = _next(process)
                    if turn:
                        seconds[side].append(outcome.seconds)
            ticks = [now - then for now, then in zip(_processor_ticks(), before, strict=True)]
        sides = {side: tuple(kept) for side, kept in seconds.items()}
        stages.append(StageSpeed(stage, rows[stage], **sides, stolen=ticks[_STEAL] / sum(ticks)))
    return SpeedFigures(tuple(stages))


def measure_memory(sizes: Sequence[int] = JOB_SIZES) -> MemoryFigures:
    """Run each stage once for each size of a job."""
    peaks = {}
    for stage in STAGES:
        for size in sizes:
            folder = _sample(stage, size)
            for side in ("ours", *_engines(stage)):
                peaks[stage, side, size] = _run(stage, side, folder).peak_bytes
            if size in BASELINE_JOB_SIZES:
                peaks[stage, "baseline", size] = _run(stage, "baseline", folder).peak_bytes
    return MemoryFigures(peaks)


def _engines(stage: str) -> Sequence[str]:
    """The engines that have this stage."""
    return ENGINES if stage in ENGINE_TARGETS else ()


def _processor_ticks() -> list[int]:
    """What all processors did so far, see proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal."""
    first_line = Path("/proc/stat").read_text().partition("\n")[0]
    return [int(number) for number in first_line.split()[1 : _STEAL + 2]]


def _sample(stage: str, rows: int) -> Path:
    """A folder with what a stage reads."""
    # These two read the same.
    return Path(_sample_folder("prepare" if stage == "render" else stage, rows).name)


@cache
def _sample_folder(stage: str, rows: int) -> tempfile.TemporaryDirectory[str]:
    """Made once, by a process of its own, so that this one stays small; and gone with this one."""
    folder = tempfile.TemporaryDirectory(prefix="bedrock-batch-rows-")
    command = [sys.executable, "-m", "benchmarks.stages", "sample", stage, folder.name, str(rows)]
    subprocess.run(command, check=True, timeout=_RUN_SECONDS)
    return folder


def _run(stage: str, side: str, folder: Path) -> Outcome:
    with _process(stage, side, folder) as process:
        return _next(process)


@contextmanager
def _process(stage: str, side: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.stages", stage, side, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        # Without its input it ends.
        yield process


def _next(process: subprocess.Popen[str]) -> Outcome:
    """One more run."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Outcome(**json.loads(process.stdout.readline()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    print("\n".join(measure_speed(options.times).lines()))
    print("\n".join(measure_memory().lines()))


if __name__ == "__main__":
    main()
