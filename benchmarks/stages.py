"""The stages that move rows, each in a process of its own.

    python -m benchmarks.stages sample STAGE FOLDER ROWS
    python -m benchmarks.stages STAGE SIDE FOLDER

The second runs the stage once for every line that it reads, and prints seconds and the peak memory so far as JSON.
Sides are `ours`, `baseline`, `polars`, `duckdb`, and `copy`, which reads and writes as many bytes; all of them through
the page cache.
`ours_on_disk` and `copy_on_disk` begin with nothing in the cache and end when everything is on the disk.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.samples import (
    PROMPT_TEMPLATE,
    embedding_processor,
    text_processor,
    write_embedding_outputs,
    write_table,
    write_text_outputs,
)

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.base import BaseProcessor


# What else users would take, see `engines`.
ENGINES = ("polars", "duckdb")


def make_sample(stage: str, folder: Path, rows: int) -> None:
    """Write what a stage reads into `folder`."""
    if stage == "join_embeddings":
        write_table(folder / "table.parquet", rows, text_length=200, column="input_text")
        write_embedding_outputs(folder / "outputs.jsonl.out", rows)
    else:
        write_table(folder / "table.parquet", rows)
        if stage == "join_text":
            write_text_outputs(folder / "outputs.jsonl.out", rows)


def peak_memory() -> int:
    """The most memory that this process has had, in bytes. Counted anew by the kernel for every program."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/self/status has no VmHWM")


def render(folder: Path, side: str) -> float:
    """Arrow batches to JSON lines in memory; the batches are there before the clock starts.

    Ours are handed on as they come. The plain way makes one string for the job, as it always does.
    """
    import pyarrow.parquet as pq

    from bedrock_batch_assets.records.record_file import render_prefetched
    from bedrock_batch_assets.records.rendering import RecordRenderer
    from benchmarks import baseline

    file = pq.ParquetFile(folder / "table.parquet")
    few = list(itertools.islice(file.iter_batches(_BATCH_ROWS), _DISTINCT_BATCHES))
    batches = [few[number % len(few)] for number in range(-(-file.metadata.num_rows // _BATCH_ROWS))]
    start = time.perf_counter()
    if side == "ours":
        renderer = RecordRenderer(text_processor(), PROMPT_TEMPLATE, batches[0].schema)
        size = sum(len(piece) for _, rendered in render_prefetched(renderer, batches, 0) for piece in rendered.pieces)
    else:
        size = len(baseline.render(batches))
    seconds = time.perf_counter() - start
    if side == "ours":
        (folder / "written").write_text(str(size))
    return seconds


def prepare(folder: Path, side: str) -> float:
    """A Parquet file to one JSONL file; ours with its digest, as `jsonl_chunks` makes it."""
    table = folder / "table.parquet"
    if side == "ours":
        import pyarrow.parquet as pq

        from bedrock_batch_assets.parquet.files import read_rows
        from bedrock_batch_assets.records.record_file import write_records
        from bedrock_batch_assets.records.rendering import RecordRenderer

        start = time.perf_counter()
        renderer = RecordRenderer(text_processor(), PROMPT_TEMPLATE, pq.read_schema(table))
        with (folder / "result").open("wb") as file:
            write_records(renderer, read_rows(table, columns=renderer.columns), 0, file)
    else:
        way = _way("prepare", side)
        start = time.perf_counter()
        way(table, folder / "result")
    return time.perf_counter() - start


def join_text(folder: Path, side: str) -> float:
    """A text job's output file and its rows to Parquet."""
    return _join(folder, text_processor()) if side == "ours" else _join_otherwise(folder, "join_text", side)


def join_embeddings(folder: Path, side: str) -> float:
    """An embedding job's output file and its rows to Parquet."""
    return _join(folder, embedding_processor()) if side == "ours" else _join_otherwise(folder, "join_embeddings", side)


def _join_otherwise(folder: Path, stage: str, side: str) -> float:
    way = _way(stage, side)
    start = time.perf_counter()
    way(folder / "table.parquet", folder / "outputs.jsonl.out", folder / "result")
    return time.perf_counter() - start


def _way(stage: str, side: str) -> Callable[..., None]:
    """How others do a stage. What they import is there before the clock starts."""
    from benchmarks import baseline, engines

    way: Callable[..., None]
    if side in ENGINES:
        importlib.import_module(side)
        way = getattr(engines, f"{side}_{stage}")
    else:
        way = getattr(baseline, stage)
    return way


def _join(folder: Path, processor: BaseProcessor) -> float:
    import pyarrow.parquet as pq

    from bedrock_batch_assets.chunks.joined_chunk import write_part
    from bedrock_batch_assets.output_format import OutputFormat
    from bedrock_batch_assets.parquet.files import read_encoded_rows
    from bedrock_batch_assets.records.joining import OutputJoin
    from bedrock_batch_assets.records.rendering import RecordRenderer

    start = time.perf_counter()
    table = folder / "table.parquet"
    template = PROMPT_TEMPLATE if processor.kind == "text" else None
    renderer = RecordRenderer(processor, template, pq.read_schema(table))
    with (
        OutputJoin(renderer, 0, pq.read_metadata(table).num_rows) as join,
        (folder / "outputs.jsonl.out").open("rb") as lines,
    ):
        write_part(
            folder / "result",
            OutputFormat.parquet,
            join,
            rows=read_encoded_rows(table),
            add_outputs=lambda: join.add_outputs(lines),
            # As the chunk's manifest has it, since its records were rendered.
            all_sent=True,
        )
    seconds = time.perf_counter() - start
    if join.summary.ok != join.summary.rows:
        raise AssertionError(f"not every row has its answer: {join.summary}")
    return seconds


def copy(folder: Path, stage: str) -> float:
    """Read what the stage reads, and write as many bytes as ours has written: as fast as files go."""
    written = int((folder / "written").read_text())
    start = time.perf_counter()
    for source in _sources(folder, stage):
        with source.open("rb") as file:
            while file.read(_COPY_BYTES):
                pass
    block = bytes(_COPY_BYTES)
    with (folder / "result").open("wb") as file:
        for left in range(written, 0, -_COPY_BYTES):
            file.write(block[:left])
    return time.perf_counter() - start


def run(stage: str, side: str, folder: Path) -> float:
    """Run a stage once. Returns seconds."""
    who, _, place = side.partition("_")
    result = folder / "result"
    result.unlink(missing_ok=True)
    # What earlier runs have written is on the disk before the clock starts: nobody waits for anybody else's writes.
    os.sync()
    if place:
        for source in _sources(folder, stage):
            with source.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seconds = copy(folder, stage) if who == "copy" else _STAGES[stage](folder, who)
    if place and result.exists():
        start = time.perf_counter()
        with result.open("rb") as file:
            os.fsync(file.fileno())
        seconds += time.perf_counter() - start
    if who == "ours" and result.exists():
        (folder / "written").write_text(str(result.stat().st_size))
    return seconds


def main() -> None:
    """Make a stage's sample; or run it once for every line that comes, and print `seconds` and `peak_bytes`."""
    arguments = sys.argv[1:]
    if arguments[0] == "sample":
        make_sample(arguments[1], Path(arguments[2]), int(arguments[3]))
        return
    stage, side, folder = arguments[0], arguments[1], Path(arguments[2])
    for _ in sys.stdin:
        print(json.dumps({"seconds": run(stage, side, folder), "peak_bytes": peak_memory()}), flush=True)


def _sources(folder: Path, stage: str) -> list[Path]:
    sources = [folder / "table.parquet"]
    return [*sources, folder / "outputs.jsonl.out"] if stage.startswith("join") else sources


_BATCH_ROWS = 5_000
_DISTINCT_BATCHES = 2
_COPY_BYTES = 1 << 20
_STAGES: dict[str, Callable[[Path, str], float]] = {
    "render": render,
    "prepare": prepare,
    "join_text": join_text,
    "join_embeddings": join_embeddings,
}

if __name__ == "__main__":
    main()
