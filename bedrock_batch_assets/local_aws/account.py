"""The account behind the stand-in: its buckets, objects and roles, as moto keeps them."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from bedrock_batch_assets.local_aws import listing, moto_internals
from bedrock_batch_assets.local_aws.http_messages import Answer
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID

_LISTING_PARAMETERS = {
    "list-type", "prefix", "delimiter", "continuation-token", "start-after", "max-keys", "encoding-type", "fetch-owner",
}  # fmt: skip
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

    def reset(self) -> None:
        """Forget everything that moto keeps."""
        with self.lock:
            moto_internals.reset()

    def create_bucket(self, name: str, region: str) -> None:
        """Make a bucket, unless it is there."""
        with self.lock:
            moto_internals.create_bucket(name, region)

    def create_role(self, name: str) -> str:
        """Make a role that Bedrock may take on, unless it is there, and return its ARN."""
        arn = f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
        with self.lock:
            if self.role_trusts_bedrock(arn) is None:
                moto_internals.create_role(name, json.dumps(TRUST_POLICY))
        return arn

    def role_trusts_bedrock(self, arn: str) -> bool | None:
        """Whether Bedrock may take on the role; None if there is no such role."""
        with self.lock:
            policy = moto_internals.trust_policy(arn)
        return None if policy is None else BEDROCK_PRINCIPAL in policy

    def role_policies(self, arn: str) -> list[str]:
        """The policies of a role, as JSON."""
        with self.lock:
            return moto_internals.role_policies(arn)

    def has_bucket(self, name: str) -> bool:
        """Whether the bucket exists."""
        with self.lock:
            return moto_internals.has_bucket(name)

    def input_objects(self, bucket: str, key: str) -> list[InputObject]:
        """The object of this key, or else all objects under it as a folder, in sub-folders too, by key."""
        with self.lock:
            if key and not key.endswith("/"):
                size = moto_internals.object_size(bucket, key)
                if size is not None:
                    return [InputObject(key, size)]
            folder = f"{key.rstrip('/')}/" if key else ""
            found = [InputObject(name, size) for name, size in moto_internals.object_sizes(bucket, folder)]
        return sorted(found, key=lambda item: item.key)

    def read(self, bucket: str, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            KeyError: There is no such object.
        """
        with self.lock:
            value = moto_internals.read_object(bucket, key)
        if value is None:
            raise KeyError(f"s3://{bucket}/{key}")
        return value

    def contents(self) -> dict[str, tuple[str, dict[str, tuple[bytes, dict[str, str]]]]]:
        """Each bucket's Region and objects with their metadata, current versions only."""
        with self.lock:
            return {name: (region, moto_internals.contents(name)) for name, region in moto_internals.buckets()}

    def list_objects(self, bucket: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to ListObjectsV2, or None if moto has to answer: no such bucket, or a special request."""
        if not query.keys() <= _LISTING_PARAMETERS:
            return None
        with self.lock:
            if not self.has_bucket(bucket):
                return None
            return listing.list_objects(bucket, moto_internals.versions(bucket), query)

    def write(self, bucket: str, key: str, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object; metadata are headers as S3 returns them (`x-amz-meta-…`, `Content-Type`)."""
        with self.lock:
            moto_internals.write_object(bucket, key, value, metadata)


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
