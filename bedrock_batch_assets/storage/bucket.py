"""The bucket as a resource: manifests and paths on top of plain object access."""

import hashlib
from typing import TYPE_CHECKING, TypeVar

import msgspec
from pydantic import Field

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE, checked_bucket
from bedrock_batch_assets.storage.layout import Layout
from bedrock_batch_assets.storage.manifests import (
    BatchManifest,
    ChunkManifest,
    JobCounts,
    JobOutput,
    OutputsManifest,
    PartSummary,
    TableManifest,
    encode,
)

if TYPE_CHECKING:
    from bedrock_batch_assets.storage.objects import ObjectStore

M = TypeVar("M", bound=msgspec.Struct)


class NotMaterializedError(BatchError):
    """An upstream asset of this partition has not been materialized yet."""


class BatchBucket(AwsClients, frozen=True):
    """The S3 bucket that holds inputs, records, outputs and results of all batches."""

    bucket: str = Field(default="", description=f"Bucket name ({BUCKET_VARIABLE}).")
    prefix: str = Field(default="", description="Folder in the bucket, for a bucket shared with others.")
    kms_key_id: str | None = Field(default=None, description="KMS key that encrypts everything written here.")

    @property
    def layout(self) -> Layout:
        """The keys in the bucket."""
        prefix = self.prefix.strip("/")
        return Layout(f"{prefix}/" if prefix else "")

    @property
    def objects(self) -> "ObjectStore":
        """The objects in the bucket.

        Raises:
            ConfigurationError: No bucket is configured, or something else than a name.
        """
        from bedrock_batch_assets.storage.objects import ObjectStore

        bucket = checked_bucket(self.bucket)
        return ObjectStore(self.client("s3"), bucket, kms_key_id=self.kms_key_id)

    def uri(self, key: str) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def batch_manifest(self, batch: str) -> BatchManifest:
        """The batch as it is now.

        Raises:
            NotMaterializedError: `input_dataset` has not been materialized for it.
        """
        return self._read(self.layout.batch_manifest(batch), BatchManifest, f"input_dataset for batch {batch}")

    def find_batch_manifest(self, batch: str) -> BatchManifest | None:
        """The batch as it is now, or None if there is none."""
        try:
            return self.batch_manifest(batch)
        except NotMaterializedError:
            return None

    def chunk_manifest(self, chunk: str) -> ChunkManifest:
        """What was rendered for the chunk.

        Raises:
            NotMaterializedError: `jsonl_chunks` has not been materialized for it.
        """
        return self._read(self.layout.chunk_manifest(chunk), ChunkManifest, f"jsonl_chunks for chunk {chunk}")

    def find_chunk_manifest(self, chunk: str) -> ChunkManifest | None:
        """What was rendered for the chunk, or None if nothing was."""
        try:
            return self.chunk_manifest(chunk)
        except NotMaterializedError:
            return None

    def outputs_manifest(self, chunk: str) -> OutputsManifest:
        """Where the chunk's answers are.

        Raises:
            NotMaterializedError: `batch_job_outputs` has not been materialized for it.
        """
        return self._read(self.layout.outputs_manifest(chunk), OutputsManifest, f"batch_job_outputs for chunk {chunk}")

    def table_manifest(self, batch: str) -> TableManifest:
        """The finished result table, also as an earlier version left it.

        Raises:
            NotMaterializedError: `result_table` has not been materialized for it.
        """
        asset = f"result_table for batch {batch}"
        try:
            return self._read(self.layout.table_manifest(batch), TableManifest, asset)
        except NotMaterializedError as error:
            try:
                return self._read(self.layout.former(batch).table_manifest, TableManifest, asset)
            except NotMaterializedError:
                # An error names the present place, not that of earlier versions.
                raise error from None

    def output_files(self, prefix: str) -> list[str]:
        """The keys of the output files below `s3://bucket/…/`, in order. The manifest is not one of them."""
        from bedrock_batch_assets.storage.objects import parse_s3_uri

        _, key = parse_s3_uri(prefix)
        return sorted(info.key for info in self.objects.list(key) if info.key.endswith(".jsonl.out"))

    def job_tokens(self, outputs: list[JobOutput]) -> dict[str, int]:
        """Tokens that the jobs' own manifests say were used; on-demand passes have none."""
        total = {"input_tokens": 0, "output_tokens": 0}
        for output in outputs:
            found = self.job_counts(output) or JobCounts()
            total["input_tokens"] += found.input_token_count or 0
            total["output_tokens"] += found.output_token_count or 0
        return total

    def job_counts(self, output: JobOutput) -> JobCounts | None:
        """What the job's own manifest counts; None if there is none that can be read, as for on-demand passes."""
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError, parse_s3_uri

        if output.arn is None:
            return None
        try:
            found = self.objects.get_bytes(parse_s3_uri(output.prefix)[1] + "manifest.json.out")
            return msgspec.json.decode(found, type=JobCounts)
        except (ObjectNotFoundError, msgspec.DecodeError):
            return None

    def write_manifest(self, key: str, manifest: msgspec.Struct) -> None:
        """Store a manifest at `key`."""
        self.objects.put_bytes(key, encode(manifest), content_type="application/json")

    def part_summary(self, key: str) -> PartSummary | None:
        """The row account that travels with a part, or None if there is no such part."""
        info = self.objects.head(key)
        text = (info.metadata or {}).get("summary") if info is not None else None
        return msgspec.json.decode(text, type=PartSummary) if text else None

    def _read(self, key: str, kind: type[M], asset: str) -> M:
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        try:
            return msgspec.json.decode(self.objects.get_bytes(key), type=kind)
        except ObjectNotFoundError as error:
            raise NotMaterializedError(f"Materialize {asset} first: {self.uri(key)} is not there.") from error


def version_of(*parts: object) -> str:
    """A digest of JSON-like values, 16 hex digits: equal if, and only if, the values are."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]
