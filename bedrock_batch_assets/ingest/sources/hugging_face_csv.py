"""CSV files of Hugging Face datasets, read as those on S3 are: with the same cells, and the same refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.conversion import InexactError, exactly
from bedrock_batch_assets.ingest.sources.csv_dialect import CsvDialect
from bedrock_batch_assets.ingest.sources.csv_files_source import CsvFilesSource
from bedrock_batch_assets.ingest.sources.hugging_face_files import are_plain, open_file
from bedrock_batch_assets.ingest.sources.source import Source

_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
# Settings of the library's reader that `CsvDialect` has too, or that change nothing for cells that are text.
_KNOWN_SETTINGS = {
    *("name", "version", "data_dir", "data_files", "description", "features"),
    *("sep", "delimiter", "quotechar", "quoting", "escapechar", "doublequote", "encoding"),
    *("chunksize", "engine", "memory_map", "verbose", "float_precision", "keep_default_na", "na_filter", "date_format"),
}
# Python's csv.QUOTE_NONE, by which the library's reader names its quoting.
_QUOTE_NONE = 3
# What the library's reader takes for null (pandas documentation, `read_csv`, `na_values`).
_NULLS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)


def csv_source(builder: Any, split: str, given: CsvDialect | None) -> Source | None:
    """The rows of a split, if it is made of CSV files alone; every cell is text unless the dataset declares its type.

    The library's own reader takes texts such as `NA` and `None` for null and `007` for a number. It reads what is left:
    files in archives, files whose README.md sets something that `CsvDialect` has not, and declared types of images and
    the like. `prepare_for_text` is for those.

    Args:
        builder: A `datasets.DatasetBuilder`.
        split: The split.
        given: What the request says of the files; it counts before what the README.md says.

    Raises:
        RequestError: A file cannot be read, or `given` is for a dataset of another kind.
    """
    from datasets.packaged_modules.csv.csv import Csv

    if not isinstance(builder, Csv):
        if given is not None:
            raise RequestError("csv says how CSV is written, and the dataset has other files: leave csv out.")
        return None
    files = (builder.config.data_files or {}).get(split)
    dialect = _dialect(builder.config, given)
    if not files or dialect is None or not are_plain(files, _ENDINGS):
        if given is not None and files:
            raise RequestError(
                "csv cannot be used with files in archives, nor beside what README.md sets for the dataset's reader: "
                "name the files as s3_uri."
            )
        return None
    source = CsvFilesSource(list(files), open_file, dialect)
    features = builder.info.features
    if features is None:
        return source
    declared = features.arrow_schema.remove_metadata()
    if sorted(declared.names) != sorted(source.schema.names) or not all(map(_is_plain, features.values())):
        return None
    return DeclaredCsvSource(source, declared)


def prepare_for_text(builder: Any, split: str) -> None:
    """Have the library's own reader of CSV give text, unless the dataset declares types or what is null.

    Args:
        builder: A `datasets.DatasetBuilder` of any kind.
        split: The split.
    """
    from datasets import Features, Value
    from datasets.packaged_modules.csv.csv import Csv

    if not isinstance(builder, Csv) or builder.info.features is not None:
        return
    tables = builder.as_streaming_dataset(split=split).with_format("arrow").iter(batch_size=1)
    if (first := next(iter(tables), None)) is None:
        return
    config = builder.config
    config.features = builder.info.features = Features({name: Value("string") for name in first.column_names})
    config.keep_default_na = config.keep_default_na and config.na_values is not None


class DeclaredCsvSource:
    """Text as the types that a dataset declares for its columns."""

    def __init__(self, source: Source, declared: pa.Schema) -> None:
        self._source = source
        self.name = source.name
        self.schema = declared

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises:
            RequestError: A cell is not of its column's type.
        """
        row = 0
        for batch in self._source.batches():
            columns = [self._column(field, batch.column(field.name), row) for field in self.schema]
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column(self, field: pa.Field, texts: pa.Array, row: int) -> pa.Array:
        kind = field.type
        if pa.types.is_string(kind):
            return texts
        try:
            return exactly(texts, lambda some: _cast(some, kind))
        except InexactError as error:
            raise RequestError(
                f"{self.name}: column {field.name!r}, row {row + error.position + 1} (counted from 1), is no {kind} "
                f"({error.reason}), which README.md declares: correct the value, or declare it as string."
            ) from error


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return texts.cast(kind)
    texts = pc.utf8_trim_whitespace(texts)
    values = pc.if_else(pc.is_in(texts, pa.array(_NULLS)), pa.scalar(None, pa.string()), texts)
    if pa.types.is_boolean(kind):
        values = pc.utf8_lower(values)
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        if not pa.types.is_integer(kind):
            raise
        # pandas writes integers as fractions if some cells of the column are missing.
        return values.cast(pa.float64()).cast(kind)


def _is_plain(feature: Any) -> bool:
    from datasets import Value

    return isinstance(feature, Value)


def _dialect(config: Any, given: CsvDialect | None) -> CsvDialect | None:
    """What README.md says, as a dialect; None if it says more."""
    default = type(config)()
    changed = {name for name, value in vars(config).items() if value != getattr(default, name, None)}
    # The header is the first line, whether README.md says so or not.
    if not changed <= _KNOWN_SETTINGS | ({"header"} if config.header == 0 else set()):
        return None
    quote = "" if config.quoting == _QUOTE_NONE else config.quotechar
    if config.quoting not in {0, 1, _QUOTE_NONE} or (not config.doublequote and not config.escapechar):
        return None
    marks = [config.sep, quote or '"', config.escapechar or "\\"]
    if any(not isinstance(mark, str) or len(mark) != 1 or not mark.isascii() for mark in marks):
        return None
    told = CsvDialect(
        delimiter=config.sep if config.sep != default.sep else None,
        quote=quote if quote != default.quotechar else None,
        escape=config.escapechar,
        # pandas uses it as an escape character everywhere.
        escape_unquoted=True if config.escapechar else None,
        encoding=config.encoding,
    )
    if given is None:
        return told
    missing = [field.name for field in fields(told) if getattr(given, field.name) is None]
    return given.with_settings(**{name: getattr(told, name) for name in missing})
