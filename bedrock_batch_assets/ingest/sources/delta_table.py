"""Delta Lake tables: the files of the newest version, by the log that `deltalake` reads.

Only the log goes through that library, from a copy: data files are read as those of every other Parquet table, with
the credentials, the endpoint and the bounds on memory that hold there.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.ingest.sources.partition_columns import PartitionColumns
from bedrock_batch_assets.ingest.sources.table_files import TableFiles
from bedrock_batch_assets.ingest.sources.table_formats import DELTA

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectStore

# Delta Lake protocol, "Delta Log Entries" and "Checkpoints": twenty digits of version begin each name.
_VERSION = re.compile(r"(\d{20})\.")
_LAST_CHECKPOINT = "_last_checkpoint"
# Reader features under which the data files are still plain Parquet (Delta Lake protocol, "Valid Feature Names in Table
# Features"). The first two are refused if they are in use.
_KNOWN_FEATURES = frozenset(
    {"deletionVectors", "columnMapping", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "typeWidening"}
)


def current_files(store: ObjectStore, folder: str) -> TableFiles:
    """The data files of a table's newest version, the values of its partitions, and its columns.

    Args:
        store: The bucket.
        folder: The table's: a prefix that ends with "/".

    Raises:
        ConfigurationError: The library is not installed.
        RequestError: The log cannot be read, uses what is not known here, or names files that are not there.
    """
    uri = store.uri(folder)
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise ConfigurationError(
            f"{uri} is a Delta Lake table, whose folder holds rows that were removed or replaced too: pip "
            "install 'bedrock-batch-assets[delta]' to read its newest version, or write its rows as plain Parquet."
        ) from error
    objects = {item.key[len(folder) :]: item for item in store.list(folder)}
    with tempfile.TemporaryDirectory() as copy:
        _copy_log(store, objects, Path(copy))
        try:
            table = DeltaTable(copy)
            _check_features(uri, table)
            actions = pa.table(table.get_add_actions(flatten=True))
            schema = pa.schema(table.schema().to_arrow())
            partitions = list(table.metadata().partition_columns)
        except (DeltaError, pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".").replace(copy, uri.rstrip("/"))
            raise RequestError(
                f"{uri} is a Delta Lake table whose log cannot be read ({reason}): mend the table, or write its rows "
                "as plain Parquet."
            ) from error
    files = sorted(_files(uri, objects, actions, partitions), key=lambda pair: pair[0].key)
    if not files:
        raise RequestError(f"{uri} is a Delta Lake table without rows: give a table with at least one row.")
    columns = PartitionColumns(
        tuple(schema.field(name) for name in partitions), {store.uri(item.key): values for item, values in files}
    )
    declared = pa.schema([field for field in schema if field.name not in partitions])
    return TableFiles([item for item, _ in files], "Parquet", columns, declared.remove_metadata())


def _files(
    uri: str, objects: dict[str, ObjectInfo], actions: pa.Table, partitions: Sequence[str]
) -> Iterator[tuple[ObjectInfo, list[pa.Scalar]]]:
    for row in range(len(actions)):
        # A path in the log is a URI (Delta Lake protocol, "Add File and Remove File").
        path = unquote(actions.column("path")[row].as_py())
        if path not in objects:
            raise RequestError(
                f"{uri} is a Delta Lake table whose log names the file {path!r}, which is not in its folder: mend the "
                "table, or write its rows as plain Parquet."
            )
        yield objects[path], [actions.column(f"partition.{name}")[row] for name in partitions]


def _copy_log(store: ObjectStore, objects: dict[str, ObjectInfo], copy: Path) -> None:
    """The part of the log that the newest version needs: its last checkpoint, and what was written since."""
    log = {path[len(DELTA.marker_folder) :]: path for path in objects if path.startswith(DELTA.marker_folder)}
    first = _checkpoint_version(store, objects[log[_LAST_CHECKPOINT]].key) if _LAST_CHECKPOINT in log else 0
    for name, path in log.items():
        version = _VERSION.match(name)
        is_old = version is not None and int(version[1]) < first
        if is_old or name.endswith((".crc", "/")) or name.startswith("."):
            continue
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(store.get_bytes(objects[path].key))


def _checkpoint_version(store: ObjectStore, key: str) -> int:
    try:
        version = json.loads(store.get_bytes(key))["version"]
    except (ValueError, KeyError, TypeError):
        # It is only a hint: without it the whole log is read.
        return 0
    return version if isinstance(version, int) else 0


def _check_features(uri: str, table: DeltaTable) -> None:
    protocol: Any = table.protocol()
    unknown = sorted(set(protocol.reader_features or ()) - _KNOWN_FEATURES)
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        unknown.append("columnMapping")
    if pa.table(table.deletion_vectors()).num_rows:
        unknown.append("deletionVectors")
    if unknown:
        raise RequestError(
            f"{uri} is a Delta Lake table that uses {', '.join(unknown)}, which is not read here: write its rows as "
            "plain Parquet, and name that folder."
        )
