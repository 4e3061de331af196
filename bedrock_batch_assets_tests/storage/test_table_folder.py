"""What a reader of the result table's folder sees while parts come in, and what a broken-off build leaves."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.storage.bucket import NotMaterializedError
from bedrock_batch_assets.storage.manifests import (
    BatchManifest,
    ChunkEntry,
    PartSummary,
    TableManifest,
    add_summaries,
    encode,
)
from bedrock_batch_assets.storage.objects import ObjectInfo, ObjectStore
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.storage.table_folder import Part, TableFolder
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, read_folder

FOLDER = "batch_output_parquet/jokes/"


class KilledError(Exception):
    """The process ends here."""


class Site:
    """A bucket with a batch whose chunks have one row each, which tells its chunk's version.

    Writes are a minute apart by the listing: S3 itself tells whole seconds.
    """

    def __init__(self, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        aws.create_bucket(BUCKET)
        self.storage = BatchStorage(bucket=BUCKET)
        self.requests: list[str] = []
        self.kill_at: int | None = None
        self._clock = datetime(2030, 1, 1, tzinfo=UTC)
        self._times: dict[str, datetime] = {}
        listed = ObjectStore.list

        def dated(store: ObjectStore, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in listed(store, prefix):
                yield replace(info, last_modified=self._times.get(info.key, info.last_modified))

        monkeypatch.setattr(ObjectStore, "list", dated)
        self.storage.client("s3").meta.events.register("before-send.s3", self._sent)

    def put_input(self, *versions: str) -> BatchManifest:
        """The batch's input changes: one chunk a version."""
        manifest = BatchManifest(
            batch="jokes",
            version="-".join(versions),
            request={},
            model_id="m",
            base_model_id="m",
            processor="p",
            parameters={},
            template=None,
            output_format=OutputFormat.parquet,
            rows_key="",
            schema=b"",
            row_count=len(versions),
            records_per_job=1,
            chunks=[ChunkEntry(index, 1, version) for index, version in enumerate(versions)],
        )
        self._put(self.storage.layout.batch_manifest("jokes"), encode(manifest))
        return manifest

    def stage(self, manifest: BatchManifest, index: int, answer: str = "", *, formerly: bool = False) -> None:
        """A chunk's part comes in. `formerly`: as version 0.1 stored it."""
        version = manifest.chunks[index].version
        layout = self.storage.layout
        key = layout.staged_part("jokes", index, version, OutputFormat.parquet)
        if formerly:
            key = layout.former("jokes").staged_part(index, version, OutputFormat.parquet)
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.table({"row": [answer or version]}), file)
        summary = PartSummary(version=version, rows=1, ok=1, error=0, truncated=0, skipped=0, missing=0)
        self._put(key, file.getvalue(), {"summary": msgspec.json.encode(summary).decode()})

    def move_to_former_layout(self) -> None:
        """The table becomes one of version 0.1, with its manifest and the parts that wait inside of its folder."""
        store, layout = self.storage.objects, self.storage.layout
        former = layout.former("jokes")
        moves = {layout.table_manifest("jokes"): former.table_manifest}
        for info in list(store.list(layout.staged_folder("jokes"))):
            moves[info.key] = f"{former.staged_folder}_{info.key.removeprefix(layout.staged_folder('jokes'))}"
        for old, new in moves.items():
            self._times[new] = self._times.get(old, self._clock)
            store.copy(old, new)
        store.delete(list(moves))

    def table_version(self) -> str | None:
        """What the table's manifest says that the table is of; None if there is no manifest."""
        try:
            return self.storage.table_manifest("jokes").version
        except NotMaterializedError:
            return None

    def in_folder(self) -> list[str]:
        """The names of all objects in the table's folder."""
        return [info.key.removeprefix(FOLDER) for info in self.storage.objects.list(FOLDER)]

    def build(self, manifest: BatchManifest, kill_at: int | None = None) -> list[str]:
        """Build the table as its asset does; returns the requests. `kill_at` is the request that never leaves."""
        self.requests, self.kill_at = [], kill_at
        try:
            folder = TableFolder(manifest, self.storage)
            parts = [part for part in folder.find_parts() if part is not None]
            assert len(parts) == len(manifest.chunks)
            folder.put_in_place(parts)
            self._write_manifest(manifest, parts)
            folder.clear_staged(parts)
        finally:
            self.kill_at = None
        return self.requests

    def rows(self) -> list[object]:
        """What somebody reads who knows the folder alone."""
        return [row["row"] for row in read_folder(self.aws, FOLDER)]

    def rows_of_parts(self) -> list[object]:
        """What somebody reads who leaves out names that begin with an underscore."""
        names = [name for name in self.in_folder() if not name.startswith("_")]
        tables = [
            pyarrow.parquet.read_table(io.BytesIO(self.storage.objects.get_bytes(FOLDER + name))) for name in names
        ]
        return [row for table in tables for row in table["row"].to_pylist()]

    def staged(self) -> list[str]:
        """The names of staged parts, those of version 0.1 included."""
        layout = self.storage.layout
        prefixes = (layout.staged_folder("jokes"), layout.former("jokes").staged_folder)
        found = self.storage.objects.list()
        return [info.key.rpartition("/")[2] for info in found if info.key.startswith(prefixes)]

    def _write_manifest(self, manifest: BatchManifest, parts: list[Part]) -> None:
        total = add_summaries([part.summary for part in parts], manifest.version)
        keys = [part.key for part in parts]
        self.storage.write_manifest(
            self.storage.layout.table_manifest("jokes"),
            TableManifest(
                batch="jokes", version=manifest.version, output_format=OutputFormat.parquet, parts=keys, total=total
            ),
        )

    def _put(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        self._clock += timedelta(minutes=1)
        self._times[key] = self._clock
        self.storage.objects.put_bytes(key, data, metadata=metadata)

    def _sent(self, event_name: str, **_: object) -> None:
        self.requests.append(event_name.rpartition(".")[2])
        if self.kill_at is not None and len(self.requests) > self.kill_at:
            raise KilledError


@pytest.fixture
def site(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(local_aws, monkeypatch)


def test_new_parts_are_out_of_sight_until_all_are_there(site: Site) -> None:
    """While parts of a new input come in, readers see the whole old table and nothing else; then the whole new one."""
    old = site.put_input("a", "b", "c")
    for index in range(3):
        site.stage(old, index)
        assert index == 2 or site.staged()
    assert site.in_folder() == []
    site.build(old)
    assert (site.rows(), site.staged()) == (["a", "b", "c"], [])
    new = site.put_input("a", "B", "C", "D")
    for index in (3, 1):
        site.stage(new, index)
        assert site.rows() == ["a", "b", "c"]
        assert TableFolder(new, site.storage).find_parts()[2] is None
    site.stage(new, 2)
    site.build(new)
    assert (site.rows(), site.staged()) == (["a", "B", "C", "D"], [])
    assert site.storage.table_manifest("jokes").version == new.version


@pytest.mark.parametrize("formerly", ["", "table", "table and staged parts"])
def test_a_build_that_is_killed_anywhere_is_finished_by_the_next(site: Site, formerly: str) -> None:
    """Killed before any of its requests, the next build ends right, and no manifest is there too early.

    So it is if the table before is one of version 0.1, and the new parts were stored by it, too.
    """
    former = site.put_input("0", "0", "0")
    for kill_at in range(30):
        if formerly and site.table_version() is not None:
            site.move_to_former_layout()
        new = site.put_input(f"{kill_at}a", f"{kill_at}b")
        for index in range(2):
            site.stage(new, index, formerly="staged" in formerly and index == 1)
        before = [] if site.table_version() is None else site.rows_of_parts()
        try:
            site.build(new, kill_at)
        except KilledError:
            pass
        else:
            break
        told = site.table_version()
        if told is not None:
            assert site.rows_of_parts() == (before if told == former.version else [f"{kill_at}a", f"{kill_at}b"])
        site.build(new)
        assert (site.rows(), site.staged()) == ([f"{kill_at}a", f"{kill_at}b"], [])
        assert site.in_folder() == ["part-00000.parquet", "part-00001.parquet"]
        former = new
    assert kill_at > 8


def test_a_table_of_the_former_layout_is_one_until_it_is_written_again(site: Site) -> None:
    """Its parts are kept, and one of two manifests is there at any time; the next table has its folder alone."""
    batch = site.put_input("a", "b")
    for index in range(2):
        site.stage(batch, index)
    site.build(batch)
    site.move_to_former_layout()
    assert site.in_folder() == ["_manifest.json", "part-00000.parquet", "part-00001.parquet"]
    for kill_at in range(9):
        assert site.table_version() == batch.version
        with contextlib.suppress(KilledError):
            assert "CopyObject" not in site.build(batch, kill_at)
    assert site.in_folder() == ["part-00000.parquet", "part-00001.parquet"]
    assert (site.table_version(), site.rows()) == (batch.version, ["a", "b"])


def test_parts_that_wait_in_the_former_layout_become_the_table(site: Site) -> None:
    """A batch that was under way when the platform was updated goes on: no part is made again."""
    batch = site.put_input("a", "b", "c")
    for index in range(3):
        site.stage(batch, index, formerly=index < 2)
    # It was made again since.
    site.stage(batch, 0, "a again")
    site.build(batch)
    assert (site.rows(), site.staged()) == (["a again", "b", "c"], [])
    assert site.in_folder() == [f"part-0000{index}.parquet" for index in range(3)]


def test_a_manifest_of_the_former_layout_never_describes_a_later_table(site: Site) -> None:
    """Of two manifests, as after a build that ended before it cleared up, the former one is the first to go."""
    old = site.put_input("a")
    site.stage(old, 0)
    site.build(old)
    site.move_to_former_layout()
    new = site.put_input("b")
    site.stage(new, 0)
    site.build(new)
    site.storage.write_manifest(
        site.storage.layout.former("jokes").table_manifest,
        msgspec.structs.replace(site.storage.table_manifest("jokes"), version="former"),
    )
    last = site.put_input("c")
    site.stage(last, 0)
    for kill_at in range(9):
        with contextlib.suppress(KilledError):
            site.build(last, kill_at)
        assert site.table_version() in {None, new.version, last.version}
    assert site.in_folder() == ["part-00000.parquet"]


def test_parts_that_did_not_change_are_not_copied_again(site: Site) -> None:
    """Two listings and one request a part; copies and deletions only for parts that are new."""
    old = site.put_input("a", "b", "c")
    for index in range(3):
        site.stage(old, index)
    site.build(old)
    again = site.build(old)
    # The folder and its state are listed, and in the end what is staged by then.
    assert sorted(again) == ["HeadObject"] * 3 + ["ListObjectsV2"] * 3 + ["PutObject"]
    new = site.put_input("a", "b", "C")
    site.stage(new, 2)
    requests = site.build(new)
    assert requests.count("CopyObject") == 1
    # One a part, and one of the copy itself.
    assert requests.count("HeadObject") == 4
    # The manifest of the former table, and the staged part.
    assert requests.count("DeleteObjects") == 2


def test_a_part_made_again_replaces_the_one_in_place(site: Site) -> None:
    """A staged part of the same version, as after a resubmission, is newer than the one in place."""
    batch = site.put_input("a", "b")
    for index in range(2):
        site.stage(batch, index)
    site.build(batch)
    site.stage(batch, 1, "b again")
    assert site.rows() == ["a", "b"]
    site.build(batch)
    assert site.rows() == ["a", "b again"]


@pytest.mark.parametrize("formerly", [False, True])
def test_what_a_later_input_has_staged_is_kept(site: Site, formerly: bool) -> None:
    """A table of the input before, built when chunks of the next are coming in already, leaves these alone."""
    old = site.put_input("a", "b")
    for index in range(2):
        site.stage(old, index)
    new = site.put_input("A", "b", "C")
    for index in (0, 2):
        site.stage(new, index, formerly=formerly)
    site.build(old)
    assert site.rows_of_parts() == ["a", "b"]
    site.build(new)
    assert (site.rows(), site.staged()) == (["A", "b", "C"], [])


def test_a_part_staged_again_while_the_table_is_written_is_kept(site: Site) -> None:
    """A part that was made again after it was put in place waits for the next table."""
    batch = site.put_input("a")
    site.stage(batch, 0)
    folder = TableFolder(batch, site.storage)
    (part,) = folder.find_parts()
    assert part is not None
    folder.put_in_place([part])
    site.stage(batch, 0, "a again")
    folder.clear_staged([part])
    site.build(batch)
    assert site.rows() == ["a again"]


def test_parts_of_an_input_that_never_became_a_table_are_deleted(site: Site) -> None:
    """Nothing is left of parts that were staged for an input that was replaced before all of them were there."""
    site.stage(site.put_input("a", "b", "c"), 2)
    given_up = site.put_input("A", "b", "c")
    site.stage(given_up, 0)
    last = site.put_input("AA", "b")
    for index in range(2):
        site.stage(last, index)
    site.build(last)
    assert (site.rows(), site.staged()) == (["AA", "b"], [])


def test_parts_that_the_table_no_longer_has_are_deleted(site: Site) -> None:
    """After an input with fewer chunks readers see its rows alone, and a manifest that says so."""
    old = site.put_input("a", "b", "c")
    for index in range(3):
        site.stage(old, index)
    site.build(old)
    new = site.put_input("a", "b")
    site.build(new)
    assert site.rows() == ["a", "b"]
    assert site.storage.table_manifest("jokes").version == new.version


def test_parts_in_place_keep_their_account_and_their_key(site: Site) -> None:
    """The summary travels with the copy, and the copy is encrypted with the storage's KMS key."""
    site.storage = site.storage.model_copy(update={"kms_key_id": "alias/batch"})
    batch = site.put_input("a")
    site.stage(batch, 0)
    site.build(batch)
    key = site.storage.layout.result_part("jokes", 0, OutputFormat.parquet)
    assert site.storage.part_summary(key) == PartSummary(
        version="a", rows=1, ok=1, error=0, truncated=0, skipped=0, missing=0
    )
    head = site.aws.client("s3").head_object(Bucket=BUCKET, Key=key)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/batch")
