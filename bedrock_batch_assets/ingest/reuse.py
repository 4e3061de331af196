"""What an input has to ask for, and what was asked for before: its chunks, its parts, and the answer to each row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bedrock_batch_assets.ingest.chunk_plan import ChunkLimits, ChunkRange, RowSizes, plan_chunks
from bedrock_batch_assets.ingest.record_plan import KnownRecords, RecordPlan, plan_records, tell_repetitions_apart
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.parquet.files import References
from bedrock_batch_assets.records.record_digests import DIGEST, INDEX
from bedrock_batch_assets.request import Duplicates
from bedrock_batch_assets.storage.bucket import BatchBucket, version_of
from bedrock_batch_assets.storage.claims import Claim, ClaimedChunk, StoredClaim, bad_answers, read_claims
from bedrock_batch_assets.storage.manifests import AnswerSource, BatchManifest, ChunkEntry, PartEntry, RowsTable

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.ingestion import IngestedTable
    from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest

_OF_BATCH = -1
_INDEXED_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class InputPlan:
    """An input with everything that is known of its records.

    Attributes:
        chunks: Those that are to be asked for or were by the batch's last input, and that this input needs.
        to_pay: Those of them that are not answered yet, as they were claimed.
        tables: Files with rows of `chunks`, besides the batch's own table.
        new_rows: A local file with the rows of the new chunks, the last of `tables`; None if they are the batch's own.
        parts: The parts of the result table.
        sources: The chunks that have the answers.
        references: A local file with the answer of each row; None if every part is a chunk's.
        claim: What is asked for now; None if nothing is.
        claim_index: A local file with its records.
        next_chunk: The number of the next new chunk of a later input.
        reused: Rows whose record has an answer already.
        repeated: Rows whose record an earlier row of the table has.
    """

    chunks: list[ChunkEntry]
    to_pay: list[ClaimedChunk]
    tables: list[RowsTable]
    new_rows: Path | None
    parts: list[PartEntry]
    sources: list[AnswerSource]
    references: Path | None
    claim: Claim | None
    claim_index: Path
    next_chunk: int
    reused: int
    repeated: int

    @property
    def records_to_pay(self) -> int:
        """Records that are not answered yet."""
        return sum(chunk.records_to_send for chunk in self.to_pay)


def plan_input(
    request: ResolvedRequest,
    table: IngestedTable,
    *,
    storage: BatchBucket,
    rows_key: str,
    previous: BatchManifest | None,
    paid_again_by: str | None,
    folder: Path,
) -> InputPlan:
    """Look up the records of an input, and plan chunks for those that nobody has asked for.

    Args:
        request: The batch's request.
        table: Its table.
        storage: The bucket.
        rows_key: Where the table goes.
        previous: The batch's last input; None if there was none.
        paid_again_by: The run that asks for all records anew; None to use what there is.
        folder: A local folder for files.

    Raises:
        RequestError: There would be too many chunks.
    """
    recipe = request.recipe
    claims = read_claims(storage, recipe)
    known = _Known(request.batch, recipe, claims, storage, previous, paid_again_by)
    is_sent = table.sizes.as_array() > 0
    digests = np.memmap(table.digests_path, DIGEST, "r+")
    if request.given.duplicates is Duplicates.each:
        tell_repetitions_apart(digests, is_sent)
        digests.flush()
    plan = plan_records(table.digests_path, is_sent, known.records(folder), folder)
    sources = known.renumber(plan.source)
    first = known.next_chunk
    is_plain = plan.new_count == table.records_to_send
    new, claimed, new_rows = _new_chunks(request, table, plan, digests, first, is_plain=is_plain, folder=folder)
    tables: list[RowsTable] = []
    retained = [source for source in sources if source in known.retained]
    chunks = [_with_table(known.retained[source], previous, rows_key, tables) for source in retained if previous]
    if new_rows is not None:
        key = storage.layout.new_rows(request.batch, first, table.digest)
        tables.append(RowsTable(key, _schema_of(new_rows)))
        new = [_moved(entry, len(tables) - 1) for entry in new]
    plan.place_new([entry.first_row + entry.row_count for entry in new], len(sources), by_row=is_plain)
    index = folder / "claim.index"
    _write_index(plan, len(sources), index)
    of_claims = known.chunks | {AnswerSource(request.batch, chunk.index, chunk.version): chunk for chunk in claimed}
    sources += [AnswerSource(request.batch, chunk.index, chunk.version) for chunk in claimed]
    parts = _parts(request, table, plan, sources, of_claims)
    references = None
    if any(part.source < 0 for part in parts):
        references = folder / "references.parquet"
        References(plan.source, plan.position, plan.is_repeated).write(references)
    to_pay = [known.chunks[source] for source in retained if not known.is_answered(source)] + claimed
    repeated = int(np.count_nonzero(plan.is_repeated))
    return InputPlan(
        chunks=chunks + new,
        to_pay=to_pay,
        tables=tables,
        new_rows=new_rows,
        parts=parts,
        sources=sources,
        references=references,
        claim=Claim(batch=request.batch, chunks=claimed) if claimed else None,
        claim_index=index,
        next_chunk=first + len(new),
        reused=max(0, table.records_to_send - sum(chunk.records_to_send for chunk in to_pay) - repeated),
        repeated=repeated,
    )


class _Known:
    """The claims of a recipe, as far as this input may use them."""

    def __init__(
        self,
        batch: str,
        recipe: str,
        claims: Sequence[StoredClaim],
        storage: BatchBucket,
        previous: BatchManifest | None,
        paid_again_by: str | None,
    ) -> None:
        self._claims = claims
        self._storage = storage
        self._recipe = recipe
        self.retained: dict[AnswerSource, ChunkEntry] = {}
        self.next_chunk = 0
        if previous is not None:
            self.next_chunk = max(previous.next_chunk, len(previous.chunks))
            if previous.recipe == recipe:
                self.retained = {AnswerSource(batch, entry.index, entry.version): entry for entry in previous.chunks}
        own = [chunk.index for stored in claims if stored.claim.batch == batch for chunk in stored.claim.chunks]
        self.next_chunk = max([self.next_chunk, *(index + 1 for index in own)])
        self._answered: set[str] = set()
        for other in sorted({stored.claim.batch for stored in claims}):
            self._answered.update(info.key for info in storage.objects.list(storage.layout.staged_folder(other)))
        self._is_paid_again = paid_again_by is not None
        if self._is_paid_again and (previous is None or previous.paid_again_by != paid_again_by):
            self.retained = {}
        self.chunks: dict[AnswerSource, ClaimedChunk] = {}
        self._sources: list[AnswerSource] = []

    def records(self, folder: Path) -> list[KnownRecords]:
        """The records of all claims that have a usable chunk."""
        bad = dict(bad_answers(self._storage, self._recipe))
        found = []
        for stored in self._claims:
            numbers = np.full(len(stored.claim.chunks), -1, np.int32)
            again: dict[int, list[int]] = {}
            for place, chunk in enumerate(stored.claim.chunks):
                source = AnswerSource(stored.claim.batch, chunk.index, chunk.version)
                if source in self.retained or (not self._is_paid_again and self.is_answered(source)):
                    numbers[place] = len(self._sources)
                    self._sources.append(source)
                    self.chunks[source] = chunk
                    if positions := bad.get(f"{source.chunk}@{source.version}"):
                        again[place] = positions
            if (numbers >= 0).any():
                found.append(KnownRecords(stored.fetch_index(self._storage, folder), numbers, again))
        return found

    def renumber(self, source: npt.NDArray[np.int32]) -> list[AnswerSource]:
        """The sources that are in use, in order; `source` is made to count these alone."""
        used = [int(number) for number in np.unique(source) if number >= 0]
        places = np.zeros(max(used, default=0) + 1, np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        is_known = source >= 0
        source[is_known] = places[source[is_known]]
        return [self._sources[number] for number in used]

    def is_answered(self, source: AnswerSource) -> bool:
        """Whether the answers of a chunk are there."""
        layout = self._storage.layout
        return layout.staged_part(source.batch, source.index, source.version, OutputFormat.parquet) in self._answered


def _new_chunks(
    request: ResolvedRequest,
    table: IngestedTable,
    plan: RecordPlan,
    digests: npt.NDArray[np.bytes_],
    first: int,
    *,
    is_plain: bool,
    folder: Path,
) -> tuple[list[ChunkEntry], list[ClaimedChunk], Path | None]:
    """The chunks of records that nobody has asked for; and their rows, if these are not the table's as they are."""
    if not plan.new_count:
        return [], [], None
    if is_plain:
        entries = [_entry(request, chunk.range, first, chunk.digest) for chunk in table.chunks]
        claimed = [
            ClaimedChunk(
                entry.index,
                entry.version,
                entry.row_count,
                chunk.records_to_send,
                chunk.rendered_bytes,
                entry.first_row,
                chunk.digest,
            )
            for entry, chunk in zip(entries, table.chunks, strict=True)
        ]
        return entries, claimed, None
    sizes = RowSizes(table.sizes.as_array()[plan.is_new])
    new_rows = np.flatnonzero(plan.is_new)
    entries, claimed = [], []
    for chunk in plan_chunks(len(sizes), ChunkLimits(request.records_per_job), sizes):
        content = hashlib.sha256(digests[new_rows[chunk.first_row : chunk.end_row]].tobytes()).hexdigest()
        size = sizes.bytes_before(chunk.end_row) - sizes.bytes_before(chunk.first_row)
        entry = _entry(request, chunk, first, content)
        entries.append(entry)
        claimed.append(
            ClaimedChunk(entry.index, entry.version, entry.row_count, chunk.row_count, size, entry.first_row)
        )
    path = folder / "new-rows.parquet"
    _write_new_rows(table, plan.is_new, path, request.records_per_job)
    return entries, claimed, path


def _entry(request: ResolvedRequest, rows: ChunkRange, first: int, content: str) -> ChunkEntry:
    index = first + rows.index
    # Record ids are made of row numbers, and a chunk of another number is paid for by itself.
    version = version_of(index, rows.first_row, content, request.recipe)
    return ChunkEntry(rows.first_row, rows.row_count, version, index)


def _write_new_rows(table: IngestedTable, is_new: npt.NDArray[np.bool_], path: Path, rows_per_chunk: int) -> None:
    import pyarrow as pa

    from bedrock_batch_assets.parquet.files import TableWriter, read_rows

    row = 0
    with TableWriter(path, table.schema, rows_per_chunk=rows_per_chunk) as writer:
        for batch in read_rows(table.parquet_path):
            kept = is_new[row : row + batch.num_rows]
            row += batch.num_rows
            if kept.any():
                writer.write(batch.filter(pa.array(kept)))


def _schema_of(path: Path) -> bytes:
    import pyarrow.parquet as pq

    return bytes(pq.read_schema(path).serialize())


def _with_table(entry: ChunkEntry, previous: BatchManifest, rows_key: str, tables: list[RowsTable]) -> ChunkEntry:
    """A chunk of the last input, with its place in this input's tables."""
    is_of_batch = entry.table < 0
    rows = RowsTable(previous.rows_key, previous.schema) if is_of_batch else previous.tables[entry.table]
    if rows.key == rows_key:
        return _moved(entry, _OF_BATCH)
    if rows not in tables:
        tables.append(rows)
    return _moved(entry, tables.index(rows))


def _moved(entry: ChunkEntry, table: int) -> ChunkEntry:
    return ChunkEntry(entry.first_row, entry.row_count, entry.version, entry.index, table)


def _write_index(plan: RecordPlan, first_source: int, path: Path) -> None:
    with path.open("wb") as file:
        for start in range(0, plan.new_count, _INDEXED_AT_ONCE):
            records = plan.new_records[start : start + _INDEXED_AT_ONCE]
            index = np.empty(len(records), INDEX)
            index["digest"] = records["digest"]
            index["chunk"] = plan.source[records["row"]] - first_source
            index["position"] = plan.position[records["row"]]
            file.write(index.tobytes())


def _parts(
    request: ResolvedRequest,
    table: IngestedTable,
    plan: RecordPlan,
    sources: Sequence[AnswerSource],
    of_claims: Mapping[AnswerSource, ClaimedChunk],
) -> list[PartEntry]:
    parts = []
    may_be_chunks = request.given.output_format is OutputFormat.parquet
    for chunk in table.chunks:
        rows = slice(chunk.range.first_row, chunk.range.end_row)
        source, position = plan.source[rows], plan.position[rows]
        sent = np.flatnonzero(source >= 0)
        used, codes = np.unique(source, return_inverse=True)
        of_rows = [sources[number] for number in used.tolist() if number >= 0]
        is_chunk = (
            may_be_chunks
            and len(of_rows) == 1
            and of_rows[0].batch == request.batch
            # Its account names rows by their numbers.
            and of_claims[of_rows[0]].first_row == chunk.range.first_row
            and of_claims[of_rows[0]].row_count == chunk.range.row_count
            and of_claims[of_rows[0]].rows_digest == chunk.digest
            and bool((position[sent] == sent).all())
        )
        if is_chunk:
            entry = PartEntry(rows.start, chunk.range.row_count, of_rows[0].version, int(source[sent[0]]))
        else:
            answers = hashlib.sha256(
                codes.astype(np.int32).tobytes() + position.tobytes() + plan.is_repeated[rows].tobytes()
            ).hexdigest()
            version = version_of(rows.start, chunk.digest, answers, of_rows, request.given.output_format.value)
            entry = PartEntry(rows.start, chunk.range.row_count, version)
        parts.append(entry)
    return parts
