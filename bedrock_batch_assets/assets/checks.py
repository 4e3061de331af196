"""The account of a result table, as asset checks: each says its numbers, whether it passes or not.

They look at a table that has been written already, so a check that fails loses nothing: it tells, and the blocking one
also keeps assets downstream from using the table.
"""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from bedrock_batch_assets.partitions import chunk_key
from bedrock_batch_assets.storage.manifests import BatchManifest, PartSummary

ROWS_ACCOUNTED_FOR = dg.AssetCheckSpec(
    "rows_accounted_for",
    asset="result_table",
    description="Rows in = ok + error + truncated + skipped + missing.",
    blocking=True,
)
RECORD_IDS_UNIQUE = dg.AssetCheckSpec(
    "record_ids_unique",
    asset="result_table",
    description="Every output line answered one record that was sent, and no record twice in one job.",
)
PARTS_AND_MANIFEST_AGREE = dg.AssetCheckSpec(
    "parts_and_manifest_agree",
    asset="result_table",
    description="The batch's manifest, summaries and files count the same rows; each job's manifest, its lines.",
)
ERROR_SHARE = dg.AssetCheckSpec(
    "error_share",
    asset="result_table",
    description="Few of the rows that were sent have no answer.",
)
BUILT_FROM_CURRENT_INPUT = dg.AssetCheckSpec(
    "built_from_current_input",
    asset="result_table",
    description="The table was made from the batch's input as it is now.",
)
TABLE_CHECKS = (
    ROWS_ACCOUNTED_FOR,
    RECORD_IDS_UNIQUE,
    PARTS_AND_MANIFEST_AGREE,
    ERROR_SHARE,
    BUILT_FROM_CURRENT_INPUT,
)

# A description names so many chunks; the metadata has the sums.
_CHUNKS_NAMED = 5


class CheckLimits(dg.ConfigurableResource):  # type: ignore[type-arg]
    """From where on the checks of result_table complain."""

    warn_error_share: float = Field(
        default=0.01, ge=0, le=1, description="A larger share of sent rows without an answer is a warning."
    )
    max_error_share: float = Field(
        default=0.10, ge=0, le=1, description="A larger share of sent rows without an answer is an error."
    )


def table_checks(
    batch: BatchManifest,
    parts: Sequence[PartSummary],
    total: PartSummary,
    file_rows: Sequence[int | None] | None,
    limits: CheckLimits,
) -> list[dg.AssetCheckResult]:
    """The results of all checks on a table that has just been written.

    Args:
        batch: The batch as it is now, which the table was made from.
        parts: The accounts of its parts, in order.
        total: Their sum.
        file_rows: Rows by each part's own Parquet footer, None where it cannot be read; None for all of a format that
            counts no rows.
        limits: From where on to complain.
    """
    return [
        _rows_accounted_for(batch, total),
        _record_ids_unique(total),
        _parts_and_manifest_agree(batch, parts, total, file_rows),
        _error_share(total, limits),
        dg.AssetCheckResult(
            check_name=BUILT_FROM_CURRENT_INPUT.name,
            passed=True,
            metadata={"batch": batch.batch, "built_from": batch.version, "input_is_now": batch.version},
        ),
    ]


def _rows_accounted_for(batch: BatchManifest, total: PartSummary) -> dg.AssetCheckResult:
    counted = sum(total.statuses().values())
    return dg.AssetCheckResult(
        check_name=ROWS_ACCOUNTED_FOR.name,
        passed=counted == total.rows == batch.row_count,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{batch.row_count} rows in, {total.rows} rows out, {counted} rows with a status.",
        metadata={"rows_in": batch.row_count, "rows_out": total.rows, "rows_counted": counted, **total.statuses()},
    )


def _record_ids_unique(total: PartSummary) -> dg.AssetCheckResult:
    """A second line for a record, or one for a record that was not sent, changes no row: a warning."""
    return dg.AssetCheckResult(
        check_name=RECORD_IDS_UNIQUE.name,
        passed=total.duplicate_lines == total.unknown_record_ids == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{total.duplicate_lines} lines repeat a record of their job, {total.unknown_record_ids} have an id that "
            "was not sent. Each row has one answer all the same: its first whole one."
        ),
        metadata={
            "duplicate_lines": total.duplicate_lines,
            "unknown_record_ids": total.unknown_record_ids,
            "corrupt_lines": total.corrupt_lines,
        },
    )


def _parts_and_manifest_agree(
    batch: BatchManifest, parts: Sequence[PartSummary], total: PartSummary, file_rows: Sequence[int | None] | None
) -> dg.AssetCheckResult:
    """Rows that differ are an error. The service's own counts may lag behind its outputs: a warning."""
    wrong_rows: list[str] = []
    wrong_records: list[str] = []
    for index, (entry, part) in enumerate(zip(batch.chunks, parts, strict=True)):
        chunk = chunk_key(batch.batch, index)
        in_file = part.rows if file_rows is None else file_rows[index]
        if not entry.row_count == part.rows == in_file:
            footer = "no readable Parquet footer" if in_file is None else f"{in_file} in its file"
            wrong_rows.append(
                f"{chunk}: {entry.row_count} rows in the batch's manifest, {part.rows} in the part's summary, {footer}"
            )
        if part.job_lines != part.job_records:
            wrong_records.append(
                f"{chunk}: {part.job_records} records processed by the jobs' manifests, {part.job_lines} output lines"
            )
    wrong = wrong_rows + wrong_records
    more = f"; and {len(wrong) - _CHUNKS_NAMED} more" if len(wrong) > _CHUNKS_NAMED else ""
    return dg.AssetCheckResult(
        check_name=PARTS_AND_MANIFEST_AGREE.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR if wrong_rows else dg.AssetCheckSeverity.WARN,
        description="; ".join(wrong[:_CHUNKS_NAMED]) + more if wrong else f"All {len(parts)} parts agree.",
        metadata={
            "rows_in_manifest": batch.row_count,
            "rows_in_summaries": total.rows,
            "rows_in_files": "not counted: CSV" if file_rows is None else sum(rows or 0 for rows in file_rows),
            "job_records": total.job_records,
            "job_lines": total.job_lines,
        },
    )


def _error_share(total: PartSummary, limits: CheckLimits) -> dg.AssetCheckResult:
    sent = total.rows - total.skipped
    unanswered = total.error + total.missing
    share = unanswered / sent if sent else 0.0
    is_error = share > limits.max_error_share
    return dg.AssetCheckResult(
        check_name=ERROR_SHARE.name,
        passed=not is_error and share <= limits.warn_error_share,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=f"{unanswered} of {sent} rows that were sent have no answer ({share:.2%}).",
        metadata={
            "rows_sent": sent,
            "error": total.error,
            "missing": total.missing,
            "share": share,
            "warning_above": limits.warn_error_share,
            "error_above": limits.max_error_share,
        },
    )
