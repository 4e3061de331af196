"""Hugging Face datasets: from the hub or a local folder, streamed by the `datasets` library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.extras import require_extra
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_files_source import CsvFilesSource
from bedrock_batch_assets.ingest.sources.hugging_face_csv import DeclaredCsvSource, csv_source, prepare_for_text
from bedrock_batch_assets.ingest.sources.hugging_face_errors import check_dataset_request, dataset_errors_explained
from bedrock_batch_assets.ingest.sources.hugging_face_parquet import parquet_source
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets.ingest.sources.source import Source

# Rows may hold images or documents of megabytes, so batches are short.
_BATCH_ROWS = 256


class HuggingFaceSource:
    """One split of a dataset, in the types that its features declare; images and audio as their bytes and path.

    `dataset_id` is a hub id (`owner/name`, or `owner/name:configuration` if there are several), or the path of a
    local folder: one that holds data files, or one that `Dataset.save_to_disk` wrote.
    """

    def __init__(
        self, dataset_id: str, split: str, max_rows: int | None = None, dialect: CsvDialect | None = None
    ) -> None:
        """Find the dataset and its columns.

        Args:
            dataset_id: See the class.
            split: A split of it.
            max_rows: Parquet files beyond these rows are not looked at.
            dialect: How its CSV files are written, if the request says that.

        Raises:
            RequestError: There is no such dataset or split, or its files cannot be read.
            ConfigurationError: The hub cannot be reached or denies access, or a package is missing.
        """
        self.name = f"Dataset {dataset_id!r}, split {split!r}"
        require_extra("huggingface", "datasets", f"dataset_id {dataset_id!r}")
        self._dataset_id = dataset_id
        self._split = split
        check_dataset_request(dataset_id, split)
        # Sources that also read files of this kind from S3.
        self._files: Source | None = None
        with dataset_errors_explained(dataset_id, split):
            dataset = _load(dataset_id, split, max_rows, dialect)
            if isinstance(dataset, ParquetSource | CsvFilesSource | DeclaredCsvSource):
                self._files = dataset
                self.schema = dataset.schema
            else:
                self._tables, self.schema = self._streamed(dataset)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order.

        Raises:
            RequestError: A file cannot be read, or rows are of another type than the first.
            ConfigurationError: The hub cannot be reached any more.
        """
        with dataset_errors_explained(self._dataset_id, self._split):
            if self._files is not None:
                yield from self._files.batches()
                return
            for table in self._tables:
                yield from self._aligned(table).to_batches()

    def _streamed(self, dataset: Any) -> tuple[Iterator[pa.Table], pa.Schema]:
        """The rows as the datasets library gives them, and their columns."""
        tables = dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS)
        if dataset.features is not None:
            return tables, dataset.features.arrow_schema.remove_metadata()
        # JSON files declare no types: the types of the first rows count.
        first = next(iter(tables), None)
        if first is None:
            raise RequestError(f"{self.name} has no rows: choose another split.")
        return _chained(first, tables), first.schema.remove_metadata()

    def _aligned(self, table: pa.Table) -> pa.Table:
        table = table.replace_schema_metadata(None)
        if table.schema.equals(self.schema):
            return table
        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                raise RequestError(f"{self.name}: column {field.name!r} is missing in some of its files.")
            values = table.column(field.name)
            try:
                columns.append(values if values.type == field.type else values.cast(field.type))
            except pa.ArrowException as error:
                raise RequestError(
                    f"{self.name}: column {field.name!r} is {field.type} in its first rows and {values.type} later: "
                    "convert the dataset to Parquet with one type for it."
                ) from error
        extra = [name for name in table.column_names if name not in self.schema.names]
        if extra:
            raise RequestError(
                f"{self.name}: column {extra[0]!r} is missing in its first rows: give all files one schema."
            )
        return pa.Table.from_arrays(columns, schema=self.schema)


def _load(dataset_id: str, split: str, max_rows: int | None, dialect: CsvDialect | None) -> Any:
    """A dataset of the library's, or a source of Parquet or CSV files."""
    import datasets

    datasets.disable_progress_bars()
    folder = Path(dataset_id).expanduser()
    if folder.is_dir():
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            return _load_from_disk(folder, split)
        builder = datasets.load_dataset_builder(str(folder))
    else:
        name, _, configuration = dataset_id.partition(":")
        builder = datasets.load_dataset_builder(name, configuration or None)
    if (source := csv_source(builder, split, dialect) or parquet_source(builder, split, max_rows)) is not None:
        return source
    prepare_for_text(builder, split)
    return builder.as_streaming_dataset(split=split)


def _load_from_disk(folder: Path, split: str) -> Any:
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    if not isinstance(loaded, datasets.DatasetDict):
        # A single split is saved without its name, so it is the one that is asked for.
        return loaded
    if split not in loaded:
        raise ValueError(f"Bad split: {split}. Available splits: {list(loaded)}")
    return loaded[split]


def _chained(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest
