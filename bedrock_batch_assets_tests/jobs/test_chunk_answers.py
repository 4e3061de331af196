"""A chunk's waves, on the stand-in: what is asked for, what is asked for again, and what is not."""

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bedrock_batch_assets.errors import BatchError, ConfigurationError
from bedrock_batch_assets.jobs.chunk_answers import ChunkAnswers
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.jobs.resubmissions import first_wave
from bedrock_batch_assets.jobs.state import JobState
from bedrock_batch_assets.jobs.waiting import wait_until_finished
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.storage.manifests import ChunkManifest, OutputsManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET, HAIKU

CHUNK = "demo-00000"
_QUICK = threading.Event()


class Chunk:
    """A rendered chunk of some records, and whoever asks for its answers."""

    def __init__(self, aws: LocalAws, count: int, **job_settings: Any) -> None:
        self.aws = aws
        self.storage = BatchStorage(bucket=aws.create_bucket(BUCKET))
        self.jobs = BedrockBatchJobs(role_arn=aws.create_role(), max_attempts=1, **job_settings)
        digest = content_digest("x")
        key = self.storage.layout.job_records(CHUNK, digest)
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50}
        records = [
            {
                "recordId": f"r{row:010d}",
                "modelInput": body | {"messages": [{"role": "user", "content": f"number {row}"}]},
            }
            for row in range(count)
        ]
        data = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        self.storage.objects.put_bytes(key, data)
        self.records = ChunkManifest(
            chunk=CHUNK, version="v", digest=digest, records=count, skipped=0, size_bytes=len(data), key=key
        )
        self.clock = Clock(sleep=lambda seconds: void(_QUICK.wait(min(seconds, 0.05))))

    def answers(self, on_wait: Callable[[str], None] = lambda _: None, since: int = 0) -> ChunkAnswers:
        """A run's view of the chunk; `on_wait` is called with the ARN of each job before it is waited for."""

        def wait(arn: str) -> JobState:
            on_wait(arn)
            return wait_until_finished(self.jobs, arn, on_change=void, on_trouble=void, clock=self.clock)

        return ChunkAnswers(
            records=self.records,
            model_id=HAIKU,
            processor=AnthropicProcessor(),
            storage=self.storage,
            jobs=self.jobs,
            on_demand=OnDemand(requests_per_second=1000),
            wait=wait,
            log=void,
            clock=self.clock,
            first_wave=since,
        )

    def resubmit(self, payer: str | None) -> list[str]:
        """Ask for the chunk as a run that is told to pay again does; returns the names of its outputs."""
        answers = self.answers()
        since = first_wave(self.storage, self.records, answers.past_waves, payer)
        return [output.name for output in replace(answers, first_wave=since).collect()]

    def billed(self) -> list[str]:
        """Record ids of all that was ever paid for."""
        return [entry["recordId"] for entry in self.aws.ledger()]

    def names(self) -> list[str]:
        """What the jobs are called after the chunk and the content, first to last."""
        return [job["name"].removeprefix(str(JobName(CHUNK, self.records.digest))) for job in self.aws.jobs()]


def void(*_: object) -> None:
    """Nothing."""


@pytest.mark.parametrize("status", ["Expired", "PartiallyCompleted", "Stopped"])
def test_what_a_job_cut_short_has_answered_is_kept(local_aws: LocalAws, status: str) -> None:
    """After a job that ended half-way only the other records are asked for, by a job that is sent nothing else."""
    chunk = Chunk(local_aws, 250)
    local_aws.put_settings({"job_endings": [{"status": status, "count": 1, "processed_share": 0.5}]})
    chunk.answers().collect()
    outputs = chunk.answers().collect()
    assert [output.status for output in outputs] == [status, "Completed"]
    assert len(chunk.billed()) == len(set(chunk.billed())) == 250
    assert chunk.names() == ["", "-w1"]


def test_records_are_not_held_while_their_job_is_waited_for(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run waits for hours: the records that a repair wave has sent are out of its memory by then."""
    chunk = Chunk(local_aws, 250)
    local_aws.put_settings({"job_endings": [{"status": "Expired", "count": 1, "processed_share": 0.5}]})
    read: list[list[bytes]] = []
    unanswered = ChunkAnswers._unanswered

    def watched(self: ChunkAnswers, outputs: Any) -> list[bytes]:
        read.append(unanswered(self, outputs))
        return read[-1]

    monkeypatch.setattr(ChunkAnswers, "_unanswered", watched)
    held: list[int] = []
    chunk.answers(on_wait=lambda _: held.append(sum(len(lines) for lines in read))).collect()
    assert chunk.names() == ["", "-w1"]
    assert read
    assert held == [0, 0]


def test_a_person_who_stops_a_job_is_not_answered_with_another(local_aws: LocalAws) -> None:
    """Stopped while a run waits for it, a job is the run's last; stops use up no repair wave."""
    chunk = Chunk(local_aws, 500, repair_waves=0)
    for stops in range(1, 3):
        local_aws.put_settings({"seconds": {"InProgress": 60}})
        outputs = chunk.answers(on_wait=lambda arn: void(chunk.jobs.stop(arn))).collect()
        assert len(local_aws.jobs()) == len(outputs) == stops
    local_aws.put_settings({"seconds": {"InProgress": 0.05}})
    outputs = chunk.answers().collect()
    assert [output.status for output in outputs] == ["Stopped", "Stopped", "Completed"]
    assert len(chunk.billed()) == len(set(chunk.billed())) == 500


def test_a_person_who_stops_a_job_that_a_run_attached_to_is_not_answered_with_another(local_aws: LocalAws) -> None:
    """The same holds if the run did not ask for the job itself, but found it."""
    chunk = Chunk(local_aws, 120)
    local_aws.put_settings({"seconds": {"InProgress": 60}})

    def die(_: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        chunk.answers(on_wait=die).collect()
    outputs = chunk.answers(on_wait=lambda arn: void(chunk.jobs.stop(arn))).collect()
    assert [output.status for output in outputs] == ["Stopped"]
    assert len(local_aws.jobs()) == 1


def test_a_job_that_was_stopping_when_it_was_found_is_followed_by_one_for_the_rest(local_aws: LocalAws) -> None:
    """Who asks for the chunk while its job is Stopping wants its answers: the run goes on after the job's end."""
    chunk = Chunk(local_aws, 250)
    local_aws.put_settings({"seconds": {"InProgress": 60, "Stopping": 60}})

    def stop_and_die(arn: str) -> None:
        assert chunk.jobs.stop(arn)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        chunk.answers(on_wait=stop_and_die).collect()

    def hurry(_: str) -> None:
        local_aws.put_settings({"seconds": {"InProgress": 0.05, "Stopping": 0.02}})

    outputs = chunk.answers(on_wait=hurry).collect()
    assert [output.status for output in outputs] == ["Stopped", "Completed"]
    assert len(chunk.billed()) == len(set(chunk.billed())) == 250


@pytest.mark.parametrize("waves", [0, 1, 3])
def test_there_are_as_many_repair_waves_as_configured(local_aws: LocalAws, waves: int) -> None:
    """Records that fail for the moment each time are sent once, and again once a wave; asking again sends nothing."""
    chunk = Chunk(local_aws, 150, repair_waves=waves)
    local_aws.put_settings({"record_faults": {"error": 1.0, "error_code": 500}})
    for _ in range(2):
        assert len(chunk.answers().collect()) == waves + 1
    assert chunk.names() == ["", "-w1", "-w2", "-w3"][: waves + 1]


def test_what_is_left_is_what_no_wave_has_answered(local_aws: LocalAws) -> None:
    """Each wave sends what all before it together left: the last one on demand, when it is too few for a job."""
    chunk = Chunk(local_aws, 500, repair_waves=4)
    local_aws.put_settings({"record_faults": {"error": 0.5, "error_code": 429}, "seed": 5})
    outputs = chunk.answers().collect()
    assert outputs[-1].status == "OnDemand"
    summary = local_aws.ledger_summary()
    sizes = [chunk.aws.job(job["arn"])["totalRecordCount"] for job in local_aws.jobs()]
    assert sizes[0] == 500
    assert all(100 <= later < earlier for earlier, later in itertools.pairwise(sizes))
    assert 0 < summary["onDemandRecords"] < 100
    before = local_aws.ledger_summary()["records"]
    assert [output.name for output in chunk.answers().collect()] == [output.name for output in outputs]
    assert local_aws.ledger_summary()["records"] == before


def test_resubmitting_pays_once_for_each_that_chose_it(local_aws: LocalAws) -> None:
    """A run's retry finds what the run itself has paid for; another run that is told to pays again."""
    chunk = Chunk(local_aws, 100)
    chunk.resubmit(None)
    first = chunk.resubmit("one")
    assert chunk.resubmit("one") == first
    assert chunk.names() == ["", "-w1"]
    assert chunk.resubmit("two") != first
    assert chunk.resubmit(None) == chunk.resubmit("two")
    assert chunk.names() == ["", "-w1", "-w2"]


def test_a_job_that_only_the_list_knows_is_described(local_aws: LocalAws) -> None:
    """Get may not know a young job yet: what became of one that this run did not wait for is read from the list."""
    chunk = Chunk(local_aws, 100)
    outputs = chunk.answers().collect()
    local_aws.put_settings(
        {"api_faults": [{"operation": "GetModelInvocationJob", "code": "ResourceNotFoundException"}]}
    )
    state = chunk.answers().last_state(outputs, None)
    assert state is not None
    assert (state.arn, state.status) == (outputs[-1].arn, "Completed")


def test_a_failed_job_is_an_error_with_its_name(local_aws: LocalAws) -> None:
    """Nothing is collected from a job that the service failed, and no other one is made by the same run."""
    chunk = Chunk(local_aws, 100)
    local_aws.put_settings({"job_endings": [{"status": "Failed", "count": 1, "message": "no such luck"}]})
    with pytest.raises(BatchError, match="no such luck"):
        chunk.answers().collect()
    assert chunk.names() == [""]


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("ListModelInvocationJobs", "all jobs"),
        ("CreateModelInvocationJob", HAIKU),
        ("GetModelInvocationJob", "model-invocation-job/"),
    ],
)
def test_a_denied_permission_is_one_error_after_one_call(local_aws: LocalAws, operation: str, resource: str) -> None:
    """Whatever is denied, the error names the action and the resource, and the service is asked once."""
    chunk = Chunk(local_aws, 100)
    # As many tries as by default: boto3 must not repeat it either.
    chunk.jobs = BedrockBatchJobs(role_arn=chunk.jobs.role_arn)
    local_aws.put_settings({"api_faults": [{"operation": operation, "code": "AccessDeniedException"}]})
    with pytest.raises(ConfigurationError, match=f"bedrock:{operation}.*{resource}"):
        chunk.answers().collect()
    assert local_aws.calls()[operation] == 1


def test_a_job_that_the_service_has_forgotten_is_not_paid_again(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted of it stands, for the content that it was paid for and for no other."""
    chunk = Chunk(local_aws, 100)
    outputs = chunk.answers().collect()
    noted = OutputsManifest(chunk=CHUNK, version="v", digest=chunk.records.digest, outputs=outputs)
    chunk.storage.write_manifest(chunk.storage.layout.outputs_manifest(CHUNK), noted)
    monkeypatch.setattr(BedrockBatchJobs, "find_family", lambda *_: {})
    assert chunk.answers().collect() == outputs
    assert len(chunk.billed()) == 100

    changed = replace(chunk.answers(), records=replace_digest(chunk.records, content_digest("y")))
    assert changed.past_waves() == []


def replace_digest(records: ChunkManifest, digest: str) -> ChunkManifest:
    """The same chunk with another content."""
    return ChunkManifest(
        chunk=records.chunk,
        version=records.version,
        digest=digest,
        records=records.records,
        skipped=records.skipped,
        size_bytes=records.size_bytes,
        key=records.key,
    )


ODD_MEMBERS = [
    {"content": [{"type": "text", "text": "half \ud83d"}]},
    {"usage": {"input_tokens": 1.0, "output_tokens": "2"}},
    {"usage": []},
    {"stop_reason": 1},
    {"content": [None, {"type": "text", "text": "x"}]},
    {"content": "plain"},
    {"metrics": float("nan")},
]


@pytest.mark.parametrize("odd", ODD_MEMBERS)
def test_an_odd_answer_is_not_paid_for_again(local_aws: LocalAws, odd: dict[str, Any]) -> None:
    """Whatever else the service writes beside or into an answer that the join can read, its record is settled."""
    chunk = Chunk(local_aws, 120)
    [output] = chunk.answers().collect()
    [key] = chunk.storage.output_files(output.prefix)
    first, *others = chunk.storage.objects.get_bytes(key).splitlines()
    content = json.loads(first)
    content["modelOutput"] |= odd
    chunk.storage.objects.put_bytes(key, b"\n".join([json.dumps(content).encode(), *others]) + b"\n")
    assert [found.name for found in chunk.answers().collect()] == [output.name]
    assert len(chunk.billed()) == 120
