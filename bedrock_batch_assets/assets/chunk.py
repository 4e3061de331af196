"""A chunk of a batch: its rows, and the renderer that turns them into records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.partitions import split_chunk_key
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.manifests import BatchManifest, ChunkEntry
from bedrock_batch_assets.storage.resource import BatchStorage

if TYPE_CHECKING:
    import pyarrow as pa

    from bedrock_batch_assets.parquet.files import EncodedRows
    from bedrock_batch_assets.records.rendering import RecordRenderer


@dataclass(frozen=True)
class Chunk:
    """One chunk as its batch's manifest describes it. Rows are read when asked for."""

    key: str
    index: int
    batch: BatchManifest
    entry: ChunkEntry
    processor: BaseProcessor
    storage: BatchStorage

    @classmethod
    def load(cls, key: str, storage: BatchStorage, processors: Processors) -> Self:
        """Read the batch's manifest and find the chunk in it.

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
        return cls(key, index, batch, batch.chunks[index], processor, storage)

    @cached_property
    def renderer(self) -> "RecordRenderer":
        """Renders with the template and the parameters that the batch was ingested with."""
        import pyarrow as pa

        from bedrock_batch_assets.prompt_templates import PromptTemplate
        from bedrock_batch_assets.records.rendering import RecordRenderer

        template = None if self.batch.template is None else PromptTemplate.parse(self.batch.template)
        schema = pa.ipc.read_schema(pa.py_buffer(self.batch.schema))
        return RecordRenderer(self.processor, template, schema)

    def rows(self, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The chunk's input rows, in order: these columns of them, or all."""
        from bedrock_batch_assets.parquet.files import read_rows

        with self.storage.objects.open_reader(self.batch.rows_key) as file:
            yield from read_rows(file, self.entry.first_row, self.entry.row_count, columns=columns)

    def encoded_rows(self) -> "Iterator[EncodedRows | pa.RecordBatch]":
        """The chunk's input rows, in order, as they are stored where they are whole row groups."""
        from bedrock_batch_assets.parquet.files import read_encoded_rows

        with self.storage.objects.open_reader(self.batch.rows_key) as file:
            yield from read_encoded_rows(file, self.entry.first_row, self.entry.row_count)
