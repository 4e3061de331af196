"""The fault suite: `python -m bedrock_batch_assets_tests.chaos`, or `make chaos`.

Batches go through while processes are killed and the service fails in every way that is known of it. Afterwards the
service's own ledger is compared with the table. The last lines are the figures; every one of them is to be 0.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from bedrock_batch_assets_tests.chaos.report import Report, command, figures

SCENARIOS = {"protocol": 300, "dagster": 24}
DATABASES = ("postgres", "sqlite")


def main() -> int:
    """Run the scenarios. Returns the exit code: 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bedrock_batch_assets_tests.chaos", description=__doc__)
    parser.add_argument("--suite", choices=[*SCENARIOS, "all"], default="all", help="which scenarios (default: all)")
    parser.add_argument("--scenarios", type=int, help=f"how many, of each suite (default: {SCENARIOS})")
    parser.add_argument("--seed", type=int, default=1, help="number of the first; the others follow it (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="protocol: how many at the same time (default: 2)")
    parser.add_argument(
        "--database", choices=DATABASES, help="dagster: the platform's database (default: postgres if it is installed)"
    )
    options = parser.parse_args()
    if options.suite == "all":
        return _all_suites(options)
    count = options.scenarios or SCENARIOS[options.suite]
    seeds = list(range(options.seed, options.seed + count))
    reports: list[Report] = []
    started = time.monotonic()

    def on_report(report: Report) -> None:
        reports.append(report)
        if report.failed:
            _print(report.explain(options.suite, seeds))
        elif len(reports) % 25 == 0 or len(reports) == count or options.suite == "dagster":
            _print(f"{len(reports)} of {count}: scenario {report.seed}, {report.seconds:.1f} s, {report.description}")

    _run(options, seeds, on_report)
    if len(reports) < count:
        _print(f"only {len(reports)} of {count} scenarios came to an end")
    _print(figures(options.suite, reports, time.monotonic() - started))
    return 1 if len(reports) < count or any(report.failed for report in reports) else 0


def _run(options: argparse.Namespace, seeds: list[int], on_report: Callable[[Report], None]) -> None:
    if options.suite == "protocol":
        # Before boto3 is imported.
        from bedrock_batch_assets_tests.chaos import fast_sleep  # noqa: F401
        from bedrock_batch_assets_tests.chaos.protocol_workers import run_in_workers

        run_in_workers(seeds, options.workers, on_report)
    else:
        from bedrock_batch_assets_tests.chaos.dagster_suite import run_on_dagster

        # Ends the platform's processes, as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        on_postgres = None if options.database is None else options.database == "postgres"
        run_on_dagster(seeds, on_report, on_postgres=on_postgres)


def _all_suites(options: argparse.Namespace) -> int:
    last_lines: list[str] = []
    codes: list[int] = []
    for suite, count in SCENARIOS.items():
        # A process each: one of them is in a fast_sleep.
        arguments = command(suite, options.seed, options.scenarios or count).split()[1:]
        arguments += ["--workers", str(options.workers)]
        arguments += ["--database", options.database] if options.database is not None else []
        with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = ""
            for line in process.stdout:
                _print(line.rstrip("\n"))
        codes.append(process.returncode)
        last_lines.append(line.rstrip("\n"))
    for line in last_lines:
        _print(line)
    return max(codes)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
