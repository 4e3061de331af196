"""Result tables in a notebook or a program: one line, with the AWS settings of the environment."""

from typing import TYPE_CHECKING, Any, Literal

from bedrock_batch_assets.chunks.joined_chunk import table_schema
from bedrock_batch_assets.client.environment import storage_from_environment
from bedrock_batch_assets.extras import require_extra
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.bucket import BatchBucket

if TYPE_CHECKING:
    import pyarrow.dataset

# Columns of a CSV table that are read as numbers.
_NUMBERS = frozenset({"input_tokens", "output_tokens"})


def read_result(batch: str, as_: Literal["pandas", "dataset"] = "pandas", *, storage: BatchBucket | None = None) -> Any:
    """The result table of a batch, in input order.

    Columns of a CSV table are text, but for the token counts; empty cells of text are empty texts.

    Args:
        batch: The batch's name.
        as_: `pandas` gives a DataFrame; `dataset` an Arrow dataset, of which nothing is read yet.
        storage: The platform's bucket; None for the one that BEDROCK_BATCH_BUCKET names.

    Returns:
        A `pandas.DataFrame`, or a `pyarrow.dataset.Dataset`.

    Raises:
        NotMaterializedError: The batch has no result table, or a new one is being put in place.
        ConfigurationError: There is no bucket or no access to it, or pandas is not installed.
        ValueError: `as_` is neither of the two.
    """
    if as_ not in {"pandas", "dataset"}:
        raise ValueError(f"as_ is {as_!r}: it is 'pandas' or 'dataset'")
    if as_ == "pandas":
        require_extra("pandas", "pandas", "A result table as a DataFrame")
    dataset = _dataset(batch, storage or storage_from_environment())
    return dataset if as_ == "dataset" else dataset.to_table().to_pandas()


def _dataset(batch: str, storage: BatchBucket) -> "pyarrow.dataset.Dataset":
    import pyarrow.dataset
    import pyarrow.fs

    manifest = storage.table_manifest(batch)
    client, credentials = storage.client("s3"), storage.frozen_credentials()
    scheme, _, host = str(client.meta.endpoint_url).partition("://")
    filesystem = pyarrow.fs.S3FileSystem(
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        session_token=credentials.token,
        region=client.meta.region_name,
        scheme=scheme,
        endpoint_override=host,
    )
    is_csv = manifest.output_format is OutputFormat.csv
    file_format = _csv_format(storage, batch) if is_csv else pyarrow.dataset.ParquetFileFormat()
    paths = [f"{storage.bucket}/{key}" for key in manifest.parts]
    return pyarrow.dataset.dataset(paths, filesystem=filesystem, format=file_format)


def _csv_format(storage: BatchBucket, batch: str) -> "pyarrow.dataset.CsvFileFormat":
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.dataset

    schema = table_schema(storage.batch_manifest(batch))
    types = {field.name: field.type if field.name in _NUMBERS else pa.string() for field in schema}
    return pyarrow.dataset.CsvFileFormat(
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
    )
