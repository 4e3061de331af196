import io
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from boto3.s3.transfer import TransferConfig

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws, refused


def test_listing_pages_by_name(local_aws: LocalAws) -> None:
    """All keys under a prefix come once, in order, over pages of any size."""
    local_aws.create_bucket("data")
    s3 = local_aws.client("s3")
    keys = sorted([f"in/{i:03d}" for i in range(25)] + ["in/a b+c&d.txt", "in/ü"])
    for key in [*keys, "other/x", "in"]:
        s3.put_object(Bucket="data", Key=key, Body=key.encode())
    for size in (1, 7, 1000):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket="data", Prefix="in/", PaginationConfig={"PageSize": size}
        )
        items = [item for page in pages for item in page.get("Contents", [])]
        assert [item["Key"] for item in items] == keys
    assert items[0]["Size"] == len(keys[0].encode())
    assert items[0]["ETag"] == s3.head_object(Bucket="data", Key=keys[0])["ETag"]
    after = s3.list_objects_v2(Bucket="data", Prefix="in/", StartAfter="in/023")["Contents"]
    assert [item["Key"] for item in after] == [key for key in keys if key > "in/023"]


def test_listing_by_folder(local_aws: LocalAws) -> None:
    """With a delimiter folders are given once, also over pages."""
    local_aws.create_bucket("data")
    s3 = local_aws.client("s3")
    for key in ("a/1", "a/2", "b/1", "c", "d/1/2"):
        s3.put_object(Bucket="data", Key=key, Body=b"")
    names: list[str] = []
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket="data", Delimiter="/", PaginationConfig={"PageSize": 2}
    ):
        names += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        names += [item["Key"] for item in page.get("Contents", [])]
    assert sorted(names) == ["a/", "b/", "c", "d/"]


def test_listing_an_empty_prefix_and_a_missing_bucket(local_aws: LocalAws) -> None:
    """Nothing there is an empty listing; no bucket is NoSuchBucket; a deleted object is gone."""
    local_aws.create_bucket("data")
    s3 = local_aws.client("s3")
    s3.put_object(Bucket="data", Key="in/x", Body=b"")
    s3.delete_object(Bucket="data", Key="in/x")
    answer = s3.list_objects_v2(Bucket="data", Prefix="in/")
    assert (answer["KeyCount"], answer["IsTruncated"], "Contents" in answer) == (0, False, False)
    with refused("NoSuchBucket", status=404):
        s3.list_objects_v2(Bucket="missing")


def test_deleted_versions_are_not_listed(local_aws: LocalAws) -> None:
    """In a bucket with versions a deleted object is not listed."""
    local_aws.create_bucket("data")
    s3 = local_aws.client("s3")
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    for key in ("a", "b"):
        s3.put_object(Bucket="data", Key=key, Body=b"1")
    s3.delete_object(Bucket="data", Key="a")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="data")["Contents"]] == ["b"]


@pytest.mark.parametrize("multipart", [False, True])
def test_large_objects(local_aws: LocalAws, multipart: bool) -> None:
    """Forty megabytes go up and come back unchanged, in one piece or in parts."""
    local_aws.create_bucket("data")
    body = os.urandom(1024) * 40_000
    config = TransferConfig(multipart_threshold=8_000_000 if multipart else 100_000_000, multipart_chunksize=8_000_000)
    s3 = local_aws.client("s3")
    s3.upload_fileobj(io.BytesIO(body), "data", "big", Config=config)
    assert s3.head_object(Bucket="data", Key="big")["ContentLength"] == len(body)
    assert s3.get_object(Bucket="data", Key="big")["Body"].read() == body
    assert s3.get_object(Bucket="data", Key="big", Range="bytes=1000-1999")["Body"].read() == body[1000:2000]


def test_many_clients_at_once(local_aws: LocalAws) -> None:
    """Threads that write, read and list the same bucket do not disturb each other."""
    local_aws.create_bucket("data")
    s3 = local_aws.client("s3")

    def work(index: int) -> int:
        for number in range(3):
            s3.put_object(Bucket="data", Key=f"{index}/{number}", Body=b"x" * number)
            s3.list_objects_v2(Bucket="data")
            s3.list_objects(Bucket="data")
        return len(s3.list_objects_v2(Bucket="data", Prefix=f"{index}/")["Contents"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [3] * 8


def test_a_client_that_dies_while_it_sends_has_written_nothing(local_aws: LocalAws) -> None:
    """A request whose body breaks off takes no effect: neither a short object nor an empty one."""
    local_aws.create_bucket("data")
    host, _, port = local_aws.endpoint_url.removeprefix("http://").partition(":")
    for sent in (b"", b"half of"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"PUT /data/key HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 20\r\n\r\n"
            connection.sendall(head.encode() + sent)
            connection.shutdown(socket.SHUT_WR)
            # The end of the answer: by then the request has been dealt with.
            assert connection.recv(1000) == b""
    assert local_aws.client("s3").list_objects_v2(Bucket="data")["KeyCount"] == 0
