"""Objects in one S3 bucket: a thin layer over a boto3 client."""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bedrock_batch_assets.errors import AccessDeniedError, RequestError
from bedrock_batch_assets.storage.range_reader import RangeReader
from bedrock_batch_assets.storage.s3_errors import (
    BucketNotFoundError,
    ObjectChangedError,
    ObjectNotFoundError,
    s3_errors_explained,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BucketNotFoundError", "ObjectInfo", "ObjectNotFoundError", "ObjectStore", "parse_s3_uri"]

# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Amazon S3 User Guide, "Naming Amazon S3 objects": at most 1,024 bytes of UTF-8.
_MAX_KEY_BYTES = 1_024
# ListObjectsV2 gives at most 1,000 keys, and DeleteObjects takes so many (Amazon S3 API Reference).
_KEYS_PER_REQUEST = 1_000
# Large enough that S3's first answer (tens of milliseconds) is not felt, and small enough to have several in memory.
_BLOCK_BYTES = 4 << 20
# Copies are made in parts of this size: S3 takes up to 5 GB a request (Amazon S3 API Reference, UploadPartCopy), and
# answers when it is done, so a part is to take seconds: boto3 waits for 60.
_COPY_PART_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object: `size` in bytes, `metadata` only if it came from a HEAD request."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """The bucket and the key (or prefix, possibly empty) of `s3://bucket/key`.

    Raises:
        RequestError: It is not such a URI, the bucket's name breaks the naming rules, or the key is too long.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise RequestError(f"{uri!r} is not an S3 URI: write it as 's3://bucket/key'.")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise RequestError(
            f"{uri!r} names the bucket {bucket!r}, which cannot exist: a bucket's name has 3 to 63 lower-case letters, "
            "digits, dots and dashes."
        )
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise RequestError(f"The key in {uri[:80]!r}... is longer than {_MAX_KEY_BYTES} bytes, the most that S3 takes.")
    return bucket, key


@dataclass(frozen=True)
class ObjectStore:
    """One bucket. Every write is encrypted with `kms_key_id` if that is given, else by the bucket's default.

    All methods raise ConfigurationError (see `storage.s3_errors`) if access is denied, the bucket is missing,
    credentials are missing or wrong, or S3 cannot be reached.
    """

    client: "S3Client"
    bucket: str
    kms_key_id: str | None = None

    def uri(self, key: str = "") -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def put_bytes(
        self, key: str, data: bytes, *, content_type: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write an object of at most 5 GB in one request; it appears whole or not at all."""
        with s3_errors_explained("s3:PutObject", self.bucket, key):
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=data, **self._write_arguments(content_type, metadata)
            )

    def put_new(self, key: str, data: bytes, *, content_type: str | None = None) -> bool:
        """Write an object if there is none. False, and nothing written, if there is one already.

        S3 decides (`If-None-Match: *`, Amazon S3 User Guide, "Conditional writes"), so of two writers one succeeds.
        False can also mean that this very write is there already, if its answer was lost and boto3 repeated it.
        """
        return self._put_if(key, data, content_type, IfNoneMatch="*")

    def put_over(self, key: str, data: bytes, etag: str, *, content_type: str | None = None) -> bool:
        """Replace an object, if it is still the one with this ETag. False, and nothing written, if it is not.

        As with `put_new`, S3 decides (`If-Match`), and False can mean that this very write is there already.

        Raises:
            ObjectNotFoundError: There is no such object any more.
        """
        return self._put_if(key, data, content_type, IfMatch=etag)

    def _put_if(self, key: str, data: bytes, content_type: str | None, **condition: str) -> bool:
        arguments: dict[str, Any] = {**condition, **self._write_arguments(content_type, None)}
        try:
            with s3_errors_explained("s3:PutObject", self.bucket, key):
                self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **arguments)
        except ObjectChangedError:
            return False
        except ClientError as error:
            # Another conditional write of the same key is under way.
            if error.response["Error"]["Code"] == "ConditionalRequestConflict":
                return False
            raise
        return True

    def put_json(self, key: str, value: Any, *, metadata: Mapping[str, str] | None = None) -> None:
        """Write `value` as indented JSON, keys in the order given."""
        text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
        self.put_bytes(key, text.encode(), content_type="application/json", metadata=metadata)

    def upload_file(
        self,
        path: Path,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Upload a local file of any size: in parts, in parallel, beyond boto3's threshold of 8 MB."""
        with s3_errors_explained("s3:PutObject", self.bucket, key):
            self.client.upload_file(
                str(path), self.bucket, key, ExtraArgs=self._write_arguments(content_type, metadata)
            )

    def get_bytes(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFoundError: There is no such object.
        """
        return self.get_version(key)[0]

    def get_version(self, key: str) -> tuple[bytes, str]:
        """The whole object and its ETag, for `put_over`.

        Raises:
            ObjectNotFoundError: There is no such object.
        """
        with s3_errors_explained("s3:GetObject", self.bucket, key):
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), answer["ETag"]

    def get_json(self, key: str) -> Any:
        """The whole object, parsed.

        Raises:
            ObjectNotFoundError: There is no such object.
            ValueError: It is not JSON.
        """
        return json.loads(self.get_bytes(key))

    def open_reader(self, found: str | ObjectInfo, *, read_ahead: int = 1 << 20) -> io.BufferedReader:
        """An object as a seekable binary file that fetches ranges, at least `read_ahead` bytes at a time.

        Args:
            found: Its key; or what was found under it, and then that version of it is read, however often it is opened.
            read_ahead: In bytes.

        Raises:
            ObjectNotFoundError: There is no such object.
        """
        key, version = (found, None) if isinstance(found, str) else (found.key, (found.size, found.etag))
        return io.BufferedReader(RangeReader(self.client, self.bucket, key, version), buffer_size=read_ahead)

    def blocks(self, key: str) -> Iterator[bytes]:
        """The object from front to back, with the next blocks on their way while the caller works on one.

        Raises:
            ObjectNotFoundError: There is no such object.
        """
        from bedrock_batch_assets.records.prefetch import map_prefetched

        reader = RangeReader(self.client, self.bucket, key)
        starts = range(0, reader.size, _BLOCK_BYTES)
        return map_prefetched(lambda start: reader.read_range(start, _BLOCK_BYTES), starts)

    def head(self, key: str) -> ObjectInfo | None:
        """What S3 knows about the object, user metadata included; None if there is none."""
        try:
            with s3_errors_explained("s3:GetObject", self.bucket, key):
                answer = self.client.head_object(Bucket=self.bucket, Key=key)
        except ObjectNotFoundError:
            self.check_bucket()
            return None
        return ObjectInfo(
            key, answer["ContentLength"], answer["ETag"], answer["LastModified"], dict(answer.get("Metadata", {}))
        )

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.head(key) is not None

    def check_bucket(self) -> str | None:
        """Ask for the bucket itself: a HEAD on an object says 404 for a missing bucket too.

        Returns:
            The bucket's Region; None if S3 does not say it.

        Raises:
            BucketNotFoundError: There is no such bucket.
        """
        try:
            with s3_errors_explained("s3:ListBucket", self.bucket):
                return self.client.head_bucket(Bucket=self.bucket).get("BucketRegion")
        except ObjectNotFoundError as error:
            raise BucketNotFoundError(f"The bucket {self.bucket!r} does not exist: check its name.") from error
        except AccessDeniedError:
            # The bucket exists, and access to its objects may be allowed all the same.
            return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object under a prefix, sorted by key (in UTF-8), a thousand a request."""
        with s3_errors_explained("s3:ListBucket", self.bucket, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": _KEYS_PER_REQUEST}
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectInfo(item["Key"], item["Size"], item["ETag"], item["LastModified"])

    def copy(self, source_key: str, key: str) -> None:
        """Copy inside the bucket, on S3's side, metadata included; in parts if it is large.

        Raises:
            ObjectNotFoundError: There is no object under `source_key`.
        """
        from boto3.s3.transfer import TransferConfig

        with s3_errors_explained("s3:GetObject and s3:PutObject", self.bucket, source_key):
            self.client.copy(
                {"Bucket": self.bucket, "Key": source_key},
                self.bucket,
                key,
                ExtraArgs=self._encryption_arguments(),
                Config=TransferConfig(multipart_chunksize=_COPY_PART_BYTES),
            )

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object under a prefix and tell how many there were.

        Raises:
            ValueError: The prefix is empty, which would empty the bucket.
        """
        if not prefix:
            raise ValueError("an empty prefix would delete the whole bucket")
        keys = [info.key for info in self.list(prefix)]
        self.delete(keys)
        return len(keys)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, a thousand a request. One that is not there is no error."""
        for start in range(0, len(keys), _KEYS_PER_REQUEST):
            some = keys[start : start + _KEYS_PER_REQUEST]
            with s3_errors_explained("s3:DeleteObject", self.bucket, some[0]):
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
                # A refused key does not fail the request; the answer lists it.
                for failure in answer.get("Errors", []):
                    raise ClientError(
                        {"Error": {"Code": failure.get("Code", ""), "Message": failure.get("Message", "")}},
                        "DeleteObjects",
                    )

    def _encryption_arguments(self) -> dict[str, Any]:
        if self.kms_key_id is None:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id}

    def _write_arguments(self, content_type: str | None, metadata: Mapping[str, str] | None) -> dict[str, Any]:
        arguments = self._encryption_arguments()
        if content_type is not None:
            arguments["ContentType"] = content_type
        if metadata:
            arguments["Metadata"] = dict(metadata)
        return arguments
