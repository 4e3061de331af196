"""Where a batch's rows come from: one door for CSV, Parquet and Hugging Face datasets."""

from typing import TYPE_CHECKING, BinaryIO

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.columns import check_column_names
from bedrock_batch_assets.ingest.sources.partition_columns import partition_columns
from bedrock_batch_assets.ingest.sources.source import Source
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets.ingest.sources.table_files import LoggedTableError, TableFiles, find_files
from bedrock_batch_assets.ingest.sources.table_formats import DELTA
from bedrock_batch_assets.request import BatchRequest, OutputFormat
from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectNotFoundError, ObjectStore, parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CSV_ENDINGS = (".csv", ".csv.gz")
_READ_AHEAD_BYTES = 8 << 20


def open_source(request: BatchRequest, s3_client: "S3Client") -> Source:
    """Open the request's table and check the names of its columns.

    Args:
        request: Names the table: `s3_uri`, or `dataset_id` and `split`.
        s3_client: Reads from S3.

    Raises:
        RequestError: There is no such table, it is neither CSV nor Parquet, or its columns cannot be used or kept.
        ConfigurationError: It cannot be reached, or access is denied.
    """
    from bedrock_batch_assets.records.joining import OUTPUT_COLUMNS

    source: Source
    if request.s3_uri:
        source = _open_s3(request, s3_client)
    else:
        from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource

        source = HuggingFaceSource(request.dataset_id or "", request.split, request.max_rows)
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
        if key.lower().endswith(_CSV_ENDINGS):
            from bedrock_batch_assets.ingest.sources.csv_source import CsvSource

            partition_columns({uri: ""}, request.partition_types)
            return CsvSource(uri, _open(store, key))
        found = find_files(store, key, request.partition_types)
    except ObjectNotFoundError as error:
        store.check_bucket()
        raise RequestError(f"{uri} does not exist: check s3_uri.") from error
    except LoggedTableError as error:
        if error.table.format is not DELTA or store.uri(error.table.folder).rstrip("/") != uri.rstrip("/"):
            raise
        found = _delta_files(store, error.table.folder, request)
    if found.kind != "Parquet":
        if len(found.files) == 1 and found.files[0].key == key:
            raise RequestError(
                f"{uri} is neither .csv nor .parquet by its name: rename it, or name a folder of Parquet files."
            )
        raise RequestError(f"{uri} holds {found.kind} files: name one file, or a folder of Parquet files.")

    from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource

    files = {store.uri(item.key): item for item in found.files}
    return ParquetSource(
        list(files),
        lambda name: _open(store, files[name]),
        partitions=found.partitions,
        declared=found.declared,
        max_rows=request.max_rows,
    )


def _delta_files(store: ObjectStore, folder: str, request: BatchRequest) -> TableFiles:
    from bedrock_batch_assets.ingest.sources.delta_table import current_files

    if request.partition_types:
        raise RequestError(
            f"{store.uri(folder)} is a Delta Lake table, which has types of its own: leave out partition_types."
        )
    return current_files(store, folder)


def _open(store: ObjectStore, found: str | ObjectInfo) -> BinaryIO:
    return store.open_reader(found, read_ahead=_READ_AHEAD_BYTES)
