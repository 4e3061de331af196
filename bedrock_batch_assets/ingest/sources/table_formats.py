"""Table formats whose folder holds more than the table's rows: only their log says which files count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from bedrock_batch_assets.errors import AccessDeniedError

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class TableFormat:
    """A format, known by files that each of its tables has.

    Attributes:
        name: What people call it.
        marker: Matches the path of such a file below the table's folder.
        marker_folder: The folder that it is in.
        data_folder: The folder that all data files are in; empty if that is the table's own.
    """

    name: str
    marker: re.Pattern[str]
    marker_folder: str
    data_folder: str = ""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of such a format, and its folder: a prefix that ends with "/", or is empty."""

    format: TableFormat
    folder: str


DELTA = TableFormat("Delta Lake", re.compile(r"_delta_log/.+"), "_delta_log/")
# Sources: Delta Lake protocol, "Delta Log Entries"; Apache Hudi, "Timeline"; Apache Iceberg specification, "Table
# Metadata", and its file-system tables; Apache Paimon, "File Layouts"; Apache Hive, "Hive Transactions".
_FORMATS = (
    DELTA,
    TableFormat("Apache Hudi", re.compile(r"\.hoodie/.+"), ".hoodie/"),
    TableFormat("Apache Iceberg", re.compile(r"metadata/[^/]+\.metadata\.json(?:\.gz)?"), "metadata/", "data/"),
    TableFormat("Apache Paimon", re.compile(r"snapshot/(?:snapshot-\d+|LATEST|EARLIEST)"), "snapshot/"),
    TableFormat(
        "transactional Hive",
        re.compile(r"(?:base|delta|delete_delta)_\d{7,}(?:_v?\d+)*/(?:bucket_\d+(?:_\d+)?|\d{6}_\d+)"),
        "",
    ),
)
_MARKERS = re.compile("(?:^|/)(?:" + "|".join(f"({kind.marker.pattern})" for kind in _FORMATS) + ")$")
# Files that are looked at beside a folder's marker: Iceberg keeps thousands of others there.
_MOST_MARKERS = 20_000


def table_within(paths: Iterable[str]) -> FoundTable | None:
    """The first table of such a format in a folder, or below it.

    Args:
        paths: Of all files below the folder, hidden ones included.

    Returns:
        The table; its folder is a path below the one that was given.
    """
    for path in paths:
        if match := _MARKERS.search(path):
            number = match.lastindex or 1
            return FoundTable(_FORMATS[number - 1], path[: match.start(number)])
    return None


def table_around(store: ObjectStore, folder: str) -> FoundTable | None:
    """The table of such a format that a folder is a part of, such as one of its partitions.

    If the folders above may not be listed, they are ignored: they may belong to others.

    Args:
        store: The bucket.
        folder: A prefix that ends with "/".
    """
    above = folder.rstrip("/")
    while "/" in above:
        above = above.rpartition("/")[0]
        prefix = above + "/"
        if found := _table_at(store, prefix, folder[len(prefix) :]):
            return found
    return _table_at(store, "", folder) if folder else None


def _table_at(store: ObjectStore, prefix: str, below: str) -> FoundTable | None:
    for kind in _FORMATS:
        if not kind.marker_folder or not below.startswith(kind.data_folder):
            continue
        try:
            keys = _keys(store, prefix + kind.marker_folder)
            if any(kind.marker.fullmatch(key, len(prefix)) for key in keys):
                return FoundTable(kind, prefix)
        except AccessDeniedError:
            continue
    return None


def _keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    return (item.key for item in islice(store.list(prefix), _MOST_MARKERS))
