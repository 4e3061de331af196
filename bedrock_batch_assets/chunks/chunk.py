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
from bedrock_batch_assets.storage.manifests import BatchManifest

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
        first_row: Index of its first row in the whole batch.
        row_count: Its rows.
        rows_key: The key of the batch's table, a Parquet file.
        schema: The table's columns, an Arrow schema as an IPC message.
        model_id: The model that answers, as the request has it.
        processor: Makes records and reads answers, with the batch's parameters.
        template: The prompt; None for an embedding model.
        output_format: The format of the chunk's part of the result table.
        storage: The bucket that holds all of this.
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
    output_format: OutputFormat
    storage: BatchBucket
    shows_values: bool = True

    @classmethod
    def load(cls, key: str, storage: BatchBucket, processors: Processors) -> Self:
        """Find a chunk by its key, with the template and the parameters that its batch was ingested with.

        Raises:
            NotMaterializedError: The batch has no input.
            RequestError: The batch has no such chunk (any more).
        """
        batch_key, index = split_chunk_key(key)
        batch = storage.batch_manifest(batch_key)
        if index >= len(batch.chunks):
            raise RequestError(
                f"Chunk {key} is not part of batch {batch_key}, which has {len(batch.chunks)} chunks: its input has "
                "changed. Materialize input_dataset to see the chunks that there are."
            )
        processor = processors.for_model_id(batch.model_id, batch.processor, batch.parameters)
        template = None if batch.template is None else PromptTemplate.parse(batch.template)
        return cls.of(batch, index, processor, template, storage)

    @classmethod
    def of(
        cls,
        batch: BatchManifest,
        index: int,
        processor: BaseProcessor,
        template: PromptTemplate | None,
        storage: BatchBucket,
    ) -> Self:
        """Chunk number `index` of a batch."""
        entry = batch.chunks[index]
        return cls(
            batch=batch.batch,
            index=index,
            version=entry.version,
            first_row=entry.first_row,
            row_count=entry.row_count,
            rows_key=batch.rows_key,
            schema=batch.schema,
            model_id=batch.model_id,
            processor=processor,
            template=template,
            output_format=batch.output_format,
            storage=storage,
            shows_values=batch.shows_values,
        )

    @property
    def key(self) -> str:
        """The chunk key, see `partitions.chunk_key`."""
        return chunk_key(self.batch, self.index)

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
