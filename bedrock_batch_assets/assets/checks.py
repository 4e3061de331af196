"""Asset checks that account for every row of a result table. Each shows its numbers, whether it passes or not.

They check a table that has been written already, so a failed check loses nothing: it shows what is wrong, and the
blocking one also keeps assets downstream from using the table.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from bedrock_batch_assets.assets.failures import in_words
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.partitions import batches
from bedrock_batch_assets.storage.manifests import BatchManifest, PartSummary


def _spec(name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check of each batch's table by itself, so that a good batch does not cover the failed check of another."""
    with warnings.catch_warnings():
        # Checks with partitions are a preview in Dagster 1.13, and it says so each time.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset="result_table", description=description, blocking=blocking, partitions_def=batches
        )


ROWS_ACCOUNTED_FOR = _spec(
    "rows_accounted_for",
    description="Rows in = ok + error + truncated + skipped + missing, as they are decoded from the files.",
    blocking=True,
)
RECORD_IDS_UNIQUE = _spec(
    "record_ids_unique",
    description="Every output line answered one record that was sent, and no record twice in one job.",
)
PARTS_AND_MANIFEST_AGREE = _spec(
    "parts_and_manifest_agree",
    description="The batch's manifest, summaries and files count the same rows; each job's manifest, its lines.",
)
ERROR_SHARE = _spec(
    "error_share",
    description="Few of the rows that were sent have no answer.",
)
BUILT_FROM_CURRENT_INPUT = _spec(
    "built_from_current_input",
    description="The table was made from the batch's input as it is now.",
)
TABLE_CHECKS = (
    ROWS_ACCOUNTED_FOR,
    RECORD_IDS_UNIQUE,
    PARTS_AND_MANIFEST_AGREE,
    ERROR_SHARE,
    BUILT_FROM_CURRENT_INPUT,
)

# A description names at most so many chunks; the metadata has the sums.
_CHUNKS_NAMED = 5


@dataclass(frozen=True, slots=True)
class PartRows:
    """What the file of a part holds.

    Attributes:
        statuses: Its rows by `record_status`, decoded from the file. None if they were not: a CSV file must be read
            as a whole, and a damaged file cannot be read.
        problem: What is wrong with the file; None if nothing is.
    """

    statuses: Mapping[str, int] | None = None
    problem: str | None = None

    @property
    def count(self) -> int | None:
        """How many rows there are; None if they were not counted."""
        return None if self.statuses is None else sum(self.statuses.values())


class CheckLimits(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The shares of rows without an answer at which the checks of result_table warn and fail."""

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
    files: Sequence[PartRows],
    chunks: Mapping[str, PartSummary],
    limits: CheckLimits,
) -> list[dg.AssetCheckResult]:
    """The results of all checks on a table that has just been written.

    Args:
        batch: The batch as it is now, which the table was made from.
        parts: The accounts of its parts, in order.
        total: Their sum.
        files: What their files hold, in order.
        chunks: The accounts of the batch's own chunks, by key.
        limits: The shares from which on a check complains.
    """
    return [
        _rows_accounted_for(batch, parts, total, files),
        _record_ids_unique(total),
        _parts_and_manifest_agree(batch, parts, total, files, chunks),
        _error_share(total, limits),
        dg.AssetCheckResult(
            check_name=BUILT_FROM_CURRENT_INPUT.name,
            passed=True,
            metadata={"batch": batch.batch, "built_from": batch.version, "input_is_now": batch.version},
        ),
    ]


def _rows_accounted_for(
    batch: BatchManifest, parts: Sequence[PartSummary], total: PartSummary, files: Sequence[PartRows]
) -> dg.AssetCheckResult:
    """The rows that the files hold are counted, and the summaries of the parts are compared with them."""
    decoded: Counter[str] = Counter()
    for part, file in zip(parts, files, strict=True):
        if file.problem is None:
            decoded.update(_present(part.statuses()) if file.statuses is None else file.statuses)
    wrong = list(_wrong_files(batch, parts, files))
    counted = decoded.total()
    return dg.AssetCheckResult(
        check_name=ROWS_ACCOUNTED_FOR.name,
        passed=not wrong and counted == total.rows == batch.row_count,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{batch.row_count} rows in, {total.rows} rows out, {counted} rows with a status"
        + (f". {_named(wrong)}" if wrong else "."),
        metadata={
            "rows_in": batch.row_count,
            "rows_out": total.rows,
            "rows_counted": counted,
            **total.statuses(),
            "damaged_parts": len(wrong),
        },
    )


def _wrong_files(batch: BatchManifest, parts: Sequence[PartSummary], files: Sequence[PartRows]) -> Iterator[str]:
    """The parts whose files are damaged, or hold other rows than their summaries say."""
    for chunk, part, entry, file in zip(_names(batch), parts, batch.table_parts(), files, strict=True):
        counted = _present(part.statuses())
        if file.problem is not None:
            again = "materialize its result_parts again" if entry.source >= 0 else "materialize result_table again"
            yield f"{chunk}: {file.problem}; {again}"
        elif file.statuses is not None and file.statuses != counted:
            yield f"{chunk}: its file has {_in_words(file.statuses)}, its summary {_in_words(counted)}"


def _names(batch: BatchManifest) -> list[str]:
    """What each part of the table is called: by its chunk, if it is one's."""
    sources = batch.answer_sources()
    return [
        sources[part.source].chunk if part.source >= 0 else f"part {place}"
        for place, part in enumerate(batch.table_parts())
    ]


def _present(statuses: Mapping[str, int]) -> dict[str, int]:
    return {status: count for status, count in statuses.items() if count}


def _in_words(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "no rows"


def _named(wrong: Sequence[str]) -> str:
    more = f"; and {len(wrong) - _CHUNKS_NAMED} more" if len(wrong) > _CHUNKS_NAMED else ""
    return "; ".join(wrong[:_CHUNKS_NAMED]) + more


def _record_ids_unique(total: PartSummary) -> dg.AssetCheckResult:
    """A second line for a record, or a line for a record that was not sent, changes no row, so it is a warning."""
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
    batch: BatchManifest,
    parts: Sequence[PartSummary],
    total: PartSummary,
    files: Sequence[PartRows],
    chunks: Mapping[str, PartSummary],
) -> dg.AssetCheckResult:
    """Rows that differ are an error. Differing counts of the service are a warning: they may lag behind its outputs."""
    wrong_rows: list[str] = []
    wrong_records: list[str] = []
    for chunk, entry, part, file in zip(_names(batch), batch.table_parts(), parts, files, strict=True):
        in_file = part.rows if file.count is None and file.problem is None else file.count
        if not entry.row_count == part.rows == in_file:
            held = f"none that can be counted: {file.problem}" if in_file is None else f"{in_file} in its file"
            wrong_rows.append(
                f"{chunk}: {entry.row_count} rows in the batch's manifest, {part.rows} in the part's summary, {held}"
            )
    for chunk, part in chunks.items():
        if part.job_lines != part.job_records:
            wrong_records.append(
                f"{chunk}: {part.job_records} records processed by the jobs' manifests, {part.job_lines} output lines"
            )
    wrong = wrong_rows + wrong_records
    is_counted = batch.output_format is not OutputFormat.csv
    return dg.AssetCheckResult(
        check_name=PARTS_AND_MANIFEST_AGREE.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR if wrong_rows else dg.AssetCheckSeverity.WARN,
        description=_named(wrong) if wrong else f"All {len(parts)} parts agree.",
        metadata={
            "rows_in_manifest": batch.row_count,
            "rows_in_summaries": total.rows,
            "rows_in_files": sum(file.count or 0 for file in files) if is_counted else "not counted: CSV",
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
        description=f"{unanswered} of {sent} rows that were sent have no answer ({share:.2%})."
        + in_words(total.reasons),
        metadata={
            "rows_sent": sent,
            "error": total.error,
            "missing": total.missing,
            "share": share,
            "warning_above": limits.warn_error_share,
            "error_above": limits.max_error_share,
        },
    )
