"""Loading the code location in a fresh process: time, modules and memory, next to the least that Dagster can do.

python -m benchmarks.imports [--times 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# What must not be imported by loading the definitions.
HEAVY = ("pandas", "pyarrow", "datasets", "numpy", "moto", "boto3", "botocore", "dagster_webserver")
# The floor: a project with one asset, loaded as a code server does it.
_BARE = """
import dagster as dg
import dagster._grpc.server

@dg.asset
def one() -> None: ...

defs = dg.Definitions(assets=[one])
"""
_OURS = """
import dagster._grpc.server
from bedrock_batch_assets.definitions import defs as load
defs = load()
"""
_WARM = "import bedrock_batch_assets.runs.preloaded"
_RESOLVED = "defs.get_repository_def()\n"
_REPORT = f"""
import json, resource, sys
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([
    used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3, len(sys.modules),
    [name for name in {HEAVY!r} if name in sys.modules],
]))
"""


# Measured once, both versions taking turns, seven times each. The code server loads the definitions as it did; what is
# new is that run workers no longer do.
BEFORE = (
    "before run workers were forks, every run imported this anew: 1.38 s CPU (1.23 to 1.50), 1049 modules; since then "
    "once for all runs, in the same measurement: 1.41 s (1.21 to 1.57), 1056 modules"
)


@dataclass(frozen=True)
class Loading:
    """One thing loaded several times: medians, and the shortest and longest time.

    `cpu`: CPU seconds of the whole process. `peak`: its highest resident memory in MB. `heavy`: names of libraries that
    were imported although nobody needs them to load definitions.
    """

    what: str
    cpu: float
    shortest: float
    longest: float
    peak: float
    modules: int
    heavy: tuple[str, ...]

    def line(self) -> str:
        """The figures as text."""
        return (
            f"{self.what:28} {self.cpu:.2f} s CPU ({self.shortest:.2f} to {self.longest:.2f}), {self.modules} modules, "
            f"{self.peak:.0f} MB; heavy libraries: {', '.join(self.heavy) or 'none'}"
        )


@dataclass(frozen=True)
class ImportFigures:
    """A bare Dagster project, this platform's code location, and all that a run worker of it imports."""

    bare: Loading
    ours: Loading
    worker: Loading

    def lines(self) -> list[str]:
        """The figures as text."""
        return [self.bare.line(), self.ours.line(), self.worker.line(), BEFORE]


def measure(times: int = 3) -> ImportFigures:
    """Load each so many times in processes of their own, taking turns, compiled beforehand."""
    scripts = {
        "bare Dagster project": _BARE + _RESOLVED,
        "this code location": _OURS + _RESOLVED,
        "all that a run worker needs": _WARM,
    }
    found: dict[str, list[tuple[float, float, int, tuple[str, ...]]]] = {name: [] for name in scripts}
    for script in scripts.values():
        _load(script)
    for _ in range(times):
        for name, script in scripts.items():
            found[name].append(_load(script))
    bare, ours, worker = (_summary(name, values) for name, values in found.items())
    return ImportFigures(bare, ours, worker)


def _load(script: str) -> tuple[float, float, int, tuple[str, ...]]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", script + _REPORT],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[1],
    )
    cpu, peak, modules, heavy = json.loads(done.stdout)
    return cpu, peak, modules, tuple(heavy)


def _summary(name: str, values: list[tuple[float, float, int, tuple[str, ...]]]) -> Loading:
    cpu = [value[0] for value in values]
    return Loading(
        what=name,
        cpu=statistics.median(cpu),
        shortest=min(cpu),
        longest=max(cpu),
        peak=statistics.median(value[1] for value in values),
        modules=values[0][2],
        heavy=values[0][3],
    )


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    print("\n".join(measure(parser.parse_args().times).lines()))


if __name__ == "__main__":
    main()
