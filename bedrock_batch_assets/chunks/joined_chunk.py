"""A chunk's part of the result table: its rows with their answers."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.claims import note_bad_answers
from bedrock_batch_assets.storage.manifests import (
    BatchManifest,
    JobCounts,
    OutputsManifest,
    PartSummary,
    summary_metadata,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.parquet.files import EncodedRows
    from bedrock_batch_assets.records.joining import OutputJoin

# How much of the chunk's rows may be read ahead of their answers, besides the piece being read, which may be a
# row group.
_READ_AHEAD_BYTES = 8 << 20

# As `jobs.record_sender` writes them.
_FLEX_ANSWER = re.compile(rb'\{"recordId":"[^"]*","serviceTier":"flex",')

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class JoinedChunk:
    """The account of a part that is stored, and its first rows."""

    summary: PartSummary
    head: list[dict[str, Any]]


def schema_of(batch: BatchManifest) -> "pa.Schema":
    """The columns of a batch's input."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(batch.schema))


def table_schema(batch: BatchManifest) -> "pa.Schema":
    """The columns of a batch's result table: the input's, then those that the join adds."""
    from bedrock_batch_assets.records.joining import result_schema

    # An embedding model has no template.
    return result_schema(schema_of(batch), is_text=batch.template is not None)


def join_chunk(chunk: Chunk, outputs: OutputsManifest, key: str, *, head_rows: int) -> JoinedChunk:
    """Join the answers to the chunk's rows, every one, and store the part.

    Args:
        chunk: The chunk.
        outputs: Where its answers are.
        key: Where the part goes. Its account is stored as the object's metadata.
        head_rows: How many of the first rows to return.

    Raises:
        RequestError: The input has a column that the join adds.
        ConfigurationError: Access to the bucket is denied.
    """
    from bedrock_batch_assets.parquet.files import read_head
    from bedrock_batch_assets.records.joining import OutputJoin

    storage = chunk.storage
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        with OutputJoin(chunk.renderer, chunk.first_row, chunk.row_count) as join:
            used, footer = write_part(
                path,
                chunk.output_format,
                join,
                rows=chunk.encoded_rows() if chunk.output_format is OutputFormat.parquet else chunk.rows(),
                add_outputs=lambda: _add_outputs(outputs, join, storage),
                all_sent=_all_were_sent(chunk, outputs),
            )
        with path.open("rb") as file:
            head = read_head(file, chunk.output_format, head_rows)
        summary = part_summary(join, chunk.version, path, footer, used)
        # The account travels with the part, so that the two cannot disagree.
        storage.objects.upload_file(path, key, metadata=summary_metadata(summary))
        if chunk.recipe:
            # A truncated answer is kept: the same question would end at the same limit.
            note_bad_answers(storage, chunk.recipe, chunk.key, chunk.version, join.unanswered)
    return JoinedChunk(summary, head)


def keep_answers_alone(storage: BatchBucket, key: str) -> None:
    """Delete a chunk's rows, and keep the answers to them: other batches use these.

    Args:
        storage: The bucket.
        key: The chunk's answers, see `Chunk.answers_key`; a file that is not there is left so.
    """
    from bedrock_batch_assets.parquet.files import PartFile, read_rows
    from bedrock_batch_assets.records.joining import answer_columns

    summary = storage.part_summary(key)
    if summary is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers"
        with storage.objects.open_reader(key) as file, PartFile(path, OutputFormat.parquet) as part:
            for batch in read_rows(file):
                part.write(batch.select(answer_columns(batch.schema)))
        kept = msgspec.structs.replace(summary, size_bytes=path.stat().st_size, footer=part.footer_digest)
        storage.objects.upload_file(path, key, metadata=summary_metadata(kept))


def part_summary(
    join: "OutputJoin", version: str, path: Path, footer: str | None, used: Mapping[str, int] = MappingProxyType({})
) -> PartSummary:
    """The account of a part that was written: of its join, its file, and the tokens that were used."""
    counts: dict[str, Any] = {field.name: getattr(join.summary, field.name) for field in fields(join.summary)}
    counts |= {**used, "reasons": list(join.summary.reasons)}
    return PartSummary(version=version, **counts, size_bytes=path.stat().st_size, footer=footer)


def write_part(
    path: Path,
    output_format: OutputFormat,
    join: "OutputJoin",
    *,
    rows: "Iterable[EncodedRows | pa.RecordBatch]",
    add_outputs: Callable[[], Found],
    all_sent: bool,
) -> tuple[Found, str | None]:
    """Write a chunk's rows with their answers to a local file.

    Args:
        path: Of the file; overwritten.
        output_format: Its format. Encoded rows are for Parquet alone.
        join: The chunk's join, with nothing added yet.
        rows: The chunk's rows, in order; iterated in a thread of their own.
        add_outputs: Adds all outputs to the join.
        all_sent: Whether it is known that none of the rows was skipped.

    Returns:
        What `add_outputs` returned, and the digest of the file's footer (None for CSV).

    Raises:
        RequestError: The input has a column that the join adds.
    """
    from bedrock_batch_assets.parquet.files import PartFile, write_joined
    from bedrock_batch_assets.records.prefetch import PrefetchedRows

    # Rows are read while the answers are parsed, since parsing keeps only one core busy.
    with PrefetchedRows(rows, _READ_AHEAD_BYTES) as prefetched_rows:
        found = add_outputs()
        with PartFile(path, output_format) as part:
            write_joined(part, join, prefetched_rows, all_sent=all_sent)
    return found, part.footer_digest


def _all_were_sent(chunk: Chunk, outputs: OutputsManifest) -> bool:
    """Whether it is known that no row was skipped when the answered records were rendered."""
    rendered = chunk.storage.find_chunk_manifest(chunk.key)
    # The digest is of the records alone: another input may give the same records, and skip rows besides.
    return (
        rendered is not None
        and (rendered.version, rendered.digest) == (outputs.version, outputs.digest)
        and rendered.skipped == 0
    )


def _add_outputs(outputs: OutputsManifest, join: "OutputJoin", storage: BatchBucket) -> dict[str, int]:
    """Add all output files to the join. Returns the fields of `PartSummary` on what they hold and what was used."""
    from bedrock_batch_assets.records.joining import OutputCounts

    used: Counter[str] = Counter()
    for wave, output in enumerate(outputs.outputs):
        names = storage.output_files(output.prefix)
        if output.arn is None:
            used.update(_add_on_demand(names, wave, join, storage))
            continue
        seen = OutputCounts()
        for name in names:
            seen += join.add_outputs(storage.objects.blocks(name), wave)
        counts = storage.job_counts(output)
        if counts is None:
            counts = JobCounts()
        elif counts.processed_record_count is not None:
            used["job_lines"] += seen.lines
            used["job_records"] += counts.processed_record_count
        # A job that was cut short may leave no manifest. Then only the tokens of its answers are known.
        told = (counts.input_token_count, counts.output_token_count)
        used["batch_input_tokens"] += seen.input_tokens if told[0] is None else told[0]
        used["batch_output_tokens"] += seen.output_tokens if told[1] is None else told[1]
    return dict(used)


def _add_on_demand(names: Iterable[str], wave: int, join: "OutputJoin", storage: BatchBucket) -> Counter[str]:
    """Add the answers of an on-demand pass to the join, and count their tokens by what they cost."""
    used: Counter[str] = Counter()
    for name in names:
        # Fewer records than a job needs, see `jobs.on_demand_pass`.
        lines = storage.objects.get_bytes(name).splitlines(keepends=True)
        in_flex = [line for line in lines if _FLEX_ANSWER.match(line)]
        for kind, some in (("flex", in_flex), ("on_demand", [line for line in lines if not _FLEX_ANSWER.match(line)])):
            seen = join.add_outputs([b"".join(some)], wave, on_demand=True)
            used[f"{kind}_input_tokens"] += seen.input_tokens
            used[f"{kind}_output_tokens"] += seen.output_tokens
    return used
