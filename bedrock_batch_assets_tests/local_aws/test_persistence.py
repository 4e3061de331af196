import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedrock_batch_assets.local_aws.errors import StartError
from bedrock_batch_assets.local_aws.persistence import FILE_NAME, load, save
from bedrock_batch_assets.local_aws.service import Service
from bedrock_batch_assets.local_aws.settings import Settings, changed
from bedrock_batch_assets_tests.local_aws.conftest import HAIKU, records

SETTINGS = changed(Settings(), {"clock": "manual"})


@pytest.fixture
def service() -> Iterator[Service]:
    """A service in this process with a bucket, a role and an input of 100 records."""
    service = Service(SETTINGS)
    service.account.reset()
    service.account.create_bucket("data", "eu-west-1")
    service.account.create_role("BatchRole")
    service.account.write("data", "in/rows.jsonl", b"\n".join(json.dumps(record).encode() for record in records(100)))
    yield service
    service.account.reset()


def submit(service: Service) -> str:
    """Create a job and return its ARN."""
    request = {
        "jobName": "job",
        "clientRequestToken": "token-1",
        "roleArn": "arn:aws:iam::123456789012:role/BatchRole",
        "modelId": HAIKU,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://data/in/"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
    }
    arn: str = service.batch.create("eu-west-1", request)["jobArn"]
    return arn


def restarted(service: Service, folder: Path) -> Service:
    """Another service with what this one saved."""
    save(service, folder)
    service.account.reset()
    other = Service(SETTINGS)
    load(other, folder)
    other.account.create_role("BatchRole")
    return other


@pytest.mark.parametrize("seconds", [0, 0.5, 1.5, 2.5, 3.5, 10])
def test_a_job_goes_on_after_a_restart(service: Service, tmp_path: Path, seconds: float) -> None:
    """Whatever a job was at, it completes after a restart, with each record billed and written once."""
    arn = submit(service)
    service.lifecycle.advance(seconds)
    other = restarted(service, tmp_path)
    assert submit(other) == arn
    other.lifecycle.advance(100)
    job = json.loads(bytes(other.batch.get("eu-west-1", arn)))
    assert (job["status"], job["successRecordCount"]) == ("Completed", 100)
    summary = other.ledger.summary()
    assert (summary["records"], summary["billedMoreThanOnce"]) == (100, {})
    folder = arn.rpartition("/")[2]
    text = other.account.read("data", f"out/{folder}/rows.jsonl.out")
    assert len({json.loads(line)["recordId"] for line in text.strip().split(b"\n")}) == 100
    assert other.book.in_flight("eu-west-1", HAIKU) == 0


def test_objects_survive(service: Service, tmp_path: Path) -> None:
    """Buckets keep their Region, objects their bytes."""
    contents = service.account.contents()
    assert restarted(service, tmp_path).account.contents() == contents
    assert contents["data"][0] == "eu-west-1"


def test_without_a_file_there_is_nothing_to_load(service: Service, tmp_path: Path) -> None:
    """The first start with a folder is a start with nothing."""
    before = service.account.contents()
    load(service, tmp_path)
    assert service.account.contents() == before


def test_a_file_that_cannot_be_read_is_told(service: Service, tmp_path: Path) -> None:
    """A broken file is refused, with what to do."""
    (tmp_path / FILE_NAME).write_bytes(b"broken")
    with pytest.raises(StartError, match="delete it"):
        load(service, tmp_path)


def test_objects_keep_their_metadata(service: Service, tmp_path: Path) -> None:
    """User metadata and content type are the same after a restart."""
    metadata = {"x-amz-meta-summary": '{"rows": 1}', "Content-Type": "application/json"}
    service.account.write("data", "a", b"x", metadata)
    _, objects = restarted(service, tmp_path).account.contents()["data"]
    kept = objects["a"][1]
    assert kept["x-amz-meta-summary"] == '{"rows": 1}'
    assert "application/json" in kept.values()
