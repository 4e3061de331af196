"""Parts of a result table whose answers come from several chunks, of this batch or of others."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.manifests import BatchManifest, PartEntry, PartSummary, summary_metadata

if TYPE_CHECKING:
    from bedrock_batch_assets.parquet.files import References
    from bedrock_batch_assets.records.rendering import RecordRenderer
    from bedrock_batch_assets.storage.bucket import BatchBucket


@dataclass(frozen=True, slots=True)
class JoinedPart:
    """A part to be made: what it is of, the version that it will have, and where it goes."""

    entry: PartEntry
    version: str
    key: str


def read_references(batch: BatchManifest, storage: "BatchBucket") -> "References | None":
    """Which answer each row of a batch has; None if its parts are those of its chunks."""
    from bedrock_batch_assets.parquet.files import References

    if batch.references_key is None:
        return None
    with storage.objects.open_reader(batch.references_key) as file:
        return References.read(file)


def join_parts(
    batch: BatchManifest,
    parts: Sequence[JoinedPart],
    references: "References",
    answers: Mapping[int, str],
    renderer: "RecordRenderer",
    storage: "BatchBucket",
) -> None:
    """Make parts of a table, and store each with its account.

    Args:
        batch: The batch.
        parts: What to make.
        references: Which answer each row has.
        answers: The keys of the chunks' answers, by the number of the source.
        renderer: The batch's, which knows why a row was not sent.
        storage: The bucket.

    Raises:
        ConfigurationError: Access to the bucket is denied.
    """
    from bedrock_batch_assets.parquet.files import AnswerSpools, PartFile, write_referenced

    ranges = [(part.entry.first_row, part.entry.row_count) for part in parts]
    is_text = batch.template is not None
    with (
        tempfile.TemporaryDirectory() as folder,
        AnswerSpools(Path(folder), is_text=is_text, references=references, ranges=ranges) as spools,
    ):
        for source, key in answers.items():
            # Answers that are asked for again meanwhile have the same key: one version of them is read.
            with storage.objects.open_reader(storage.objects.head(key) or key) as file:
                spools.add(source, file, is_foreign=batch.sources[source].batch != batch.batch)
        spools.finish()
        path = Path(folder) / "part"
        for part in parts:
            with (
                storage.objects.open_reader(batch.rows_key) as rows,
                PartFile(path, batch.output_format) as written,
            ):
                account = write_referenced(
                    written,
                    rows,
                    part.entry.first_row,
                    part.entry.row_count,
                    spools,
                    renderer,
                    may_stay_encoded=batch.output_format is OutputFormat.parquet,
                )
            counts = dict.fromkeys(("ok", "error", "truncated", "skipped", "missing"), 0) | account.counts
            summary = PartSummary(
                version=part.version,
                **counts,
                size_bytes=path.stat().st_size,
                footer=written.footer_digest,
                reasons=account.reasons,
            )
            storage.objects.upload_file(path, part.key, metadata=summary_metadata(summary))
