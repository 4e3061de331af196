"""Reading the input table once: checked, stored as Parquet, cut into chunks, and given digests."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bedrock_batch_assets.cost.forecast import estimated_tokens
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.chunk_plan import ChunkLimits, ChunkRange, RowSizes, plan_chunks, rows_for_jobs
from bedrock_batch_assets.ingest.row_digest import digest_ranges, digest_texts
from bedrock_batch_assets.parquet.files import TableWriter, read_rows
from bedrock_batch_assets.records.prefetch import map_prefetched
from bedrock_batch_assets.records.preview import preview_rows
from bedrock_batch_assets.records.record_digests import record_digests
from bedrock_batch_assets.records.record_file import Renderer, render_prefetched

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.ingest.sources.source import Source
    from bedrock_batch_assets.records.rendering import RenderedRecords

TABLE_FILE = "input.parquet"
_PREVIEW_ROWS = 5
# How many rows are rendered at a time, whatever the source's batches are.
_BATCH_ROWS = 4_096


class BatchLimits(Protocol):
    """How much of its table a batch takes, and into how many jobs: what `BatchRequest` says of it."""

    @property
    def records_per_job(self) -> int:
        """Records per job at most."""
        ...

    @property
    def records_total(self) -> int | None:
        """Rows to use at most; None for all."""
        ...

    @property
    def max_num_jobs(self) -> int | None:
        """Jobs at most; None for as many as the rows need."""
        ...


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk with its contents.

    `digest` covers its rows' values and the columns' names and types, 16 hexadecimal digits; `records_to_send` and
    `rendered_bytes` count its rendered records.
    """

    range: ChunkRange
    digest: str
    records_to_send: int
    rendered_bytes: int


@dataclass(frozen=True, slots=True)
class IngestedTable:
    """The input table as it was stored, with its chunks.

    Attributes:
        parquet_path: The local file: all columns and all rows of the batch, in order.
        row_count: Its rows.
        schema: Its columns.
        sizes: How many bytes each row's record has.
        digests_path: A local file with the digest of each row's record, see `records.record_digests`.
        chunks: The chunks, in order; together they are all rows.
        digest: Of all chunks: changes when a row, a column or a boundary does. 16 hexadecimal digits.
        records_to_send: Rows that become records.
        skipped_count: Rows that do not.
        skipped_reasons: How many rows are skipped for each reason, most frequent first.
        rendered_bytes: Size of all records as JSON lines.
        estimated_input_tokens: A rough guess: a token for four bytes of JSON.
        sample_record: The first record, as indented JSON.
        preview: The first rows, as text, long cells cut short.
    """

    parquet_path: Path
    row_count: int
    schema: pa.Schema
    sizes: RowSizes
    digests_path: Path
    chunks: list[PlannedChunk]
    digest: str
    records_to_send: int
    skipped_count: int
    skipped_reasons: dict[str, int]
    rendered_bytes: int
    estimated_input_tokens: int
    sample_record: str
    preview: list[dict[str, Any]]


def ingest(
    request: BatchLimits,
    *,
    source: Source,
    renderer: Renderer,
    directory: Path,
    previous_plan: Sequence[ChunkRange] | None = None,
) -> IngestedTable:
    """Read the source once and store it as Parquet, then plan its chunks and digest them from the local file.

    Memory does not grow with the rows, but for 4 bytes a row of record sizes (see `RowSizes`) and the footer of the
    Parquet file.

    Args:
        request: Bounds rows and chunks.
        source: The table; only the rows that the request allows are read.
        renderer: Renders each row once, to find what cannot be rendered before anything is paid for.
        directory: Where the Parquet file goes. Exists.
        previous_plan: Chunks of an earlier ingestion of the same batch, which keep their place where they can. Pass
            None if the request's limits have changed, for a plan of its own.

    Raises:
        RequestError: The table is broken or has no rows, none of them can be sent, a row cannot be rendered, or it
            makes too many chunks.
    """
    limits = ChunkLimits(request.records_per_job)
    bounds = [request.records_total, request.max_num_jobs and request.max_num_jobs * limits.records_per_job]
    max_rows = min((rows for rows in bounds if rows), default=None)
    path = directory / TABLE_FILE
    reading = _Reading(renderer, path)
    reading.read(source, max_rows, limits, request.max_num_jobs)
    if request.max_num_jobs is not None:
        fitting = rows_for_jobs(reading.sizes, limits, request.max_num_jobs)
        if fitting < len(reading.sizes):
            # Bytes, not records, fill the jobs, which only rendering could show: take the rows that fit.
            whole = path.rename(directory / f"whole-{TABLE_FILE}")
            reading = _Reading(renderer, path)
            reading.read(_StoredTable(source.name, source.schema, whole), fitting, limits)
            whole.unlink()
    row_count = len(reading.sizes)
    if row_count == 0:
        names = ", ".join(source.schema.names)
        raise RequestError(f"{source.name} has the columns {names} and no rows: give a table with at least one row.")
    records = reading.sizes.sent_before(row_count)
    if records == 0:
        reason = next(iter(reading.skipped_reasons))
        raise RequestError(f"{source.name}: none of the {row_count} rows can be sent ({reason}): fill the columns.")

    ranges = plan_chunks(row_count, limits, reading.sizes, previous_plan or ())
    if request.max_num_jobs is not None and len(ranges) > request.max_num_jobs:
        # The old chunks leave too few jobs for the new rows.
        ranges = plan_chunks(row_count, limits, reading.sizes)
    digests = _digests(path, source.schema, ranges)
    chunks = [
        PlannedChunk(
            chunk,
            digest,
            reading.sizes.sent_before(chunk.end_row) - reading.sizes.sent_before(chunk.first_row),
            reading.sizes.bytes_before(chunk.end_row) - reading.sizes.bytes_before(chunk.first_row),
        )
        for chunk, digest in zip(ranges, digests, strict=True)
    ]
    rendered_bytes = reading.sizes.bytes_before(row_count)
    return IngestedTable(
        parquet_path=path,
        row_count=row_count,
        schema=source.schema,
        sizes=reading.sizes,
        digests_path=reading.digests_path,
        chunks=chunks,
        digest=digest_texts(f"{chunk.range.first_row} {chunk.range.row_count} {chunk.digest}" for chunk in chunks),
        records_to_send=records,
        skipped_count=row_count - records,
        skipped_reasons=dict(reading.skipped_reasons.most_common()),
        rendered_bytes=rendered_bytes,
        estimated_input_tokens=estimated_tokens(rendered_bytes),
        sample_record=reading.sample_record,
        preview=reading.preview,
    )


def _digests(path: Path, schema: pa.Schema, ranges: Sequence[ChunkRange]) -> Iterator[str]:
    """The digest of each chunk's rows. The stored table is read once; each core reads a stretch of it."""
    # Each stretch has many chunks, since the file's footer is read once per stretch.
    length = -(-len(ranges) // 8)

    def digests(some: Sequence[ChunkRange]) -> list[str]:
        rows = read_rows(path, some[0].first_row, some[-1].end_row - some[0].first_row)
        return list(digest_ranges(schema, rows, [chunk.row_count for chunk in some]))

    stretches = [ranges[start : start + length] for start in range(0, len(ranges), length)]
    return itertools.chain.from_iterable(map_prefetched(digests, stretches))


class _Reading:
    """One pass over a source: rows are stored, records are only counted."""

    def __init__(self, renderer: Renderer, path: Path) -> None:
        self._renderer = renderer
        self._path = path
        self.digests_path = path.with_suffix(".digests")
        self.sizes = RowSizes()
        self.skipped_reasons: Counter[str] = Counter()
        self.sample_record = ""
        self.preview: list[dict[str, Any]] = []

    def read(self, source: Source, max_rows: int | None, limits: ChunkLimits, max_jobs: int | None = None) -> None:
        """Read at most `max_rows` rows, and no more bytes of records than could ever fit into `max_jobs` files."""
        most_bytes = max_jobs * limits.max_file_bytes if max_jobs is not None else None
        with (
            TableWriter(self._path, source.schema, rows_per_chunk=limits.records_per_job) as writer,
            self.digests_path.open("wb") as digests,
        ):
            for batch, rendered in render_prefetched(self._renderer, _first_rows(source.batches(), max_rows), 0):
                self._add(batch, rendered)
                writer.write(batch)
                digests.write(record_digests(rendered).tobytes())
                if most_bytes is not None and self.sizes.bytes_before(len(self.sizes)) > most_bytes:
                    break

    def _add(self, batch: pa.RecordBatch, rendered: RenderedRecords) -> None:
        if len(self.preview) < _PREVIEW_ROWS:
            self.preview += preview_rows(batch.slice(0, _PREVIEW_ROWS - len(self.preview)))
        self.sizes.extend(rendered.line_sizes)
        self.skipped_reasons.update(reason for _, reason in rendered.skipped)
        if not self.sample_record and rendered.record_count:
            line = bytes(rendered.pieces[0]).partition(b"\n")[0]
            self.sample_record = json.dumps(json.loads(line), ensure_ascii=False, indent=2)


class _StoredTable:
    """The stored table as a source."""

    def __init__(self, name: str, schema: pa.Schema, path: Path) -> None:
        self.name = name
        self.schema = schema
        self._path = path

    def batches(self) -> Iterator[pa.RecordBatch]:
        return read_rows(self._path)


def _first_rows(batches: Iterator[pa.RecordBatch], max_rows: int | None) -> Iterator[pa.RecordBatch]:
    """At most `max_rows` rows, in batches that are not too long; nothing is read beyond them."""
    left = max_rows
    for whole in batches:
        for start in range(0, whole.num_rows, _BATCH_ROWS):
            batch = whole.slice(start, _BATCH_ROWS if left is None else min(left, _BATCH_ROWS))
            yield batch
            if left is not None:
                left -= batch.num_rows
                if left == 0:
                    return
