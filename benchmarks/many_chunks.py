"""A batch of 2,000 chunks, fanned out: how long the sensors, the queue and the UI take over it.

    python -m benchmarks.many_chunks [--chunks 2000]

The batch does not run to its end, and not all of its runs are made by Dagster: its backfill daemon makes two or three a
second, in order, while the first of them already run. How fast it does is measured on the first ones; the others are
put into the queue directly.
"""

import argparse
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.utils import make_new_run_id
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from bedrock_batch_assets.partition_keys import chunk_key
from benchmarks.many_runs import add_runs
from benchmarks.running_platform import RunningPlatform, limits, started_platform

BATCH = "many"
_RECORDS = 100
_SETTINGS = {"seconds": {"InProgress": 36_000.0}}
# Of Dagster's own making, before the others are put into the queue.
_FIRST_RUNS = 50
_PAGE_TIMES = 3
# What the "Partitions" page of an asset asks for, as the webserver's JavaScript sends it: the bar and list of
# partitions, and the details of the one that is chosen.
_HEALTH = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses { materializedPartitions materializingPartitions failedPartitions }
      }
    }
  }
}
"""
_DETAIL = """
query AssetPartitionDetailQuery($assetKey: AssetKeyInput!, $partitionKey: String!) {
  assetOrError(assetKey: $assetKey) {
    ... on Asset {
      id
      definition { id opNames latestRunForPartition(partition: $partitionKey) { id status startTime endTime } }
      assetEventHistory(
        partitions: [$partitionKey]
        limit: 1000
        eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]
      ) { results { ... on MaterializationEvent { runId timestamp } ... on ObservationEvent { runId timestamp } } }
    }
  }
}
"""
_STALE = """
query AssetPartitionStaleQuery($assetKey: AssetKeyInput!, $partitionKey: String!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      staleStatus(partition: $partitionKey)
      staleCauses(partition: $partitionKey) { key { path } reason category dependency { path } }
    }
  }
}
"""


@dataclass(frozen=True)
class ChunksFigures:
    """What many chunks cost. All in seconds.

    `reading`: the run of input_dataset. `to_first_run`: from its end to the first run in the queue. `runs_a_second`:
    how fast Dagster makes the rest. `fan_out`: from the input to the last run in the queue at that pace. `ticks`: the
    longest tick of each sensor, as the daemon recorded it. `queue_pass`: one pass of the coordinator over `queued`
    runs. `pages`: the slowest of three loads of each asset's partitions page, its queries side by side as a browser
    sends them.
    """

    chunks: int
    reading: float
    to_first_run: float
    runs_a_second: float
    ticks: Mapping[str, float]
    queued: int
    queue_pass: float
    pages: Mapping[str, float]

    @property
    def fan_out(self) -> float:
        """Seconds from the input to the last run in the queue."""
        return self.to_first_run + self.chunks / self.runs_a_second

    def lines(self) -> list[str]:
        """The figures as text."""
        return [
            f"{self.chunks} chunks: input read in {self.reading:.1f} s, first run queued {self.to_first_run:.1f} s "
            f"later, then {self.runs_a_second:.1f} a second (by Dagster's daemon): all in {self.fan_out:.0f} s",
            *(f"longest tick of {name}: {seconds:.2f} s" for name, seconds in self.ticks.items()),
            f"a pass over {self.queued} queued runs: {self.queue_pass:.2f} s",
            *(f"partitions page of {name}: {seconds:.2f} s" for name, seconds in self.pages.items()),
        ]


def measure(chunks: int = 2_000) -> ChunksFigures:
    """Start a batch of so many chunks, of which one is in flight, and look at it while it is fanned out.

    Raises:
        TooSlowError: Reading the input, or the first 50 runs, take more than two minutes.
    """
    with started_platform(dagster_yaml=limits(1), aws_settings=_SETTINGS) as running:
        run_id = running.launch(BATCH, chunks * _RECORDS, _RECORDS)
        running.wait_for("the input", lambda: _is_over(running, run_id), 120)
        reading = _seconds(running, run_id)
        made = running.web.materializations("input_dataset", [BATCH])[BATCH].at
        running.wait_for("the first runs", lambda: len(running.runs(BATCH)) >= _FIRST_RUNS, 120)
        times = [record.create_timestamp.timestamp() for record in running.runs(BATCH)]
        pace = (len(times) - 1) / (max(times) - min(times))
        queued = _fill_queue(running, chunks)
        queue_pass = _queue_pass(running)
        pages = {
            "batch_job_outputs": _page(running, "batch_job_outputs"),
            "jsonl_chunks": _page(running, "jsonl_chunks"),
        }
        ticks = _longest_ticks(running)
    return ChunksFigures(
        chunks=chunks,
        reading=reading,
        to_first_run=min(times) - made,
        runs_a_second=pace,
        ticks=ticks,
        queued=queued,
        queue_pass=queue_pass,
        pages=pages,
    )


def _is_over(running: RunningPlatform, run_id: str) -> bool:
    run = running.instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def _seconds(running: RunningPlatform, run_id: str) -> float:
    record = running.instance.get_run_record_by_id(run_id)
    assert record is not None
    assert record.start_time is not None
    assert record.end_time is not None
    return record.end_time - record.start_time


def _fill_queue(running: RunningPlatform, chunks: int) -> int:
    """Put a run for each chunk that has none into the queue. Returns how many are queued then."""
    runs = [record.dagster_run for record in running.runs(BATCH)]
    pattern = next(run for run in runs if run.status is dg.DagsterRunStatus.QUEUED)
    there = {run.tags["dagster/partition"] for run in runs}
    # Without the backfill's tag: it makes its own runs, and these must not count as its.
    tags = {name: value for name, value in pattern.tags.items() if name != "dagster/backfill"}
    missing = [key for index in range(chunks) if (key := chunk_key(BATCH, index)) not in there]
    own = [{**tags, "dagster/partition": key, "bedrock/partition": key} for key in missing]
    add_runs(running.instance, [pattern._replace(run_id=make_new_run_id(), tags=of_run) for of_run in own])
    return running.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))


def _queue_pass(running: RunningPlatform) -> float:
    """Seconds of one pass, by the daemon's own code in this process."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    config = running.instance.get_concurrency_config()
    started = time.monotonic()
    daemon._get_runs_to_dequeue(running.instance, config, None)
    return time.monotonic() - started


def _page(running: RunningPlatform, asset: str) -> float:
    """Seconds until the last of the page's answers is there, the slowest of some loads."""
    chosen = {"assetKey": {"path": [asset]}, "partitionKey": chunk_key(BATCH, 0)}
    queries: list[tuple[str, dict[str, Any]]] = [
        (_HEALTH, {"assetKey": chosen["assetKey"]}),
        (_DETAIL, chosen),
        (_STALE, chosen),
    ]
    longest = 0.0
    for _ in range(_PAGE_TIMES):
        started = time.monotonic()
        with ThreadPoolExecutor(max_workers=len(queries)) as pool:
            list(pool.map(lambda query: running.web.query(*query), queries))
        longest = max(longest, time.monotonic() - started)
    return longest


def _longest_ticks(running: RunningPlatform) -> dict[str, float]:
    """The longest tick of each sensor so far."""
    found: dict[str, float] = {}
    for state in running.instance.all_instigator_state():
        ticks = running.instance.get_ticks(state.origin.get_id(), state.selector_id)
        ended = [tick.end_timestamp - tick.timestamp for tick in ticks if tick.end_timestamp is not None]
        found[state.instigator_name] = max(ended, default=0.0)
    return found


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=2_000)
    print("\n".join(measure(parser.parse_args().chunks).lines()))


if __name__ == "__main__":
    main()
