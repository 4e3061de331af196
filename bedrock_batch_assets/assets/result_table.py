"""The batch's result: all parts are there, and every row is accounted for."""

import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from bedrock_batch_assets.assets.checks import TABLE_CHECKS, CheckLimits, PartRows, table_checks
from bedrock_batch_assets.assets.failures import reasons_table, rows_of_reasons
from bedrock_batch_assets.assets.reporting import HIDDEN, PREVIEW_ROWS, asset_run, column_schema, preview
from bedrock_batch_assets.assets.table_panel import how_to_read, table_panel
from bedrock_batch_assets.chunks.joined_chunk import schema_of, table_schema
from bedrock_batch_assets.cost.forecast import cost_metadata, used_tokens
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.internals.dagster_internals import backfills
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.partitions import CROSSING, batches
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.runs.event_log import InputEvent, newest_input
from bedrock_batch_assets.storage.bucket import version_of
from bedrock_batch_assets.storage.manifests import (
    BatchManifest,
    PartSummary,
    TableManifest,
    add_summaries,
    with_accounts_of,
)
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.storage.table_folder import PARALLEL_REQUESTS, Answers, Part, TableFolder
from bedrock_batch_assets.tags import BATCH_TAG, VERSION_METADATA

# How much of a part is read at a time: its footer, and one column of a few hundred bytes per row group.
READ_BYTES = 64 << 10


@dg.asset(
    partitions_def=batches,
    deps=[dg.AssetDep("result_parts", partition_mapping=CROSSING)],
    group_name="batch_inference",
    kinds={"parquet", "s3"},
    owners=["team:data-platform"],
    check_specs=TABLE_CHECKS,
)
def result_table(
    context: dg.AssetExecutionContext,
    storage: BatchStorage,
    jobs: BedrockBatchJobs,
    processors: Processors,
    prices: Prices,
    check_limits: CheckLimits,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The input table with the model's answers, one file a chunk, in input order, with a summary of every row."""
    with asset_run(context) as key:
        batch = storage.batch_manifest(key)
        folder, found, chunks = _all_parts(batch, storage, processors)
        parts = [part.summary for part in found]
        keys = [part.key for part in found]
        total = with_accounts_of(add_summaries(parts, batch.version), chunks.values())
        folder.put_in_place(found)
        storage.write_manifest(
            storage.layout.table_manifest(batch.batch),
            TableManifest(
                batch=batch.batch, version=batch.version, output_format=batch.output_format, parts=keys, total=total
            ),
        )
        _clean_up(context, folder, found)
        files = rows_in_files(batch, found, storage)
        head, files[0] = _head(batch, keys[0], files[0], storage)
        head += rows_of_reasons(batch, total, storage, keys)
        reasons = reasons_table(batch, total, storage)
        uri = storage.uri(storage.layout.results_folder(batch.batch))
        cost = cost_metadata(total, batch.model_id, prices)
        event = newest_input(context.instance, batch.batch)
        panel = table_panel(
            batch,
            total,
            cost,
            uri,
            seconds=None if event is None else max(0.0, time.time() - event.timestamp),
            backfill=_newest_backfill(context, batch.batch, event),
            console_url=jobs.console_url,
        )
        columns = column_schema(table_schema(batch))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(batch.version),
        metadata={
            "summary": panel,
            "how_to_read": how_to_read(batch, uri, has_failed_rows=total.ok < total.rows),
            "errors_by_reason": reasons,
            "preview": preview(head) if batch.shows_values else HIDDEN,
            "dagster/row_count": total.rows,
            "dagster/uri": uri,
            "dagster/column_schema": columns,
            **total.statuses(),
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            **used_tokens(total),
            **cost,
            "parts": len(parts),
            "reused": total.reused,
            "model": batch.model_id,
            "manifest": storage.uri(storage.layout.table_manifest(batch.batch)),
            VERSION_METADATA: batch.version,
        },
        check_results=table_checks(batch, parts, total, files, chunks, check_limits),
    )


def _newest_backfill(context: dg.AssetExecutionContext, batch: str, event: InputEvent | None) -> str | None:
    """The id of the backfill that the batch's input led to; None if there was none."""
    if event is None:
        return None
    # The clocks of the run that read the input and of the daemon differ a little.
    since = datetime.fromtimestamp(event.timestamp, UTC) - timedelta(minutes=5)
    found = backfills(context.instance, created_after=since)
    return next((item.id for item in found if item.tags.get(BATCH_TAG) == batch), None)


def _clean_up(context: dg.AssetExecutionContext, folder: TableFolder, parts: list[Part]) -> None:
    """Delete what was staged for the table. The table is whole without that, so a denied delete is no error."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        folder.clear_staged(parts)
    except (BatchError, BotoCoreError, ClientError) as error:
        context.log.warning(f"The table is finished; the parts that waited for it stay beside it: {error}")


def _all_parts(
    batch: BatchManifest, storage: BatchStorage, processors: Processors
) -> tuple[TableFolder, list[Part], dict[str, PartSummary]]:
    """The table's folder and parts, made if they are not there; and the accounts of the batch's own chunks, by key.

    Raises:
        BatchError: Answers are not there.
    """
    from bedrock_batch_assets.chunks.table_join import JoinedPart, join_parts, read_references
    from bedrock_batch_assets.prompt_templates import PromptTemplate
    from bedrock_batch_assets.records.rendering import RecordRenderer

    folder = TableFolder(batch, storage)
    sources = batch.answer_sources()
    answers = folder.find_answers()
    _check_all_there(batch, answers)
    references = read_references(batch, storage)
    entries = batch.table_parts()
    joined: dict[int, str] = {}
    if references is not None:
        for place, entry in enumerate(entries):
            if entry.source < 0:
                used = [answers[source] for source in references.sources_of(entry.first_row, entry.row_count)]
                joined[place] = version_of(entry.version, *(item.summary for item in used if item is not None))
    found = folder.find_parts(answers, joined)
    lacking = [place for place, part in enumerate(found) if part is None]
    if lacking and references is not None:
        needed = {
            source
            for place in lacking
            for source in references.sources_of(entries[place].first_row, entries[place].row_count)
        }
        renderer = RecordRenderer(
            processors.for_model_id(batch.model_id, batch.processor, batch.parameters),
            None if batch.template is None else PromptTemplate.parse(batch.template),
            schema_of(batch),
        )
        layout = storage.layout
        join_parts(
            batch,
            [
                JoinedPart(
                    entries[place],
                    joined[place],
                    layout.joined_part(batch.batch, place, joined[place], batch.output_format),
                )
                for place in lacking
            ],
            references,
            {source: item.key for source, item in enumerate(answers) if item is not None and source in needed},
            renderer,
            storage,
        )
        folder = TableFolder(batch, storage)
        found = folder.find_parts(answers, joined)
    own = batch.keyed_chunks()
    accounts = {
        source.chunk: item.summary
        for source, item in zip(sources, answers, strict=True)
        if item is not None and source.chunk in own
    }
    return folder, [part for part in found if part is not None], accounts


def _check_all_there(batch: BatchManifest, answers: Sequence[Answers | None]) -> None:
    lacking = [source for source, item in zip(batch.answer_sources(), answers, strict=True) if item is None]
    chunks = batch.keyed_chunks()
    own = [source.chunk for source in lacking if source.chunk in chunks]
    if own:
        raise BatchError(
            f"{len(own)} of {len(batch.chunks)} parts of batch {batch.batch} are not there for its input as it is "
            f"now: {_some(own)}. Materialize jsonl_chunks, batch_job_outputs and result_parts of these chunks."
        )
    if lacking:
        raise BatchError(
            f"Answers that batch {batch.batch} was to reuse are not there any more: "
            f"{_some([source.chunk for source in lacking])}. Materialize input_dataset again: what is not there is "
            "asked for then."
        )


def rows_in_files(batch: BatchManifest, parts: Sequence[Part], storage: BatchStorage) -> list[PartRows]:
    """What the files of the table hold. For a CSV file, only the size is compared."""
    from bedrock_batch_assets.parquet.files import DamagedPartError, count_statuses

    objects = storage.objects

    def rows(part: Part) -> PartRows:
        with objects.open_reader(part.key, read_ahead=READ_BYTES) as file:
            size, expected = file.seek(0, io.SEEK_END), part.summary.size_bytes
            if expected and size != expected:
                return PartRows(problem=f"its file has {size} bytes and was written with {expected}")
            if batch.output_format is OutputFormat.csv:
                return PartRows()
            try:
                return PartRows(count_statuses(file, part.summary.footer))
            except DamagedPartError as error:
                return PartRows(problem=str(error))

    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(rows, parts))


def _head(
    batch: BatchManifest, key: str, rows: PartRows, storage: BatchStorage
) -> tuple[list[dict[str, Any]], PartRows]:
    """The first rows of a part, and what reading all of its columns says about its file."""
    from bedrock_batch_assets.parquet.files import DamagedPartError, read_head

    if rows.problem is not None:
        return [], rows
    try:
        with storage.objects.open_reader(key) as file:
            return read_head(file, batch.output_format, PREVIEW_ROWS), rows
    except DamagedPartError as error:
        return [], PartRows(problem=str(error))


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:5])
    return f"{shown} and {len(keys) - 5} more" if len(keys) > 5 else shown
