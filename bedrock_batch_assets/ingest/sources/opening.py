"""Where a batch's rows come from: one door for CSV, JSON Lines, Parquet and Hugging Face datasets."""

from typing import TYPE_CHECKING, BinaryIO

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.columns import check_column_names
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.source import Source
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets.ingest.sources.table_files import (
    PARQUET_ENDINGS,
    LoggedTableError,
    TableFiles,
    find_files,
)
from bedrock_batch_assets.ingest.sources.table_formats import DELTA
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectNotFoundError, ObjectStore, parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Folders of these names hold files of that kind, though the files' own names do not say it: Hadoop's have no endings.
_FOLDER_ENDINGS = {"CSV": (".csv", ".tsv"), "JSON Lines": (".jsonl", ".ndjson", ".json")}
_READ_AHEAD_BYTES = 8 << 20


def open_source(request: BatchRequest, s3_client: "S3Client") -> Source:
    """Open the request's table and check the names of its columns.

    Args:
        request: Names the table: `s3_uri`, or `dataset_id` and `split`.
        s3_client: Reads from S3.

    Raises:
        RequestError: There is no such table, it is of no kind that can be read, or its columns cannot be used or kept.
        ConfigurationError: It cannot be reached, or access is denied.
    """
    from bedrock_batch_assets.records.joining import OUTPUT_COLUMNS

    source: Source
    if request.s3_uri:
        source = _open_s3(request, s3_client)
    else:
        from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource

        dialect = None if request.csv is None else CsvDialect.of(request.csv)
        source = HuggingFaceSource(request.dataset_id or "", request.split, request.max_rows, dialect)
    check_column_names(source.name, source.schema.names, OUTPUT_COLUMNS)
    storable = StorableSource(source)
    if request.output_format is not OutputFormat.csv:
        return storable
    from bedrock_batch_assets.ingest.sources.csv_holdable import CsvHoldableSource

    return CsvHoldableSource(storable)


def _open_s3(request: BatchRequest, s3_client: "S3Client") -> Source:
    uri = request.s3_uri or ""
    bucket, key = parse_s3_uri(uri)
    store = ObjectStore(s3_client, bucket)
    try:
        found = find_files(store, key, request.partition_types)
    except ObjectNotFoundError as error:
        store.check_bucket()
        raise RequestError(f"{uri} does not exist: check s3_uri.") from error
    except LoggedTableError as error:
        if error.table.format is not DELTA or store.uri(error.table.folder).rstrip("/") != uri.rstrip("/"):
            raise
        found = _delta_files(store, error.table.folder, request)
    files = {store.uri(item.key): item for item in found.files}
    kind = _kind(found, uri, request)
    if kind == "CSV":
        from bedrock_batch_assets.ingest.sources.csv_files_source import CsvFilesSource

        dialect = CsvDialect.of(request.csv)
        return CsvFilesSource(list(files), lambda name: _open(store, files[name]), dialect, partitions=found.partitions)
    if kind == "JSON Lines":
        from bedrock_batch_assets.ingest.sources.json_lines_source import JsonLinesSource

        return JsonLinesSource(
            list(files),
            lambda name: _open(store, files[name]),
            partitions=found.partitions,
            max_rows=request.max_rows,
        )
    if kind != "Parquet":
        if len(found.files) == 1 and found.files[0].key == key:
            raise RequestError(
                f"{uri} is neither .csv nor .parquet nor .jsonl by its name: rename it, or set csv if it is CSV, "
                "such as {delimiter: ','}."
            )
        raise RequestError(f"{uri} holds {kind} files: name CSV, JSON Lines or Parquet files.")

    from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource

    return ParquetSource(
        list(files),
        lambda name: _open(store, files[name]),
        partitions=found.partitions,
        declared=found.declared,
        max_rows=request.max_rows,
    )


def _kind(found: TableFiles, uri: str, request: BatchRequest) -> str:
    """What the files are: by their names, by that of their folder, or by what the request says.

    Raises:
        RequestError: The request has settings for CSV, and the files are something else.
    """
    kind = found.kind
    is_told = any(item.key.lower().endswith(PARQUET_ENDINGS) for item in found.files) or kind not in {"", "Parquet"}
    if not is_told and found.declared is None:
        name = uri.rstrip("/").lower()
        by_folder = (other for other, endings in _FOLDER_ENDINGS.items() if name.endswith(endings))
        kind = "CSV" if request.csv is not None else next(by_folder, kind)
    if request.csv is not None and kind != "CSV":
        raise RequestError(f"{uri} is {kind} by its name, and csv says how CSV is written: leave csv out.")
    return kind


def _delta_files(store: ObjectStore, folder: str, request: BatchRequest) -> TableFiles:
    from bedrock_batch_assets.ingest.sources.delta_table import current_files

    if request.partition_types:
        raise RequestError(
            f"{store.uri(folder)} is a Delta Lake table, which has types of its own: leave out partition_types."
        )
    return current_files(store, folder)


def _open(store: ObjectStore, found: str | ObjectInfo) -> BinaryIO:
    return store.open_reader(found, read_ahead=_READ_AHEAD_BYTES)
