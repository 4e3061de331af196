"""A whole input: `input_dataset` and the records of all its chunks, on local AWS's S3; and its memory by rows.

python -m benchmarks.whole_input [--rows 1000000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.local.local_platform import (
    BUCKET,
    free_port,
    local_aws_environment,
    start_local_aws,
    wait_for_local_aws,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = "bench"
BATCH_SIZES = (10_000, 1_000_000, 10_000_000)
# Tweets: what is told by rows per second of long prompts is told by `row_speed`.
_TEXT_LENGTH = 150
_ROWS_PER_JOB = 10_000
_RUN_SECONDS = 400


@dataclass(frozen=True, slots=True)
class WholeInput:
    """Where the time went, in seconds: they add up to the whole.

    Attributes:
        rows: Of the table.
        chunks: Of the batch.
        reading: Source and stored table: Parquet's decoding.
        s3: Requests to S3, its answers included.
        ours: The rest: rendering twice, checking, storing as Parquet, planning, digests.
        peak_bytes: The most memory of the process.
    """

    rows: int
    chunks: int
    reading: float
    s3: float
    ours: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """The whole."""
        return self.reading + self.s3 + self.ours

    def lines(self) -> list[str]:
        """A Markdown table."""
        parts = [("reading", self.reading), ("S3", self.s3), ("rendering, and all else that is ours", self.ours)]
        return [
            f"{self.rows:,} rows in {self.chunks:,} chunks: {self.seconds:.1f} s, "
            f"{self.rows / self.seconds:,.0f} rows/s, peak memory {self.peak_bytes / (1 << 20):,.0f} MB.",
            "",
            "| part | seconds | share |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {seconds:.1f} | {seconds / self.seconds:.0%} |" for name, seconds in parts),
        ]


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """Peak memory in bytes of reading an input, and seconds that it took, by rows."""

    peaks: dict[int, int]
    seconds: dict[int, float]

    def lines(self) -> list[str]:
        """A Markdown table."""
        return [
            "| rows | peak memory | rows/s |",
            "| ---: | ---: | ---: |",
            *(
                f"| {rows:,} | {peak / (1 << 20):,.0f} MB | {rows / self.seconds[rows]:,.0f} |"
                for rows, peak in self.peaks.items()
            ),
        ]


def measure(rows: int = 1_000_000) -> WholeInput:
    """Start local AWS, put a Parquet file on it, and read and render it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bedrock-batch-input-") as folder:
        url = f"http://127.0.0.1:{free_port()}"
        environment = local_aws_environment(url)
        aws = start_local_aws(url, Path(folder), environment, buckets=[BUCKET])
        try:
            wait_for_local_aws(aws, url)
            command = [sys.executable, "-m", "benchmarks.whole_input", "--child", "whole", "--rows", str(rows)]
            result = subprocess.run(command, check=True, env=environment, timeout=_RUN_SECONDS, stdout=subprocess.PIPE)
        finally:
            aws.end(10)
    return WholeInput(**json.loads(result.stdout))


def measure_memory(sizes: Sequence[int] = BATCH_SIZES) -> BatchMemory:
    """Read inputs of several sizes, each in a process of its own, from a source that is made up as it is read."""
    peaks, seconds = {}, {}
    for rows in sizes:
        command = [sys.executable, "-m", "benchmarks.whole_input", "--child", "memory", "--rows", str(rows)]
        result = subprocess.run(command, check=True, timeout=_RUN_SECONDS, stdout=subprocess.PIPE)
        outcome = json.loads(result.stdout)
        peaks[rows], seconds[rows] = outcome["peak_bytes"], outcome["seconds"]
    return BatchMemory(peaks, seconds)


def _whole(rows: int) -> dict[str, Any]:
    import dagster as dg

    from bedrock_batch_assets.assets.input_dataset import input_dataset
    from bedrock_batch_assets.chunks.chunk import Chunk
    from bedrock_batch_assets.chunks.rendered_chunk import render_chunk
    from bedrock_batch_assets.cost.prices import Prices
    from bedrock_batch_assets.definitions import platform
    from bedrock_batch_assets.partition_keys import chunk_key
    from bedrock_batch_assets.partitions import batches
    from bedrock_batch_assets.processors.registry import Processors
    from bedrock_batch_assets.storage.resource import BatchStorage
    from benchmarks.samples import write_table
    from benchmarks.stages import peak_memory

    # Initialised as a run initialises them.
    with dg.build_resources(platform().resources or {}) as resources:
        storage: BatchStorage = resources.storage
        processors: Processors = resources.processors
        given: dict[str, Any] = {
            "storage": storage,
            "processors": processors,
            "jobs": resources.jobs,
            "prices": Prices(),
        }
        with tempfile.TemporaryDirectory(prefix="bedrock-batch-input-") as folder:
            write_table(Path(folder) / "tweets.parquet", rows, text_length=_TEXT_LENGTH)
            storage.objects.upload_file(Path(folder) / "tweets.parquet", "inputs/tweets.parquet")
        clock = _Clock()
        with dg.DagsterInstance.ephemeral() as instance, clock.watching():
            instance.add_dynamic_partitions(str(batches.name), [BATCH])
            config = {
                "s3_uri": storage.uri("inputs/tweets.parquet"),
                "model_id": "anthropic.claude-3-haiku-20240307-v1:0",
                "prompt_id": "sentiment",
                "max_records_per_job": _ROWS_PER_JOB,
            }
            start = time.monotonic()
            dg.materialize(
                [input_dataset],
                partition_key=BATCH,
                instance=instance,
                resources=given,
                run_config={"ops": {"input_dataset": {"config": config}}},
            )
            chunks = len(storage.batch_manifest(BATCH).chunks)
            for index in range(chunks):
                render_chunk(Chunk.load(chunk_key(BATCH, index), storage, processors))
            whole = time.monotonic() - start
    s3, reading = clock.exclusive()
    return {
        "rows": rows,
        "chunks": chunks,
        "reading": reading,
        "s3": s3,
        "ours": whole - s3 - reading,
        "peak_bytes": peak_memory(),
    }


@dataclass
class _Clock:
    """Intervals in which something went on, in any thread: (start, end) in seconds of the monotonic clock."""

    s3: list[tuple[float, float]] = field(default_factory=list)
    reading: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch boto3's requests, and the iterators that rows come from."""
        from botocore.httpsession import URLLib3Session
        from urllib3.response import HTTPResponse

        from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
        from bedrock_batch_assets.parquet import files

        with (
            _replaced(URLLib3Session, "send", self._timed(self.s3)),
            _replaced(HTTPResponse, "read", self._timed(self.s3)),
            _replaced(ParquetSource, "batches", self._timed_items),
            _replaced(files, "read_rows", self._timed_items),
        ):
            yield

    def exclusive(self) -> tuple[float, float]:
        """Seconds in which S3 was busy, and in which rows were read while S3 was not."""
        edges = [(start, end, 0) for start, end in self.s3] + [(start, end, 1) for start, end in self.reading]
        times = sorted({time for start, end, _ in edges for time in (start, end)})
        changes: dict[float, list[tuple[int, int]]] = {time: [] for time in times}
        for start, end, kind in edges:
            changes[start].append((kind, 1))
            changes[end].append((kind, -1))
        going_on, seconds = [0, 0], [0.0, 0.0]
        for now, later in pairwise(times):
            for kind, change in changes[now]:
                going_on[kind] += change
            if going_on[0]:
                seconds[0] += later - now
            elif going_on[1]:
                seconds[1] += later - now
        return seconds[0], seconds[1]

    def _timed(self, intervals: list[tuple[float, float]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def replaced(function: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*arguments: Any, **named: Any) -> Any:
                start = time.monotonic()
                try:
                    return function(*arguments, **named)
                finally:
                    with self.lock:
                        intervals.append((start, time.monotonic()))

            return timed

        return replaced

    def _timed_items(self, function: Callable[..., "Iterator[pa.RecordBatch]"]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> "Iterator[pa.RecordBatch]":
            following = self._timed(self.reading)(function(*arguments, **named).__next__)
            while True:
                try:
                    yield following()
                except StopIteration:
                    return

        return timed


@contextmanager
def _replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, change(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


class _MadeUpTable:
    """A table of any length, of the same few batches again and again."""

    name = "made up"

    def __init__(self, rows: int) -> None:
        from benchmarks.samples import table_batches

        self._batches = list(table_batches(min(rows, 20_000), text_length=_TEXT_LENGTH))
        self._rows = rows
        self.schema = self._batches[0].schema

    def batches(self) -> "Iterator[pa.RecordBatch]":
        left = self._rows
        while left:
            for batch in self._batches:
                yield batch.slice(0, left)
                left -= min(left, batch.num_rows)
                if not left:
                    return


def _memory(rows: int) -> dict[str, Any]:
    from bedrock_batch_assets.ingest.ingestion import ingest
    from bedrock_batch_assets.records.rendering import RecordRenderer
    from bedrock_batch_assets.request import BatchRequest
    from benchmarks.samples import PROMPT_TEMPLATE, text_processor
    from benchmarks.stages import peak_memory

    source = _MadeUpTable(rows)
    request = BatchRequest(
        model_id="anthropic.claude-3-haiku-20240307-v1:0",
        s3_uri="s3://bucket/tweets.parquet",
        prompt_id="sentiment",
        max_records_per_job=_ROWS_PER_JOB,
    )
    renderer = RecordRenderer(text_processor(), PROMPT_TEMPLATE, source.schema)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bedrock-batch-input-") as folder:
        ingest(request, source=source, renderer=renderer, directory=Path(folder))
    return {"seconds": time.monotonic() - start, "peak_bytes": peak_memory()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", choices=["whole", "memory"])
    options = parser.parse_args()
    if options.child:
        os.environ["MAX_RECORDS_PER_JOB"] = str(_ROWS_PER_JOB)
        result = _whole(options.rows) if options.child == "whole" else _memory(options.rows)
        print(json.dumps(result))
        return
    print("\n".join(measure(options.rows).lines()))
    print("\n".join(measure_memory().lines()))


if __name__ == "__main__":
    main()
