"""The chunk's rows with their answers."""

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from bedrock_batch_assets.assets.chunk import Chunk
from bedrock_batch_assets.assets.reporting import PREVIEW_ROWS, asset_run, preview
from bedrock_batch_assets.cost.forecast import used_tokens
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.partitions import CROSSING, chunks
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.request import OutputFormat
from bedrock_batch_assets.storage.manifests import JobCounts, OutputsManifest, PartSummary
from bedrock_batch_assets.storage.resource import BatchStorage

if TYPE_CHECKING:
    from bedrock_batch_assets.records.joining import OutputJoin

# Of the chunk's rows, in memory before their answers are: as much as this, and what is read at a time, which may be a
# row group.
READ_AHEAD_BYTES = 8 << 20


@dg.asset(
    partitions_def=chunks,
    deps=["batch_job_outputs", dg.AssetDep("input_dataset", partition_mapping=CROSSING)],
    group_name="batch_inference",
    kinds={"parquet", "s3"},
    owners=["team:data-platform"],
)
def result_parts(
    context: dg.AssetExecutionContext, storage: BatchStorage, processors: Processors
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The chunk's input rows, every one, in order, with the model's answer and a status on each."""
    with asset_run(context) as key:
        chunk = Chunk.load(key, storage, processors)
        outputs = storage.outputs_manifest(chunk.key)
        if outputs.version != chunk.entry.version:
            raise BatchError(
                f"The answers of chunk {chunk.key} are for an earlier input: materialize jsonl_chunks and "
                "batch_job_outputs of this chunk first."
            )
        place = (chunk.batch.batch, chunk.index)
        # Out of the table's readers' sight until all parts of this input are there: result_table moves it.
        staged = storage.layout.staged_part(*place, chunk.entry.version, chunk.batch.output_format)
        summary, head = _join(chunk, outputs, staged)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.version),
        metadata={
            "dagster/row_count": summary.rows,
            "dagster/uri": storage.uri(storage.layout.result_part(*place, chunk.batch.output_format)),
            **summary.statuses(),
            "input_tokens": summary.input_tokens,
            "output_tokens": summary.output_tokens,
            **used_tokens(summary),
            "preview": preview(head),
        },
    )


def _join(chunk: Chunk, outputs: OutputsManifest, key: str) -> tuple[PartSummary, list[dict[str, Any]]]:
    """Join the answers to the chunk's rows and store the part at `key`. Returns its account and its first rows."""
    from bedrock_batch_assets.parquet.files import PartFile, read_head, write_joined
    from bedrock_batch_assets.records.joining import OutputJoin
    from bedrock_batch_assets.records.prefetch import PrefetchedRows

    storage = chunk.storage
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        may_stay_encoded = chunk.batch.output_format is OutputFormat.parquet
        rows = chunk.encoded_rows() if may_stay_encoded else chunk.rows()
        # They come in while the answers are parsed, which keeps one core busy.
        prefetched_rows = stack.enter_context(PrefetchedRows(rows, READ_AHEAD_BYTES))
        join = stack.enter_context(OutputJoin(chunk.renderer, chunk.entry.first_row, chunk.entry.row_count))
        used = _read_outputs(outputs, join, storage)
        path = Path(folder) / "part"
        part = stack.enter_context(PartFile(path, chunk.batch.output_format))
        write_joined(part, join, prefetched_rows, all_sent=_all_were_sent(chunk, outputs))
        stack.close()
        with path.open("rb") as file:
            head = read_head(file, chunk.batch.output_format, PREVIEW_ROWS)
        summary = PartSummary(
            version=chunk.entry.version,
            **asdict(join.summary),
            **used,
            size_bytes=path.stat().st_size,
            footer=part.footer_digest,
        )
        # The account travels with the part, so that the two cannot disagree.
        storage.objects.upload_file(path, key, metadata={"summary": msgspec.json.encode(summary).decode()})
    return summary, head


def _all_were_sent(chunk: Chunk, outputs: OutputsManifest) -> bool:
    """Whether it is known that no row was skipped when the records were rendered that the answers are of."""
    rendered = chunk.storage.find_chunk_manifest(chunk.key)
    # The digest is of the records alone: with another input the same ones may have been all, or not.
    return (
        rendered is not None
        and (rendered.version, rendered.digest) == (outputs.version, outputs.digest)
        and rendered.skipped == 0
    )


def _read_outputs(outputs: OutputsManifest, join: "OutputJoin", storage: BatchStorage) -> dict[str, int]:
    """Add all output files to the join. Returns the fields of `PartSummary` on what they hold and what was used."""
    from bedrock_batch_assets.records.joining import OutputCounts

    used: Counter[str] = Counter()
    for wave, output in enumerate(outputs.outputs):
        seen = OutputCounts()
        for name in storage.output_files(output.prefix):
            seen += join.add_outputs(storage.objects.blocks(name), wave)
        counts = storage.job_counts(output)
        if counts is None:
            counts = JobCounts()
        elif counts.processed_record_count is not None:
            used["job_lines"] += seen.lines
            used["job_records"] += counts.processed_record_count
        kind = "on_demand" if output.arn is None else "batch"
        # A job that was cut short may leave no manifest: then the tokens of its answers are what is known.
        told = (counts.input_token_count, counts.output_token_count)
        used[f"{kind}_input_tokens"] += seen.input_tokens if told[0] is None else told[0]
        used[f"{kind}_output_tokens"] += seen.output_tokens if told[1] is None else told[1]
    return dict(used)
