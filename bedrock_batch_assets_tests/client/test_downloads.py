import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from bedrock_batch_assets.client.downloads import UnsafeKeyError, local_path, plan_download, plan_one, run_download
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.objects import ObjectInfo
from bedrock_batch_assets.storage.resource import BatchStorage

BUCKET = "download-tests"
OUTPUT = "batch_outputs_json/demo/demo-00000/abc/demo-00000.jsonl.out"
PART = "batch_output_parquet/demo/part-00000.parquet"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchStorage]:
    """A bucket with the objects of the batches demo and demo-2."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        found = BatchStorage(bucket=BUCKET, region_name="us-east-1")
        found.objects.put_bytes(OUTPUT, b"one\ntwo\n")
        found.objects.put_bytes(PART, b"PAR1")
        found.objects.put_bytes("batch_output_parquet/demo-2/part-00000.parquet", b"of another batch")
        found.objects.put_bytes("batch_inputs/demo/manifest.json", b"{}")
        yield found


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _download(storage: BatchStorage, folder: Path, *, delete_surplus: bool = False) -> list[str]:
    """Download the batch demo; returns the keys that were fetched."""
    plan = plan_download(storage, "demo", folder)
    count = 0

    def on_bytes(number: int) -> None:
        nonlocal count
        count += number

    run_download(plan, storage.objects, on_bytes=on_bytes, delete_surplus=delete_surplus)
    assert count == plan.size
    return [item.source.key for item in plan.wanted]


def test_outputs_and_results_are_mirrored(storage: BatchStorage, tmp_path: Path) -> None:
    """The batch's own outputs and results arrive byte for byte, and nothing else does."""
    assert sorted(_download(storage, tmp_path)) == sorted([OUTPUT, PART])
    assert _files(tmp_path) == {
        "batch_outputs_json/demo-00000/abc/demo-00000.jsonl.out": b"one\ntwo\n",
        "batch_output_parquet/part-00000.parquet": b"PAR1",
    }


def test_what_is_there_is_not_fetched_again(storage: BatchStorage, tmp_path: Path) -> None:
    """A second download fetches only what changed since: other size, or other time."""
    _download(storage, tmp_path)
    assert _download(storage, tmp_path) == []
    storage.objects.put_bytes(PART, b"PAR1 longer")
    assert _download(storage, tmp_path) == [PART]
    local = tmp_path / "batch_outputs_json/demo-00000/abc/demo-00000.jsonl.out"
    os.utime(local, (1, 1))
    assert _download(storage, tmp_path) == [OUTPUT]


def test_surplus_files_are_kept_unless_told_otherwise(storage: BatchStorage, tmp_path: Path) -> None:
    """Files that are no more on S3 are reported, kept by default, and deleted on request; others never are."""
    storage.objects.put_bytes("batch_output_parquet/demo/part-00001.parquet", b"PAR1")
    _download(storage, tmp_path)
    storage.objects.delete_prefix("batch_output_parquet/demo/part-00001.parquet")
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    old = tmp_path / "batch_output_parquet/part-00001.parquet"
    _download(storage, tmp_path)
    assert list(plan_download(storage, "demo", tmp_path).surplus) == [old]
    assert old.exists()
    _download(storage, tmp_path, delete_surplus=True)
    assert not old.exists()
    assert mine.exists()


def test_staged_parts_are_not_handed_out(storage: BatchStorage, tmp_path: Path) -> None:
    """Parts that wait for their table are not fetched, of an earlier version neither; those of the table are."""
    version = ("abc", OutputFormat.parquet)
    storage.objects.put_bytes(storage.layout.staged_part("demo", 0, *version), b"PAR1 new")
    storage.objects.put_bytes(storage.layout.former("demo").staged_part(0, *version), b"PAR1 new")
    assert sorted(_download(storage, tmp_path)) == sorted([OUTPUT, PART])
    assert not [name for name in _files(tmp_path) if "parts/" in name]


@pytest.mark.parametrize("keys", [["new"], ["former"], ["new", "former"]])
def test_the_account_lies_beside_the_results(storage: BatchStorage, tmp_path: Path, keys: list[str]) -> None:
    """The folder of the results has data files alone here, too, whatever version wrote the table's manifest."""
    places = {"new": storage.layout.table_manifest("demo"), "former": storage.layout.former("demo").table_manifest}
    for name in keys:
        storage.objects.put_bytes(places[name], name.encode())
    (tmp_path / "batch_output_parquet").mkdir()
    # As an earlier version downloaded it.
    before = tmp_path / "batch_output_parquet/_manifest.json"
    before.write_bytes(b"former")
    assert places[keys[0]] in _download(storage, tmp_path, delete_surplus=True)
    assert _files(tmp_path) == {
        "batch_outputs_json/demo-00000/abc/demo-00000.jsonl.out": b"one\ntwo\n",
        "batch_output_parquet/part-00000.parquet": b"PAR1",
        "batch_output_state/manifest.json": keys[0].encode(),
    }
    assert _download(storage, tmp_path) == []


def test_an_empty_batch_is_an_error(storage: BatchStorage, tmp_path: Path) -> None:
    """A batch without outputs is told so instead of making an empty folder."""
    with pytest.raises(BatchError, match="nothing to download"):
        plan_download(storage, "other", tmp_path)


def test_a_broken_transfer_leaves_no_file(storage: BatchStorage, tmp_path: Path) -> None:
    """An object that vanishes between listing and fetching leaves no part of a file behind."""
    plan = plan_download(storage, "demo", tmp_path)
    storage.objects.delete_prefix("batch_output_parquet/")
    with pytest.raises(BatchError):
        run_download(plan, storage.objects, on_bytes=lambda _: None)
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "batch_output_parquet/part-00000.parquet").exists()


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "..", "", "a\\..\\b", "C:/x", "a\0b", "a/"],
)
def test_a_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """Names with "..", absolute ones and those with empty parts never become a path."""
    with pytest.raises(UnsafeKeyError):
        local_path(name, tmp_path)


def test_a_link_that_leads_away_is_refused(tmp_path: Path) -> None:
    """An object is not written through a link that leaves the folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafeKeyError, match="link"):
        local_path("link/file", inside)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "ü", "\\", "/", "x.jsonl.out"]), min_size=1, max_size=6))
def test_no_name_ever_leaves_the_folder(parts: list[str]) -> None:
    """Whatever the name is made of, the path is below the folder, or there is none."""
    folder = Path("downloads").resolve()
    try:
        path = local_path("/".join(parts), folder)
    except UnsafeKeyError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(folder)
    assert path != folder


def test_a_folder_in_the_way_is_refused(tmp_path: Path) -> None:
    """An object whose name is a folder here (S3 has both "a" and "a/b") is told apart, not a traceback."""
    (tmp_path / "a").mkdir()
    info = ObjectInfo("p/a", 1, "etag", datetime.now(UTC))
    with pytest.raises(UnsafeKeyError, match="is a folder"):
        plan_one(info, "p/", tmp_path)
