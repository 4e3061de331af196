"""Parquet files of Hugging Face datasets, read as those on S3 are: with the same values, types and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.ingest.sources.hugging_face_files import are_plain, open_file
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets.ingest.sources.schema_union import fits
from bedrock_batch_assets.ingest.sources.table_files import PARQUET_ENDINGS

if TYPE_CHECKING:
    import pyarrow as pa


def parquet_source(builder: Any, split: str, max_rows: int | None) -> ParquetSource | None:
    """The rows of a split, if it is made of Parquet files alone, and its declared types are those of the files.

    The datasets library reads the others: it casts what differs, and knows the rest of the formats.

    Args:
        builder: A `datasets.DatasetBuilder`.
        split: The split.
        max_rows: Files beyond these rows are not looked at.

    Raises:
        RequestError: A file is broken, or has other columns than the others.
    """
    from datasets.packaged_modules.parquet.parquet import Parquet

    files = (builder.config.data_files or {}).get(split)
    if not isinstance(builder, Parquet) or not files or not _are_plain(builder, files):
        return None
    features = builder.info.features
    declared = None if features is None else features.arrow_schema.remove_metadata()
    source = ParquetSource(list(files), open_file, max_rows=max_rows)
    if declared is None or declared.equals(source.schema):
        return source
    if not _describes(declared, source.schema):
        return None
    return ParquetSource(list(files), open_file, max_rows=max_rows, declared=declared)


def _are_plain(builder: Any, files: Sequence[str]) -> bool:
    config = builder.config
    narrowed = getattr(config, "columns", None) or getattr(config, "filters", None)
    return are_plain(files, PARQUET_ENDINGS) and not narrowed


def _describes(declared: pa.Schema, schema: pa.Schema) -> bool:
    if sorted(declared.names) != sorted(schema.names):
        return False
    return all(fits(schema.field(field.name).type, field.type) for field in declared)
