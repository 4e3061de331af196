"""The sensor that watches jobs, when more has happened than one tick reports."""

import dagster as dg
import pytest

from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.runs.job_notices import has_finished_notice
from bedrock_batch_assets.sensors import job_status as module
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

_JOBS = 5


def start_jobs(bench: Bench) -> list[str]:
    """Jobs that have ended, each with a run that waits for it."""
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [{"role": "user", "content": "?"}]}
    records = [{"recordId": f"r{row:010d}", "modelInput": body} for row in range(100)]
    uri = bench.aws.put_records("data", "in/a.jsonl", records)
    arns: list[str] = []
    for index in range(_JOBS):
        name = JobName(f"demo-{index:05d}", content_digest("x"))
        arns.append(bench.aws.submit(uri, bench.jobs.role_arn, HAIKU, jobName=str(name)))
        tags = {"bedrock/batch": "demo", "bedrock/partition": name.chunk, "bedrock/job_arn": arns[-1]}
        run = dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags)
        bench.instance.run_storage.add_run(run)
    bench.aws.wait_for_status("Completed")
    return arns


def test_all_runs_hear_at_once_and_reports_come_over_several_ticks(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick is kept short by reporting some of the news, each once; no run waits for its job's turn to be reported."""
    monkeypatch.setattr(module, "MAX_OBSERVATIONS", 2)
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench.create(local_aws, instance)
        arns = start_jobs(bench)
        cursor: str | None = None
        reported: list[list[str | None]] = []
        for _ in range(4):
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, resources={"jobs": bench.jobs, "storage": bench.storage}
            )
            result = module.job_status_sensor(context)
            assert isinstance(result, dg.SensorResult)
            assert all(has_finished_notice(instance, arn) for arn in arns)
            reported.append(
                [event.partition for event in result.asset_events if isinstance(event, dg.AssetObservation)]
            )
            cursor = result.cursor
    assert [len(partitions) for partitions in reported] == [2, 2, 1, 0]
    assert len({partition for partitions in reported for partition in partitions}) == _JOBS
