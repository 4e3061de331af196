"""The files of a table on S3: one object, or the data files of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.partition_columns import PartitionColumns, partition_columns
from bedrock_batch_assets.ingest.sources.table_formats import FoundTable, table_around, table_within
from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectNotFoundError, ObjectStore

PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
# Kinds of files by the end of their names. Files without such an ending are taken for Parquet: Hive gives none.
_KINDS: Mapping[str, Sequence[str]] = {
    "Parquet": PARQUET_ENDINGS,
    "CSV": (".csv", ".csv.gz", ".tsv", ".tsv.gz"),
    "JSON Lines": (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson"),
    "ORC": (".orc",),
    "Avro": (".avro",),
}


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of one table.

    Attributes:
        files: In the order of their keys.
        kind: What they are by their names: "Parquet", "CSV" and so on.
        partitions: The columns that the folders' names give, by the files' URIs.
        declared: The other columns, if the table says itself what they are.
    """

    files: Sequence[ObjectInfo]
    kind: str
    partitions: PartitionColumns
    declared: pa.Schema | None = None


class LoggedTableError(RequestError):
    """A folder belongs to a table of which only its log knows the files.

    Attributes:
        table: The table.
    """

    def __init__(self, message: str, table: FoundTable) -> None:
        super().__init__(message)
        self.table = table


def find_files(store: ObjectStore, key: str, partition_types: Mapping[str, str]) -> TableFiles:
    """Find the files of a table.

    Args:
        store: The bucket.
        key: Of an object or a folder. Spark names folders `table.parquet` too, and an empty object of the folder's own
            name may mark it.
        partition_types: See `partition_columns`.

    Raises:
        ObjectNotFoundError: There is neither an object nor a folder.
        LoggedTableError: The folder is a table of Delta Lake, Iceberg or the like, or lies in one.
        RequestError: The folder holds no rows, files of two kinds, or a part that was left empty.
    """
    if key and not key.endswith("/"):
        found = store.head(key)
        if found is not None and (found.size or not _has_any(store, key + "/")):
            return TableFiles([found], _kind(key) or "", partition_columns({store.uri(key): ""}, partition_types))
    folder = key if not key or key.endswith("/") else key + "/"
    objects = list(store.list(folder))
    if not objects:
        raise ObjectNotFoundError(store.uri(key))
    _check_is_plain(store, folder, objects)
    return _counting(store, folder, objects, partition_types)


def _counting(
    store: ObjectStore, folder: str, objects: Sequence[ObjectInfo], partition_types: Mapping[str, str]
) -> TableFiles:
    kinds: dict[str, ObjectInfo] = {}
    files = []
    for item in objects:
        path = item.key[len(folder) :]
        if _is_hidden(path):
            continue
        kind = _kind(path)
        if not item.size:
            if kind == "Parquet":
                raise RequestError(
                    f"{store.uri(item.key)} is empty (0 bytes), so its rows are missing: write it again, or delete it."
                )
            continue  # An empty object marks a folder, or is a part without rows.
        kinds.setdefault(kind or "Parquet", item)
        files.append(item)
    if not files:
        raise RequestError(f"{store.uri(folder)} holds no Parquet file with rows: put the table's files there.")
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise RequestError(
            f"{store.uri(folder)} holds {one} ({store.uri(first.key)}) and {other} ({store.uri(second.key)}): name a "
            "folder whose files are of one kind, or one of the files."
        )
    files.sort(key=lambda item: item.key)
    paths = {store.uri(item.key): item.key[len(folder) :] for item in files}
    return TableFiles(files, next(iter(kinds)), partition_columns(paths, partition_types))


def _check_is_plain(store: ObjectStore, folder: str, objects: Sequence[ObjectInfo]) -> None:
    """Refuse tables with a log. This comes before files are hidden by their names, which would hide the log."""
    inside = table_within(item.key[len(folder) :] for item in objects)
    if inside is None:
        around = table_around(store, folder)
        if around is not None:
            raise LoggedTableError(
                f"{store.uri(folder)} lies in the {around.format.name} table {store.uri(around.folder)}, whose log "
                "alone knows which of its files count: name the table's own folder, or a plain copy of the rows.",
                around,
            )
        return
    table = FoundTable(inside.format, folder + inside.folder)
    if inside.folder:
        raise LoggedTableError(
            f"{store.uri(folder)} holds the {table.format.name} table {store.uri(table.folder)}: name one table's "
            "own folder.",
            table,
        )
    raise LoggedTableError(
        f"{store.uri(folder)} is a {table.format.name} table, whose folder holds rows that were removed or replaced "
        "too: write its current rows as plain Parquet, and name that folder.",
        table,
    )


def _has_any(store: ObjectStore, prefix: str) -> bool:
    return next(iter(store.list(prefix)), None) is not None


def _kind(path: str) -> str | None:
    name = path.lower()
    return next((kind for kind, endings in _KINDS.items() if name.endswith(tuple(endings))), None)


def _is_hidden(path: str) -> bool:
    """Spark's and Hive's rule: what starts with "_" or "." is not data (`_SUCCESS`, `_temporary/`, `.crc`)."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in path.split("/"))
