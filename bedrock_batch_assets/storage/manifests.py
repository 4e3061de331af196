"""The manifests by which assets hand on their results: small JSON objects beside the data."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.partition_keys import chunk_key
from bedrock_batch_assets.records.reasons import Reason, added_up

# The values of `record_status`.
ROW_STATUSES = ("ok", "error", "truncated", "skipped", "missing")
# Reasons that a table's account keeps.
_REASONS_OF_A_TABLE = 20
# "The user-defined metadata is limited to 2 KB in size", all names and values together (Amazon S3 User Guide, "Working
# with object metadata").
_MOST_METADATA_BYTES = 2_000


class ChunkEntry(msgspec.Struct, frozen=True, array_like=True):
    """One chunk of a batch: a run of consecutive rows, and the version of everything that its result depends on.

    Attributes:
        first_row: Its first row in its table.
        row_count: Its rows.
        version: Of its rows and of how they are asked for.
        index: Its number in the batch; -1 if that is its place in the list, as in manifests of version 0.2 and before.
        table: Which table its rows are in, a place in `BatchManifest.tables`; -1 for the batch's own.
    """

    first_row: int
    row_count: int
    version: str
    index: int = -1
    table: int = -1


class RowsTable(msgspec.Struct, frozen=True, array_like=True):
    """A Parquet file with rows of chunks: its key, and its Arrow schema as an IPC message."""

    key: str
    schema: bytes


class PartEntry(msgspec.Struct, frozen=True, array_like=True):
    """One part of the result table: a run of consecutive rows of the batch.

    `source` is the place in `BatchManifest.sources` of the chunk that has exactly these rows; -1 if there is none.
    """

    first_row: int
    row_count: int
    version: str
    source: int = -1


class AnswerSource(msgspec.Struct, frozen=True, array_like=True):
    """A chunk, of this batch or another, that has answers to rows of this batch."""

    batch: str
    index: int
    version: str

    @property
    def chunk(self) -> str:
        """Its chunk key."""
        return chunk_key(self.batch, self.index)


def pilot_of(batch: str) -> str:
    """What the pilots of a batch are called as a source of answers. No batch can have that name."""
    return f"{batch}+pilot"


class BatchManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as `input_dataset` left it. Chunk runs read this and never the request or today's templates."""

    batch: str
    version: str
    request: dict[str, Any]
    model_id: str
    base_model_id: str
    processor: str
    parameters: dict[str, Any]
    template: str | None
    output_format: OutputFormat
    rows_key: str
    # The Arrow schema of the rows, as an IPC message: a chunk needs it before it reads a row.
    schema: bytes
    row_count: int
    records_per_job: int
    # What has to be asked for, or was by an earlier input, and is part of this one. Chunks of other batches are not.
    chunks: list[ChunkEntry]
    # From here on: empty in manifests of version 0.2 and before, whose parts are their chunks.
    recipe: str = ""
    tables: list[RowsTable] = []
    parts: list[PartEntry] = []
    sources: list[AnswerSource] = []
    # By row: which source has its answer, and where. None if all parts are those of chunks.
    references_key: str | None = None
    # The number of the next new chunk.
    next_chunk: int = 0
    # The run that asked for all records anew; its retries do not so again.
    paid_again_by: str | None = None
    # Records without an answer; rows whose record has one already; rows whose record an earlier row has.
    to_pay: int = 0
    reused: int = 0
    repeated: int = 0

    def keyed_chunks(self) -> dict[str, ChunkEntry]:
        """The chunks by their keys."""
        return {
            chunk_key(self.batch, place if entry.index < 0 else entry.index): entry
            for place, entry in enumerate(self.chunks)
        }

    def table_parts(self) -> list[PartEntry]:
        """The parts of the result table, in row order."""
        if self.parts:
            return self.parts
        return [
            PartEntry(entry.first_row, entry.row_count, entry.version, place) for place, entry in enumerate(self.chunks)
        ]

    def answer_sources(self) -> list[AnswerSource]:
        """The chunks whose answers the table has."""
        if self.parts:
            return self.sources
        return [AnswerSource(self.batch, place, entry.version) for place, entry in enumerate(self.chunks)]

    def rows_done(self, rows_of_chunks: int) -> int:
        """How many rows have their answer if so many rows of its chunks have; others had theirs before."""
        others = self.row_count - sum(entry.row_count for entry in self.chunks)
        return min(self.row_count, max(others, 0) + rows_of_chunks)

    @property
    def shows_values(self) -> bool:
        """Whether values of rows, prompts and answers may be stored in Dagster's database."""
        return bool(self.request.get("preview", True))


class ChunkManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `jsonl_chunks` rendered. `key` is None if the chunk has no record to send."""

    chunk: str
    version: str
    digest: str
    records: int
    skipped: int
    size_bytes: int
    key: str | None


class JobOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One source of answers: a finished job, or a file of on-demand answers (then `arn` is None)."""

    name: str
    prefix: str
    status: str
    arn: str | None = None
    message: str | None = None


class OutputsManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Where the answers of a chunk are, in the order in which they were asked for."""

    chunk: str
    version: str
    digest: str
    outputs: list[JobOutput]


class JobCounts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a job's own manifest (`manifest.json.out`) counts; the service may leave any of it out."""

    processed_record_count: int | None = None
    input_token_count: int | None = None
    output_token_count: int | None = None


class PartSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The row account of one part of the result table. Counts are rows, but for lines and tokens.

    `input_tokens` and `output_tokens` are sums of the columns. The tokens that were used, by what they cost, are those
    of `batch_…` (as the jobs' manifests count them), `on_demand_…`, and `flex_…` (on demand, in the flex tier): answers
    that a later wave replaced were paid for too. `job_lines` are the output lines of jobs that have a manifest, and
    `job_records` what these say was processed. `size_bytes` is the size of the part's file, and `footer` a digest of
    its footer if it is Parquet: 0 and None for a part of a version that did not note them. `reasons` are the most
    frequent reasons of rows without a whole answer. `reused` rows have an answer that was paid for elsewhere: by
    another batch, or for another row.
    """

    version: str
    rows: int
    ok: int
    error: int
    truncated: int
    skipped: int
    missing: int
    duplicate_lines: int = 0
    corrupt_lines: int = 0
    unknown_record_ids: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    batch_input_tokens: int = 0
    batch_output_tokens: int = 0
    on_demand_input_tokens: int = 0
    on_demand_output_tokens: int = 0
    flex_input_tokens: int = 0
    flex_output_tokens: int = 0
    job_lines: int = 0
    job_records: int = 0
    size_bytes: int = 0
    footer: str | None = None
    reused: int = 0
    reasons: list[Reason] = []  # msgspec gives each object a list of its own

    def statuses(self) -> dict[str, int]:
        """Rows by `record_status`."""
        return {name: getattr(self, name) for name in ROW_STATUSES}


class TableManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A finished result table: its parts in row order, and their account added up."""

    batch: str
    version: str
    output_format: OutputFormat
    parts: list[str]
    total: PartSummary


# What a chunk's own account says of how it was answered, and a table's rows do not.
_OF_CHUNKS = tuple(
    name
    for name in PartSummary.__struct_fields__
    if name.startswith(("batch_", "on_demand_", "flex_", "job_"))
    or name in {"duplicate_lines", "corrupt_lines", "unknown_record_ids"}
)


def with_accounts_of(total: PartSummary, chunks: Iterable[PartSummary]) -> PartSummary:
    """A table's account with what was used and seen in answering the batch's own chunks, and no others."""
    accounts = list(chunks)
    return msgspec.structs.replace(
        total, **{name: sum(getattr(chunk, name) for chunk in accounts) for name in _OF_CHUNKS}
    )


def add_summaries(summaries: list[PartSummary], version: str) -> PartSummary:
    """The account of several parts together."""
    names = [name for name in PartSummary.__struct_fields__ if name not in {"version", "footer", "reasons"}]
    reasons = added_up((reason for part in summaries for reason in part.reasons), _REASONS_OF_A_TABLE)
    counts = {name: sum(getattr(part, name) for part in summaries) for name in names}
    return PartSummary(version=version, **counts, reasons=reasons)


def summary_metadata(summary: PartSummary) -> dict[str, str]:
    """A part's account as metadata of its object, in ASCII. Rare reasons are left out if they do not fit into 2 KB."""
    reasons = summary.reasons
    while True:
        text = json.dumps(msgspec.to_builtins(msgspec.structs.replace(summary, reasons=reasons)))
        if len(text) <= _MOST_METADATA_BYTES or not reasons:
            return {"summary": text}
        reasons = reasons[:-1]


def encode(manifest: msgspec.Struct) -> bytes:
    """Indented JSON: people read these too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)
