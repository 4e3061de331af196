"""The chunk's run as the owner of its job: who interrupts it, and what becomes of the job."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterExecutionInterruptedError
from dagster._core.events import RunFailureReason

from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.storage.manifests import OutputsManifest
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets.tags import JOB_TAG
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

CHUNK = "jokes-00000"


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench.create(local_aws, instance)
        uri = bench.put_csv("t.csv", ["topic"], [[f"topic {index}"] for index in range(120)])
        bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
        yield bench


class Interrupter:
    """Interrupts the process right before or right after a method of a class is done, the next time it is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: Callable[[], object] = lambda: None) -> None:
        self._monkeypatch = monkeypatch
        self._first = first

    def interrupt(self, owner: type, method: str, *, after: bool, when: Callable[..., bool] = lambda *_: True) -> None:
        """Arm it, for a call whose arguments are such."""
        original: Any = getattr(owner, method)
        patch = self._monkeypatch

        def interrupted(instance: Any, *arguments: Any, **named: Any) -> Any:
            if not when(*arguments):
                return original(instance, *arguments, **named)
            patch.setattr(owner, method, original)
            if after:
                original(instance, *arguments, **named)
            self._first()
            raise DagsterExecutionInterruptedError

        patch.setattr(owner, method, interrupted)


def ending(result: dg.ExecuteInProcessResult) -> DagsterEvent:
    """The run's last event."""
    return result.all_events[-1]


def test_six_interruptions_at_six_points_end_in_one_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes down at each step of the chunk's life leaves the job running, and the next one takes it up.

    Each run ends as one that its process left, which Dagster retries, and not by a failure of the step.
    """
    interrupter = Interrupter(monkeypatch)
    while_it_runs: list[tuple[str, bool]] = [("find_family", True), ("create", True), ("get", False), ("get", True)]
    bench.aws.put_settings({"seconds": {"InProgress": 60}})
    runs = []
    for method, after in while_it_runs:
        interrupter.interrupt(BedrockBatchJobs, method, after=after)
        runs.append(bench.chunk(CHUNK))
    bench.aws.put_settings({"seconds": {"InProgress": 0.05}})
    for after in (False, True):
        interrupter.interrupt(BatchStorage, "write_manifest", after=after, when=is_of_outputs)
        runs.append(bench.chunk(CHUNK))
    for run in runs:
        assert ending(run).job_failure_data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION
    assert bench.chunk(CHUNK).success
    assert len(bench.aws.jobs()) == 1
    assert len(bench.billed()) == len(set(bench.billed())) == 120
    calls = bench.aws.calls()
    assert (calls["CreateModelInvocationJob"], calls.get("StopModelInvocationJob", 0)) == (1, 0)


def is_of_outputs(_key: str, manifest: object) -> bool:
    return isinstance(manifest, OutputsManifest)


@pytest.mark.parametrize(
    ("method", "after"), [("create", True), ("get", False)], ids=["before its ARN is known", "while it is waited for"]
)
def test_a_run_that_a_person_terminates_stops_its_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str, after: bool
) -> None:
    """Terminated right after Create, or while waiting, the run stops the job; its own snapshot knows nothing of it."""
    bench.aws.put_settings({"seconds": {"InProgress": 60}})

    def terminate() -> None:
        (run,) = bench.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        bench.instance.report_run_canceling(run)

    Interrupter(monkeypatch, terminate).interrupt(BedrockBatchJobs, method, after=after)
    assert ending(bench.chunk(CHUNK)).event_type is DagsterEventType.RUN_CANCELED
    bench.aws.wait_for_status("Stopped")
    assert len(bench.aws.jobs()) == 1


def test_a_run_names_its_jobs_before_it_asks_for_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies right after Create leaves the job's name on its run, so that others find the job."""
    Interrupter(monkeypatch).interrupt(BedrockBatchJobs, "create", after=True)
    assert not bench.chunk(CHUNK).success
    (job,) = bench.aws.jobs()
    assert bench.instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job["name"]}))


def test_records_of_an_earlier_input_are_not_sent(bench: Bench) -> None:
    """If the input changed and the records were not rendered again, the run says so and nothing is asked for."""
    from bedrock_batch_assets.assets.batch_job_outputs import batch_job_outputs
    from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks

    assert bench.materialize([jsonl_chunks], CHUNK).success
    uri = bench.put_csv("u.csv", ["topic"], [[f"another {index}"] for index in range(120)])
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    bench.instance.add_dynamic_partitions("chunks", [CHUNK])
    refused = bench.materialize([batch_job_outputs], CHUNK)
    assert f"Chunk {CHUNK} is not part of batch" in str(refused.failure_data_for_node("batch_job_outputs"))
    refused = bench.materialize([batch_job_outputs], "jokes-00001")
    assert "Materialize jsonl_chunks for chunk jokes-00001 first" in str(
        refused.failure_data_for_node("batch_job_outputs")
    )
    assert bench.aws.jobs() == []


def test_answers_to_an_earlier_input_are_not_joined(bench: Bench) -> None:
    """If the input changed and the job was not run again, the old answers become no part of the new table."""
    from bedrock_batch_assets.assets.result_parts import result_parts

    assert bench.chunk(CHUNK).success
    uri = bench.put_csv("u.csv", ["topic"], [[f"another {index}"] for index in range(120)])
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    bench.instance.add_dynamic_partitions("chunks", [CHUNK])
    refused = bench.materialize([result_parts], CHUNK)
    assert f"Chunk {CHUNK} is not part of batch" in str(refused.failure_data_for_node("result_parts"))
    refused = bench.materialize([result_parts], "jokes-00001")
    assert "Materialize batch_job_outputs for chunk jokes-00001 first" in str(
        refused.failure_data_for_node("result_parts")
    )
