"""The account behind the stand-in: its buckets, objects and roles, as moto keeps them."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from moto.iam.models import IAMBackend, iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.exceptions import BucketAlreadyExists, MissingBucket
from moto.s3.models import FakeKey, S3Backend, s3_backends

from bedrock_batch_assets.local_aws import listing
from bedrock_batch_assets.local_aws.http_messages import Answer

_LISTING_PARAMETERS = {
    "list-type", "prefix", "delimiter", "continuation-token", "start-after", "max-keys", "encoding-type", "fetch-owner",
}  # fmt: skip
# The account that moto puts every caller into.
ACCOUNT_ID = "123456789012"
BEDROCK_PRINCIPAL = "bedrock.amazonaws.com"
# Who may take on a role that this module makes (user guide, "Create a custom service role for batch inference").
TRUST_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": BEDROCK_PRINCIPAL}, "Action": "sts:AssumeRole"}],
}


@dataclass(frozen=True, slots=True)
class InputObject:
    """One object of a job's input: its key, and its size in bytes."""

    key: str
    size: int


class Account:
    """Reads and writes moto's S3 and IAM from inside the process.

    moto's backends are plain dictionaries: one thread must not list a bucket while another one writes to it. All
    access, by requests too, therefore goes under `lock`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()

    @property
    def _s3(self) -> S3Backend:
        return s3_backends[ACCOUNT_ID]["aws"]

    @property
    def _iam(self) -> IAMBackend:
        return iam_backends[ACCOUNT_ID]["aws"]

    def reset(self) -> None:
        """Forget everything that moto keeps."""
        with self.lock:
            moto_api_backend.reset()

    def create_bucket(self, name: str, region: str) -> None:
        """Make a bucket, unless it is there."""
        with self.lock:
            try:
                self._s3.create_bucket(name, region)
            except BucketAlreadyExists:
                return

    def create_role(self, name: str) -> str:
        """Make a role that Bedrock may take on, unless it is there, and return its ARN."""
        arn = f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
        with self.lock:
            if self.role_trusts_bedrock(arn) is None:
                self._iam.create_role(name, json.dumps(TRUST_POLICY), "/", None, "", [], "3600")
        return arn

    def role_trusts_bedrock(self, arn: str) -> bool | None:
        """Whether Bedrock may take on the role; None if there is no such role."""
        with self.lock:
            role = next((role for role in self._iam.get_roles() if role.arn == arn), None)
            if role is None:
                return None
            return BEDROCK_PRINCIPAL in unquote(str(role.assume_role_policy_document))

    def has_bucket(self, name: str) -> bool:
        """Whether the bucket exists."""
        with self.lock:
            try:
                self._s3.get_bucket(name)
            except MissingBucket:
                return False
            return True

    def input_objects(self, bucket: str, key: str) -> list[InputObject]:
        """The object of this key, or else all objects under it as a folder, in sub-folders too, by key."""
        with self.lock:
            keys: Any = self._s3.get_bucket(bucket).keys
            if key and not key.endswith("/") and isinstance(keys.get(key), FakeKey):
                return [InputObject(key, int(keys[key].contentsize))]
            folder = f"{key.rstrip('/')}/" if key else ""
            # By its names first: moto's own iteration is slow, and a bucket may hold many other objects.
            items = [(name, keys[name]) for name in dict.keys(keys) if name.startswith(folder)]
            found = [InputObject(name, int(item.contentsize)) for name, item in items if isinstance(item, FakeKey)]
        return sorted(found, key=lambda item: item.key)

    def read(self, bucket: str, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            KeyError: There is no such object.
        """
        with self.lock:
            item = self._s3.get_object(bucket, key)
            if item is None:
                raise KeyError(f"s3://{bucket}/{key}")
            value: bytes = item.value
            return value

    def contents(self) -> dict[str, tuple[str, dict[str, tuple[bytes, dict[str, str]]]]]:
        """Each bucket's Region and objects with their metadata, current versions only."""
        with self.lock:
            return {
                name: (
                    str(bucket.region_name),
                    {
                        key: (item.value, dict(item.metadata))
                        for key, item in bucket.keys.items()
                        if isinstance(item, FakeKey)
                    },
                )
                for name, bucket in self._s3.buckets.items()
            }

    def list_objects(self, bucket: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to ListObjectsV2, or None where moto has to answer: no such bucket, or a special request."""
        if not query.keys() <= _LISTING_PARAMETERS:
            return None
        with self.lock:
            if not self.has_bucket(bucket):
                return None
            return listing.list_objects(bucket, self._s3.get_bucket(bucket).keys, query)

    def write(self, bucket: str, key: str, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object; metadata are headers as S3 returns them (`x-amz-meta-…`, `Content-Type`)."""
        with self.lock:
            item = self._s3.put_object(bucket, key, value)
            if metadata:
                item.set_metadata(dict(metadata))


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
