"""A chunk's way from rows to its part of the table, on the stand-in, with neither a Dagster run nor an instance."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.chunks.answered_chunk import answers_of, collect_answers
from bedrock_batch_assets.chunks.chunk import Chunk
from bedrock_batch_assets.chunks.joined_chunk import join_chunk
from bedrock_batch_assets.chunks.rendered_chunk import render_chunk
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.batch_input import store_input
from bedrock_batch_assets.ingest.resolved_request import ResolvedRequest, resolve_request
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waiting import wait_until_finished
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.storage.manifests import BatchManifest, OutputsManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, HAIKU

_QUICK = threading.Event()


class Table:
    """A table in memory as a source."""

    name = "the team's table"

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._table = table

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches()


TOPICS = pa.table({"id": range(260), "topic": [f"topic {row}" if row % 50 else "" for row in range(260)]})


def resolved(**fields: Any) -> ResolvedRequest:
    given: dict[str, Any] = {"model_id": HAIKU, "s3_uri": "s3://data/t.csv", "prompt_id": "joke_about_topic"}
    request = BatchRequest(**(given | {"max_records_per_job": 130} | fields))
    return resolve_request("jokes", request, processors=Processors(), prices=Prices(), minimum_records=100)


def collect(chunk: Chunk, jobs: BedrockBatchJobs, payer: str | None = None) -> OutputsManifest:
    """Answers to what was rendered for a chunk."""
    clock = Clock(sleep=lambda seconds: void(_QUICK.wait(min(seconds, 0.05))))

    def wait(arn: str) -> JobState:
        return wait_until_finished(jobs, arn, on_change=void, on_trouble=void, clock=clock)

    answers = answers_of(
        chunk,
        chunk.storage.chunk_manifest(chunk.key),
        jobs=jobs,
        on_demand=OnDemand(requests_per_second=1000),
        wait=wait,
        log=void,
        clock=clock,
    )
    return collect_answers(answers, payer=payer)


def void(*_: object) -> None:
    """Nothing."""


@pytest.fixture
def storage(local_aws: LocalAws) -> BatchStorage:
    return BatchStorage(bucket=local_aws.create_bucket(BUCKET))


@pytest.fixture
def jobs(local_aws: LocalAws) -> BedrockBatchJobs:
    return BedrockBatchJobs(role_arn=local_aws.create_role(), max_attempts=1)


def stored(storage: BatchStorage, request: ResolvedRequest) -> BatchManifest:
    return store_input(request, Table(TOPICS), storage, previous=None, run_id="run").manifest


@pytest.mark.parametrize("records_per_job", [130, 300], ids=["two chunks", "whole row groups"])
@pytest.mark.parametrize("output_format", ["parquet", "csv"])
def test_a_chunk_needs_no_dagster_run(
    local_aws: LocalAws, storage: BatchStorage, jobs: BedrockBatchJobs, output_format: str, records_per_job: int
) -> None:
    """Rows, a processor and a template as plain arguments become a part with every row; each record is paid once."""
    request = resolved(output_format=output_format, max_records_per_job=records_per_job)
    batch = stored(storage, request)
    for index, key in enumerate(batch.keyed_chunks()):
        chunk = Chunk.of(batch, key, request.processor, request.template, storage)
        blank = sum(row % 50 == 0 for row in range(chunk.first_row, chunk.first_row + chunk.row_count))
        rendered = render_chunk(chunk)
        assert (rendered.manifest.records, rendered.manifest.skipped) == (chunk.row_count - blank, blank)
        assert '"messages"' in rendered.sample_record
        collect(chunk, jobs)
        joined = join_chunk(chunk, collect(chunk, jobs), f"parts/{index}", head_rows=3)
        assert [int(row["id"]) for row in joined.head] == [chunk.first_row + row for row in range(3)]
        assert storage.part_summary(f"parts/{index}") == joined.summary
        summary = joined.summary
        assert (summary.rows, summary.ok, summary.skipped) == (chunk.row_count, chunk.row_count - blank, blank)
    assert len({(job["jobName"], job["recordId"]) for job in local_aws.ledger()}) == len(local_aws.ledger()) == 254
    if output_format == "parquet":
        parts = [storage.objects.get_bytes(f"parts/{index}") for index in range(len(batch.chunks))]
        table = pa.concat_tables([pq.read_table(io.BytesIO(part)) for part in parts])
        assert table.select(["id", "topic"]).equals(TOPICS)
        assert all("topic" in text for text in table["response"].drop_null().to_pylist())


def test_a_loaded_chunk_is_the_one_that_was_resolved(storage: BatchStorage) -> None:
    """The manifest holds all of it: a later process, with other defaults and templates, renders the same bytes."""
    request = resolved(inference_parameters={"max_tokens": 77})
    batch = stored(storage, request)
    storage.write_manifest(storage.layout.batch_manifest("jokes"), batch)
    ours = Chunk.of(batch, "jokes-00001", request.processor, request.template, storage)
    loaded = Chunk.load("jokes-00001", storage, Processors())
    assert loaded == ours
    assert render_chunk(loaded).manifest == render_chunk(ours).manifest
    other = Chunk.of(batch, "jokes-00001", request.processor, PromptTemplate.parse("Say {topic}"), storage)
    assert render_chunk(other).manifest.digest != render_chunk(ours).manifest.digest
    with pytest.raises(RequestError, match="has 2 chunks"):
        Chunk.load("jokes-00002", storage, Processors())


def test_who_chooses_to_pay_again_does_so_once(
    local_aws: LocalAws, storage: BatchStorage, jobs: BedrockBatchJobs
) -> None:
    """A payer's retry finds what the payer has paid for; whoever pays for nothing gets the newest answers."""
    request = resolved()
    chunk = Chunk.of(stored(storage, request), "jokes-00000", request.processor, request.template, storage)
    render_chunk(chunk)
    first = collect(chunk, jobs)
    again = collect(chunk, jobs, payer="run 1")
    assert again.outputs != first.outputs
    assert collect(chunk, jobs, payer="run 1") == again == collect(chunk, jobs)
    assert storage.outputs_manifest(chunk.key) == again
    assert len(local_aws.jobs()) == 2
