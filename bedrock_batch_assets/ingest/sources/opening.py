"""Where a batch's rows come from: one door for CSV, Parquet and Hugging Face datasets."""

from typing import TYPE_CHECKING, BinaryIO

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.columns import check_column_names
from bedrock_batch_assets.ingest.sources.source import Source
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.storage.objects import ObjectNotFoundError, ObjectStore, parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CSV_ENDINGS = (".csv", ".csv.gz")
_PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
_READ_AHEAD_BYTES = 8 << 20


def open_source(request: BatchRequest, s3_client: "S3Client") -> Source:
    """Open the request's table and check the names of its columns.

    Args:
        request: Names the table: `s3_uri`, or `dataset_id` and `split`.
        s3_client: Reads from S3.

    Raises:
        RequestError: There is no such table, it is neither CSV nor Parquet, or its columns cannot be used.
        ConfigurationError: It cannot be reached, or access is denied.
    """
    from bedrock_batch_assets.records.joining import OUTPUT_COLUMNS

    source: Source
    if request.s3_uri:
        source = _open_s3(request.s3_uri, s3_client)
    else:
        from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource

        source = HuggingFaceSource(request.dataset_id or "", request.split)
    check_column_names(source.name, source.schema.names, OUTPUT_COLUMNS)
    return StorableSource(source)


def _open_s3(uri: str, s3_client: "S3Client") -> Source:
    bucket, key = parse_s3_uri(uri)
    store = ObjectStore(s3_client, bucket)
    name = key.lower()
    try:
        if name.endswith(_CSV_ENDINGS):
            from bedrock_batch_assets.ingest.sources.csv_source import CsvSource

            return CsvSource(uri, _open(store, key))
        keys = _parquet_keys(store, uri, key)
    except ObjectNotFoundError as error:
        store.check_bucket()
        raise RequestError(f"{uri} does not exist: check s3_uri.") from error

    from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource

    names = {store.uri(key): key for key in keys}
    return ParquetSource(list(names), lambda name: _open(store, names[name]))


def _open(store: ObjectStore, key: str) -> BinaryIO:
    return store.open_reader(key, read_ahead=_READ_AHEAD_BYTES)


def _parquet_keys(store: ObjectStore, uri: str, key: str) -> list[str]:
    """The Parquet file itself, or the files below a folder. Spark names folders `table.parquet` too."""
    if key and not key.endswith("/"):
        found = store.head(key)
        if found is not None:
            if not key.lower().endswith(_PARQUET_ENDINGS):
                raise RequestError(
                    f"{uri} is neither .csv nor .parquet by its name: rename it, or name a folder of Parquet files."
                )
            return [key]
    folder = key if not key or key.endswith("/") else key + "/"
    objects = list(store.list(folder))
    if not objects:
        raise ObjectNotFoundError(uri)
    keys = [item.key for item in objects if item.size and not _hidden(item.key[len(folder) :])]
    if not keys:
        raise RequestError(f"{uri} holds no Parquet file with rows: put the table's files there.")
    return sorted(keys)


def _hidden(path: str) -> bool:
    """Spark's and Hive's rule: what starts with "_" or "." is not data (`_SUCCESS`, `_temporary/`, `.crc`)."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in path.split("/"))
