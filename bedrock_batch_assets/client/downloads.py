"""A local copy of a batch's outputs and results."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bedrock_batch_assets.errors import BatchError

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.bucket import BatchBucket
    from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectStore

# Each transfer of a large object uses threads of its own on top (boto3's default: 10).
PARALLEL_DOWNLOADS = 8


class UnsafeKeyError(BatchError):
    """A key on S3 that would be written outside of the folder, or over something that is no file."""


@dataclass(frozen=True, slots=True)
class Download:
    """One object and the file that it becomes. `is_here`: the file has its size and time already."""

    source: "ObjectInfo"
    path: Path
    is_here: bool


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What to fetch, and files of an earlier download that are no more on S3 (`surplus`)."""

    folder: Path
    downloads: Sequence[Download]
    surplus: Sequence[Path]

    @property
    def wanted(self) -> list[Download]:
        """Those that have to be fetched."""
        return [item for item in self.downloads if not item.is_here]

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(item.source.size for item in self.wanted)


def plan_download(storage: "BatchBucket", batch: str, folder: Path) -> DownloadPlan:
    """Compare what is on S3 with what is in `folder`; nothing is written.

    The job outputs go to `folder/batch_outputs_json/`, the result files and nothing else to
    `folder/batch_output_parquet/`, and the table's manifest to `folder/batch_output_state/manifest.json`.

    Raises:
        BatchError: There is nothing to download.
        UnsafeKeyError: A key would leave the folder.
    """
    layout = storage.layout
    former = layout.former(batch)
    results = list(storage.objects.list(layout.results_folder(batch)))
    # Version 0.1 kept its manifest and the parts that wait for their table among the results: they are no data.
    of_others = (former.staged_folder, former.table_manifest)
    sources = {
        layout.outputs_folder(batch): list(storage.objects.list(layout.outputs_folder(batch))),
        layout.results_folder(batch): [info for info in results if not info.key.startswith(of_others)],
    }
    manifests = [
        *storage.objects.list(layout.table_manifest(batch)),
        *(info for info in results if info.key == former.table_manifest),
    ]
    downloads: list[Download] = []
    surplus: list[Path] = []
    for prefix, objects in sources.items():
        below = _local_folder(folder, prefix, layout.prefix)
        planned = [plan_one(info, prefix, below) for info in objects if not info.key.endswith("/")]
        downloads += planned
        surplus += _surplus(below, {item.path for item in planned})
    below = _local_folder(folder, layout.state_folder(batch), layout.prefix)
    manifest = [_planned(info, below / "manifest.json") for info in manifests[:1]]
    downloads += manifest
    surplus += _surplus(below, {item.path for item in manifest})
    if not downloads:
        raise BatchError(f"There is nothing to download for batch {batch}: no job output and no result is on S3 yet.")
    return DownloadPlan(folder, downloads, surplus)


def _local_folder(folder: Path, prefix: str, storage_prefix: str) -> Path:
    return folder / prefix.removeprefix(storage_prefix).split("/")[0]


def plan_one(info: "ObjectInfo", prefix: str, folder: Path) -> Download:
    """Where the object under `prefix` goes below `folder`, and whether it is there.

    Raises:
        UnsafeKeyError: The key would leave the folder, or names no file.
    """
    return _planned(info, local_path(info.key.removeprefix(prefix), folder))


def _planned(info: "ObjectInfo", path: Path) -> Download:
    try:
        known = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Download(info, path, is_here=False)
    is_here = known.st_size == info.size and int(known.st_mtime) == int(info.last_modified.timestamp())
    return Download(info, path, is_here=is_here)


def local_path(name: str, folder: Path) -> Path:
    """`folder/name`, for a name that stays inside the folder.

    Raises:
        UnsafeKeyError: It would leave the folder: `..`, an absolute path, a link out of it; or it names no file.
    """
    parts = name.split("/")
    # A backslash and a colon separate or name drives on Windows, and are in no key that this platform makes.
    if any(part in {"", ".", ".."} or "\\" in part or "\0" in part or ":" in part for part in parts):
        raise UnsafeKeyError(f"The object {name!r} has a name that cannot be a file below {folder}: rename it on S3.")
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnsafeKeyError(f"The object {name!r} would be written outside of {folder}: a link there leads away.")
    if path.is_dir():
        raise UnsafeKeyError(f"The object {name!r} cannot be written: {path} is a folder.")
    return path


def run_download(
    plan: DownloadPlan, objects: "ObjectStore", *, on_bytes: Callable[[int], None], delete_surplus: bool = False
) -> None:
    """Fetch what the plan wants; each file appears whole, or not at all.

    Args:
        plan: What to do.
        objects: The bucket.
        on_bytes: Called with the number of bytes that came in, from several threads.
        delete_surplus: Delete files of an earlier download that are no more on S3.
    """
    with ThreadPoolExecutor(max_workers=PARALLEL_DOWNLOADS) as pool:
        futures = [pool.submit(_fetch, item, objects, on_bytes) for item in plan.wanted]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if delete_surplus:
        for path in plan.surplus:
            path.unlink(missing_ok=True)


def _fetch(item: Download, objects: "ObjectStore", on_bytes: Callable[[int], None]) -> None:
    from bedrock_batch_assets.storage.s3_errors import s3_errors_explained

    part = item.path.with_name(f".{item.path.name}.{os.getpid()}.part")
    try:
        item.path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file, s3_errors_explained("s3:GetObject", objects.bucket, item.source.key):
            objects.client.download_fileobj(objects.bucket, item.source.key, file, Callback=on_bytes)
        seconds = item.source.last_modified.timestamp()
        os.utime(part, (seconds, seconds))
        part.replace(item.path)
    except OSError as error:
        raise BatchError(f"Cannot write {item.path}: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _surplus(folder: Path, wanted: set[Path]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in wanted)
