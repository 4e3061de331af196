import io
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.storage import objects
from bedrock_batch_assets.storage.objects import (
    BucketNotFoundError,
    ObjectNotFoundError,
    ObjectStore,
    parse_s3_uri,
)
from bedrock_batch_assets.storage.range_reader import RangeReader
from bedrock_batch_assets.storage.s3_errors import ObjectChangedError
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


@pytest.fixture
def store(local_aws: LocalAws) -> ObjectStore:
    return ObjectStore(local_aws.client("s3"), local_aws.create_bucket("data"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://data/in/t.csv", ("data", "in/t.csv")),
        ("s3://data", ("data", "")),
        ("s3://data/", ("data", "")),
        ("s3://my.bucket-1/a b/ü.csv", ("my.bucket-1", "a b/ü.csv")),
    ],
)
def test_uris_are_split(uri: str, expected: tuple[str, str]) -> None:
    """Bucket and key are taken as they are; the key may be empty."""
    assert parse_s3_uri(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "data/in.csv",
        "/in.csv",
        "s3:/data/in",
        "https://data/in",
        "s3://",
        "s3:///in",
        "s3://Data/in",
        "s3://a/in",
        "s3://a..b/in",
        "s3://data/" + "ü" * 513,
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    """What cannot be an object's URI is a request error."""
    with pytest.raises(RequestError):
        parse_s3_uri(uri)


def test_what_is_written_is_read_back(store: ObjectStore) -> None:
    """Bytes, JSON and metadata survive; HEAD tells size and metadata."""
    store.put_bytes("a/b.bin", b"\x00\xff", content_type="application/x", metadata={"version": "1"})
    store.put_json("a/c.json", {"ü": [1, None]}, metadata={"kind": "manifest"})
    assert store.get_bytes("a/b.bin") == b"\x00\xff"
    assert store.get_json("a/c.json") == {"ü": [1, None]}
    head = store.head("a/b.bin")
    assert head is not None
    assert (head.size, head.metadata) == (2, {"version": "1"})
    assert store.exists("a/c.json")
    assert not store.exists("a/d.json")


@pytest.mark.parametrize("copy_part_bytes", [6 << 20, 256 << 20])
def test_uploads_and_copies_keep_bytes_and_metadata(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_part_bytes: int
) -> None:
    """A file over the multipart threshold arrives whole, and its copy too, in one request or in several."""
    monkeypatch.setattr(objects, "_COPY_PART_BYTES", copy_part_bytes)
    data = bytes(range(256)) * 40_000
    (tmp_path / "file").write_bytes(data)
    store.upload_file(tmp_path / "file", "big", metadata={"rows": "7"})
    store.copy("big", "copied")
    head = store.head("copied")
    assert head is not None
    assert (head.size, head.metadata) == (len(data), {"rows": "7"})
    assert store.get_bytes("copied") == data
    with pytest.raises(ObjectNotFoundError, match="s3://data/nothing"):
        store.copy("nothing", "copied")


def test_listing_and_deleting_go_past_one_page(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys than one request takes are all listed, in order, and all deleted, and nothing else is."""
    monkeypatch.setattr(objects, "_KEYS_PER_REQUEST", 3)
    for index in range(10):
        store.put_bytes(f"many/{index}", b"x")
    store.put_bytes("other", b"x")
    assert [item.key for item in store.list("many/")] == [f"many/{index}" for index in range(10)]
    assert store.delete_prefix("many/") == 10
    assert [item.key for item in store.list()] == ["other"]
    with pytest.raises(ValueError, match="whole bucket"):
        store.delete_prefix("")


def test_missing_things_are_told_apart(store: ObjectStore) -> None:
    """A missing object and a missing bucket are two errors, even if S3 answers 404 to both."""
    with pytest.raises(ObjectNotFoundError, match="s3://data/nothing"):
        store.get_bytes("nothing")
    with pytest.raises(ObjectNotFoundError, match="s3://data/nothing"):
        store.open_reader("nothing")
    elsewhere = ObjectStore(store.client, "nowhere")
    with pytest.raises(BucketNotFoundError, match="'nowhere'"):
        elsewhere.head("nothing")
    with pytest.raises(BucketNotFoundError, match="'nowhere'"):
        list(elsewhere.list())
    with pytest.raises(ConfigurationError, match="s3:PutObject"):
        elsewhere.put_bytes("key", b"")


def test_writes_are_encrypted_with_the_key(store: ObjectStore, tmp_path: Path) -> None:
    """Every way of writing names the KMS key."""
    (tmp_path / "file").write_bytes(b"x")
    encrypted = ObjectStore(store.client, "data", kms_key_id="alias/batch")
    encrypted.put_bytes("put", b"x")
    encrypted.put_json("json", {})
    encrypted.upload_file(tmp_path / "file", "upload")
    encrypted.copy("put", "copy")
    for key in ("put", "json", "upload", "copy"):
        head = store.client.head_object(Bucket="data", Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/batch")


def test_a_reader_seeks_and_reads_like_a_file(store: ObjectStore) -> None:
    """Any sequence of seeks and reads gives what a local file gives."""
    data = bytes(range(256)) * 20
    store.put_bytes("key", data)
    file = io.BytesIO(data)
    with store.open_reader("key", read_ahead=100) as reader:
        for offset, whence, size in [(0, 0, 10), (-7, 2, 100), (300, 0, 700), (-50, 1, 5), (6_000, 0, 3), (1, 0, 0)]:
            assert reader.seek(offset, whence) == file.seek(offset, whence)
            assert reader.read(size) == file.read(size)
        reader.seek(10)
        assert reader.read() == data[10:]


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001, 12_345])
def test_blocks_are_the_object_from_front_to_back(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It is read whole, whatever its size, also if blocks are fetched at the same time."""
    monkeypatch.setattr(objects, "_BLOCK_BYTES", 1_000)
    data = bytes(number % 251 for number in range(size))
    store.put_bytes("a", data)
    blocks = list(store.blocks("a"))
    assert b"".join(blocks) == data
    assert all(len(block) == 1_000 for block in blocks[:-1])
    with pytest.raises(ObjectNotFoundError):
        store.blocks("b")


def test_a_replaced_object_is_noticed(store: ObjectStore) -> None:
    """Bytes of two versions are never mixed."""
    store.put_bytes("key", b"a" * 1_000)
    with store.open_reader("key", read_ahead=10) as reader:
        assert reader.read(5) == b"aaaaa"
        store.put_bytes("key", b"b" * 1_000)
        with pytest.raises(ObjectChangedError, match="s3://data/key was replaced"):
            reader.read(500)


class _BrokenOnce:
    """A client whose first body ends too early."""

    def __init__(self, client: Any, breaks: int) -> None:
        self._client = client
        self.breaks = breaks

    def head_object(self, **arguments: Any) -> Any:
        return self._client.head_object(**arguments)

    def get_object(self, **arguments: Any) -> Any:
        answer = self._client.get_object(**arguments)
        if self.breaks:
            self.breaks -= 1
            data = answer["Body"].read()
            answer["Body"] = StreamingBody(io.BytesIO(data[: len(data) // 2]), len(data))
        return answer


def test_a_body_that_breaks_off_is_asked_for_again(store: ObjectStore) -> None:
    """If the connection is lost, reading goes on from there, a few times."""
    data = bytes(range(256)) * 4
    store.put_bytes("key", data)
    assert RangeReader(_BrokenOnce(store.client, 3), "data", "key").read() == data  # type: ignore[arg-type]
    with pytest.raises(Exception, match="read, but total bytes expected"):
        RangeReader(_BrokenOnce(store.client, 4), "data", "key").read()  # type: ignore[arg-type]
