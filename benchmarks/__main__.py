"""All benchmarks in one go: `make bench`, or `python -m benchmarks [--only NAME ...]`.

Writes `report.md`, `rows_per_second.png` and `memory.png` to `benchmarks/report/`, and prints the report.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import (
    imports,
    job_queue,
    many_chunks,
    plots,
    row_speed,
    status_sweep,
    waiting_run,
    whole_input,
    whole_way,
)

FOLDER = Path(__file__).parent / "report"
LIBRARIES = ("dagster", "boto3", "pyarrow", "numpy", "msgspec", "pysimdjson", "pandas")


def _row_speed(folder: Path) -> list[str]:
    figures = row_speed.measure_speed()
    plots.draw_speed(figures, folder / "rows_per_second.png")
    return [
        *figures.lines(),
        "",
        "Baseline: `benchmarks/baseline.py`, in turn with ours, each in a process of its own; medians of five. A copy",
        "reads the same files and writes as many bytes. Disk to disk, both begin with nothing in the page cache and",
        "end when everything is on the disk (fsync); the target is at most 4 times a copy.",
        "",
        "![Rows per second](rows_per_second.png)",
    ]


def _row_memory(folder: Path) -> list[str]:
    figures = row_speed.measure_memory()
    plots.draw_memory(figures, row_speed.MEMORY_TARGET, folder / "memory.png")
    return [*figures.lines(), "", "Target for ours: at most 400 MB, flat.", "", "![Peak memory](memory.png)"]


# Whoever is in a hurry leaves out the last: it takes half of the time.
PARTS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "row_speed": ("Rows per second", _row_speed),
    "row_memory": ("Peak memory by rows of a job", _row_memory),
    "batch_memory": ("Peak memory by rows of a batch", lambda _: whole_input.measure_memory().lines()),
    "whole_input": ("A million rows, on the local S3", lambda _: whole_input.measure().lines()),
    "whole_way": ("From the request to the table", lambda _: whole_way.measure().lines()),
    "imports": ("Loading the code location", lambda _: imports.measure().lines()),
    "waiting_run": ("A run that waits for its job", lambda _: waiting_run.measure().lines()),
    "status_sweep": ("2,000 jobs under one sensor", lambda _: status_sweep.measure().lines()),
    "many_chunks": ("2,000 chunks fanned out", lambda _: many_chunks.measure().lines()),
    "job_queue": ("60 jobs of 60 s, 10 in flight", lambda _: job_queue.measure().lines()),
}


def machine() -> list[str]:
    """What the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}. {model}, {os.cpu_count()} cores, {memory:.0f} GB, "
        f"{platform.system()}; load before the start {os.getloadavg()[0]:.1f}.",
        f"Python {platform.python_version()}, {libraries}.",
    ]


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    report = ["# Benchmarks", "", *machine(), ""]
    for name in options.only:
        title, part = PARTS[name]
        start = time.monotonic()
        lines = part(FOLDER)
        section = [
            f"## {title}",
            "",
            *lines,
            "",
            f"`python -m benchmarks --only {name}`: {time.monotonic() - start:.0f} s.",
            "",
        ]
        print("\n".join(section), flush=True)
        report += section
    (FOLDER / "report.md").write_text("\n".join(report))
    print(f"Written to {FOLDER / 'report.md'}")


if __name__ == "__main__":
    main()
