"""A chunk of a batch: its rows, and everything that decides how they are answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.partition_keys import chunk_key, split_chunk_key
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.manifests import BatchManifest, RowsTable

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.parquet.files import EncodedRows
    from bedrock_batch_assets.records.rendering import RecordRenderer


@dataclass(frozen=True)
class Chunk:
    """One chunk of a batch. Its rows are read when they are asked for.

    Attributes:
        batch: The batch key.
        index: The chunk's number in the batch, from 0.
        version: Digest of everything that its answers and its part of the table depend on.
        first_row: Index of its first row in its table.
        row_count: Its rows.
        rows_key: The key of the table that its rows are in, a Parquet file.
        schema: The table's columns, an Arrow schema as an IPC message.
        model_id: The model that answers, as the request has it.
        processor: Makes records and reads answers, with the batch's parameters.
        template: The prompt; None for an embedding model.
        storage: The bucket that holds all of this.
        recipe: What its records have in common with those of other batches: see `storage.claims`. Empty if its batch
            was ingested by version 0.2 or before.
        output_format: The format of its answers: Parquet, but for these earlier batches.
        shows_values: Whether values of its rows and answers may be stored in Dagster's database.
    """

    batch: str
    index: int
    version: str
    first_row: int
    row_count: int
    rows_key: str
    schema: bytes
    model_id: str
    processor: BaseProcessor
    template: PromptTemplate | None
    storage: BatchBucket
    recipe: str = ""
    output_format: OutputFormat = OutputFormat.parquet
    shows_values: bool = True

    @classmethod
    def load(cls, key: str, storage: BatchBucket, processors: Processors) -> Self:
        """Find a chunk by its key, with the template and the parameters that its batch was ingested with.

        Raises:
            NotMaterializedError: The batch has no input.
            RequestError: The batch has no such chunk (any more).
        """
        batch_key, _ = split_chunk_key(key)
        batch = storage.batch_manifest(batch_key)
        if key not in batch.keyed_chunks():
            raise RequestError(
                f"Chunk {key} is not part of batch {batch_key}, which has {len(batch.chunks)} chunks: its input has "
                "changed. Materialize input_dataset to see the chunks that there are."
            )
        processor = processors.for_model_id(batch.model_id, batch.processor, batch.parameters)
        template = None if batch.template is None else PromptTemplate.parse(batch.template)
        return cls.of(batch, key, processor, template, storage)

    @classmethod
    def of(
        cls,
        batch: BatchManifest,
        key: str,
        processor: BaseProcessor,
        template: PromptTemplate | None,
        storage: BatchBucket,
    ) -> Self:
        """The chunk `key` of a batch."""
        entry = batch.keyed_chunks()[key]
        rows = RowsTable(batch.rows_key, batch.schema) if entry.table < 0 else batch.tables[entry.table]
        return cls(
            batch=batch.batch,
            index=split_chunk_key(key)[1],
            version=entry.version,
            recipe=batch.recipe,
            output_format=OutputFormat.parquet if batch.recipe else batch.output_format,
            first_row=entry.first_row,
            row_count=entry.row_count,
            rows_key=rows.key,
            schema=rows.schema,
            model_id=batch.model_id,
            processor=processor,
            template=template,
            storage=storage,
            shows_values=batch.shows_values,
        )

    @property
    def key(self) -> str:
        """The chunk key, see `partitions.chunk_key`."""
        return chunk_key(self.batch, self.index)

    @property
    def answers_key(self) -> str:
        """The key of its answers, each with its row."""
        return self.storage.layout.staged_part(self.batch, self.index, self.version, self.output_format)

    @cached_property
    def renderer(self) -> "RecordRenderer":
        """Renders the chunk's rows."""
        import pyarrow as pa

        from bedrock_batch_assets.records.rendering import RecordRenderer

        return RecordRenderer(self.processor, self.template, pa.ipc.read_schema(pa.py_buffer(self.schema)))

    def rows(self, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The chunk's input rows, in order: these columns of them, or all."""
        from bedrock_batch_assets.parquet.files import read_rows

        with self.storage.objects.open_reader(self.rows_key) as file:
            yield from read_rows(file, self.first_row, self.row_count, columns=columns)

    def encoded_rows(self) -> "Iterator[EncodedRows | pa.RecordBatch]":
        """The chunk's input rows, in order; still encoded if they are whole row groups."""
        from bedrock_batch_assets.parquet.files import read_encoded_rows

        with self.storage.objects.open_reader(self.rows_key) as file:
            yield from read_encoded_rows(file, self.first_row, self.row_count)
