"""Freed memory, given back before a wait."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from bedrock_batch_assets.assets import batch_job_outputs as module
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

PROJECT = Path(__file__).resolve().parents[2]
_CHUNK = "jokes-00000"
# 200 MB in blocks that the C library hands out, the last of which keeps the others from being given back.
_FREED = """
from pathlib import Path
from bedrock_batch_assets.runs.memory import give_back_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

start = resident()
blocks = [b"x" * 2_000 + bytes([number % 256]) for number in range(100_000)]
last = blocks[-1]
blocks.clear()
kept = resident() - start
give_back_memory()
print(round(kept), round(resident() - start))
"""
_CHUNK_RUN = """
import sys
import dagster as dg
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, Bench
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.storage.resource import BatchStorage

url, role, key = sys.argv[1:]
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("chunks", [key])
    jobs = BedrockBatchJobs(role_arn=role, max_poll_seconds=0.05)
    assert Bench(LocalAws(url), instance, BatchStorage(bucket=BUCKET), jobs).chunk(key).success
print(*(name for name in ("pandas", "datasets", "moto") if name in sys.modules))
"""


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench.create(local_aws, instance)
        uri = bench.put_csv("t.csv", ["topic"], [[f"topic {index}"] for index in range(120)])
        bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
        yield bench


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc and /proc")
def test_freed_memory_goes_back_to_the_system() -> None:
    """Of 200 MB that were freed but kept for later use, less than a tenth is left."""
    done = subprocess.run([sys.executable, "-c", _FREED], capture_output=True, text=True, check=True, cwd=PROJECT)
    kept, left = (int(number) for number in done.stdout.split())
    assert kept > 150
    assert left < 20


def test_a_run_gives_back_what_rendering_used_before_it_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is given back after the job was asked for and before the first look at it."""
    order: list[str] = []
    get = BedrockBatchJobs.get

    def look(self: BedrockBatchJobs, arn: str) -> JobState:
        order.append("look")
        return get(self, arn)

    monkeypatch.setattr(module, "give_back_memory", lambda: order.append(f"{len(bench.aws.jobs())} job, give back"))
    monkeypatch.setattr(BedrockBatchJobs, "get", look)
    assert bench.chunk(_CHUNK).success
    assert order[:2] == ["1 job, give back", "look"]
    assert order.count("1 job, give back") == 1


def test_a_chunks_run_loads_neither_pandas_nor_datasets(bench: Bench) -> None:
    """A process that renders a chunk, waits for its job and joins its answers has no heavy library in memory."""
    command = [sys.executable, "-c", _CHUNK_RUN, bench.aws.endpoint_url, bench.jobs.role_arn, _CHUNK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_chunks_run_never_reads_its_records_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk's first job is asked for, and its answers are counted, without the records in memory."""
    read: list[str] = []
    blocks = ObjectStore.blocks

    def counted(self: ObjectStore, key: str) -> Iterator[bytes]:
        read.append(key)
        return blocks(self, key)

    monkeypatch.setattr(ObjectStore, "blocks", counted)
    assert bench.chunk(_CHUNK).success
    assert bench.storage.chunk_manifest(_CHUNK).key not in read
    assert read
