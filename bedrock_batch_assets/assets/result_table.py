"""The batch's result: every part in, every row accounted for."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg

from bedrock_batch_assets.assets.checks import TABLE_CHECKS, CheckLimits, table_checks
from bedrock_batch_assets.assets.reporting import PREVIEW_ROWS, asset_run, preview
from bedrock_batch_assets.cost.forecast import cost_metadata, used_tokens
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.partitions import CROSSING, batches, chunk_key
from bedrock_batch_assets.request import OutputFormat
from bedrock_batch_assets.storage.manifests import BatchManifest, PartSummary, TableManifest, add_summaries
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.storage.table_folder import PARALLEL_REQUESTS, Part, TableFolder
from bedrock_batch_assets.tags import VERSION_METADATA

# What pyarrow reads of a file's end to find its footer.
FOOTER_BYTES = 64 << 10


@dg.asset(
    partitions_def=batches,
    deps=[dg.AssetDep("result_parts", partition_mapping=CROSSING)],
    group_name="batch_inference",
    kinds={"parquet", "s3"},
    owners=["team:data-platform"],
    check_specs=TABLE_CHECKS,
)
def result_table(
    context: dg.AssetExecutionContext, storage: BatchStorage, prices: Prices, check_limits: CheckLimits
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The input table with the model's answers, one file a chunk, in input order, with a summary of every row."""
    with asset_run(context) as key:
        batch = storage.batch_manifest(key)
        folder = TableFolder(batch, storage)
        found = _all_parts(batch, folder)
        parts = [part.summary for part in found]
        keys = [part.key for part in found]
        total = add_summaries(parts, batch.version)
        folder.put_in_place(found)
        storage.write_manifest(
            storage.layout.table_manifest(batch.batch),
            TableManifest(
                batch=batch.batch, version=batch.version, output_format=batch.output_format, parts=keys, total=total
            ),
        )
        folder.clear_staged(found)
        file_rows = _file_rows(batch, keys, storage)
        head = _head(batch, keys[0], storage) if file_rows is None or file_rows[0] is not None else []
    return dg.MaterializeResult(
        data_version=dg.DataVersion(batch.version),
        metadata={
            "dagster/row_count": total.rows,
            "dagster/uri": storage.uri(storage.layout.results_folder(batch.batch)),
            **total.statuses(),
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            **used_tokens(total),
            **cost_metadata(total, batch.model_id, prices),
            "parts": len(parts),
            "model": batch.model_id,
            "manifest": storage.uri(storage.layout.table_manifest(batch.batch)),
            VERSION_METADATA: batch.version,
            "preview": preview(head),
            "rows_by_status": dg.MetadataValue.md(_status_table(total)),
        },
        check_results=table_checks(batch, parts, total, file_rows, check_limits),
    )


def _all_parts(batch: BatchManifest, folder: TableFolder) -> list[Part]:
    found = folder.find_parts()
    lacking = [chunk_key(batch.batch, index) for index, part in enumerate(found) if part is None]
    if lacking:
        raise BatchError(
            f"{len(lacking)} of {len(batch.chunks)} parts of batch {batch.batch} are not there for its input as it is "
            f"now: {_some(lacking)}. Materialize jsonl_chunks, batch_job_outputs and result_parts of these chunks."
        )
    return [part for part in found if part is not None]


def _head(batch: BatchManifest, key: str, storage: BatchStorage) -> list[dict[str, Any]]:
    """The first rows of a part that can be read."""
    from bedrock_batch_assets.parquet.part_file import read_head

    with storage.objects.open_reader(key) as file:
        return read_head(file, batch.output_format, PREVIEW_ROWS)


def _file_rows(batch: BatchManifest, keys: Sequence[str], storage: BatchStorage) -> list[int | None] | None:
    """Rows by each part's own footer; CSV has none."""
    from bedrock_batch_assets.parquet.part_file import parquet_row_count

    if batch.output_format is not OutputFormat.parquet:
        return None
    objects = storage.objects

    def rows(key: str) -> int | None:
        with objects.open_reader(key, read_ahead=FOOTER_BYTES) as file:
            return parquet_row_count(file)

    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(rows, keys))


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:5])
    return f"{shown} and {len(keys) - 5} more" if len(keys) > 5 else shown


def _status_table(total: PartSummary) -> str:
    lines = ["| record_status | rows | share |", "| --- | ---: | ---: |"]
    for status, count in total.statuses().items():
        lines.append(f"| {status} | {count:,} | {count / total.rows:.2%} |" if total.rows else f"| {status} | 0 | |")
    return "\n".join(lines)
