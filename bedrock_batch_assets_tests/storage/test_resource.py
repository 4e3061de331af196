"""What is read of a job's outputs: its files, and its own counts."""

import pytest

from bedrock_batch_assets.storage.manifests import JobCounts, JobOutput
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

PREFIX = "batch_outputs_json/demo/demo-00000/abc/"
OUTPUT = JobOutput(name="demo", prefix=f"s3://data/{PREFIX}", status="Completed", arn="arn")


@pytest.fixture
def storage(local_aws: LocalAws) -> BatchStorage:
    return BatchStorage(bucket=local_aws.create_bucket("data"))


def test_every_output_file_is_read_and_nothing_else(storage: BatchStorage) -> None:
    """A job may write several files, also in folders; its manifest and other jobs' files are none of them."""
    names = ["a.jsonl.out", "b.jsonl.out", "c/d.jsonl.out"]
    for name in [*names, "manifest.json.out", "../abcd/e.jsonl.out", "a.jsonl"]:
        storage.objects.put_bytes(f"{PREFIX}{name}" if ".." not in name else f"{PREFIX[:-1]}d/e.jsonl.out", b"")
    assert storage.output_files(OUTPUT.prefix) == [f"{PREFIX}{name}" for name in names]


@pytest.mark.parametrize(
    ("manifest", "counts"),
    [
        (b'{"processedRecordCount": 7, "inputTokenCount": null}', JobCounts(processed_record_count=7)),
        (b"{}", JobCounts()),
        (b'{"processedRecordCount": 7', None),
        (b'{"processedRecordCount": "many"}', None),
        (None, None),
    ],
)
def test_a_manifest_that_cannot_be_read_is_none(
    storage: BatchStorage, manifest: bytes | None, counts: JobCounts | None
) -> None:
    """A job's own counts may be missing, in part or whole, or broken: its answers are used all the same."""
    if manifest is not None:
        storage.objects.put_bytes(f"{PREFIX}manifest.json.out", manifest)
    assert storage.job_counts(OUTPUT) == counts
