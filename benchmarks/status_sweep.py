"""One tick of the sensor that watches jobs, with thousands of them: the sweep, and what it reports.

python -m benchmarks.status_sweep [--jobs 2000]
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import msgspec

from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.local.local_platform import (
    ACCOUNT_ID,
    BUCKET,
    HOST,
    ROLE,
    free_port,
    local_aws_environment,
    start_local_aws,
    wait_for_local_aws,
)
from bedrock_batch_assets.runs.heartbeat import beat_key, this_process
from bedrock_batch_assets.sensors.job_status import job_status_sensor
from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG, PARTITION_TAG
from benchmarks.many_runs import add_runs
from benchmarks.running_platform import MODEL

_SETTINGS = {"seconds": {"InProgress": 36_000.0}, "max_jobs_in_flight": 100_000}
_RECORDS = 100


# Measured once on a busy machine: a query for each run's sign of life, and up to 500 reports a tick.
BEFORE = "before signs of life were read together: first tick 9.7 s and 500 reports of 32 ms, next tick 10.4 s"


@dataclass(frozen=True)
class SweepFigures:
    """Seconds of a tick's own time, with `jobs` jobs on the service.

    `first_tick`: all jobs are owned by runs, and all are news, of which one tick reports 200. `next_tick`: the rest of
    the news. `few_owned`: ten of the jobs are owned, and none of their news is new. `reports_each`: what the daemon
    needs for each reported observation.
    """

    jobs: int
    first_tick: float
    next_tick: float
    few_owned: float
    observations: int
    reports_each: float

    @property
    def longest(self) -> float:
        """The longest tick, with what the daemon does for it afterwards."""
        return max(self.first_tick + self.observations * self.reports_each, self.next_tick, self.few_owned)

    def lines(self) -> list[str]:
        """The figures as text."""
        return [
            f"status sweep over {self.jobs} jobs, all owned: first tick {self.first_tick:.2f} s and "
            f"{self.observations} reports of {self.reports_each * 1000:.1f} ms, next tick {self.next_tick:.2f} s",
            f"status sweep over {self.jobs} jobs, ten owned: {self.few_owned:.2f} s",
            BEFORE,
        ]


def measure(jobs: int = 2_000) -> SweepFigures:
    """Make so many jobs on local AWS, and runs that own them, and evaluate the sensor."""
    url = f"http://{HOST}:{free_port()}"
    environment = local_aws_environment(url)
    with (
        tempfile.TemporaryDirectory(prefix="bedrock-batch-bench-", ignore_cleanup_errors=True) as folder,
        patch.dict(os.environ, environment),
    ):
        program = start_local_aws(url, Path(folder), environment, settings=_SETTINGS, buckets=[BUCKET])
        try:
            wait_for_local_aws(program, url)
            arns = _make_jobs(jobs)
            (Path(folder) / "many").mkdir()
            (Path(folder) / "few").mkdir()
            service = BedrockBatchJobs(role_arn=f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}")
            with dg.DagsterInstance.local_temp(str(Path(folder) / "many")) as instance:
                _make_runs(instance, arns)
                first, result = _tick(instance, service, None)
                second, _ = _tick(instance, service, result.cursor)
                started = time.monotonic()
                sample = result.asset_events[:50]
                for event in sample:
                    assert isinstance(event, dg.AssetObservation)
                    instance.report_runless_asset_event(event)
                each = (time.monotonic() - started) / len(sample)
            with dg.DagsterInstance.local_temp(str(Path(folder) / "few")) as instance:
                _make_runs(instance, arns[:10])
                _, before = _tick(instance, service, None)
                few, _ = _tick(instance, service, before.cursor)
        finally:
            program.end(10.0)
    return SweepFigures(jobs, first, second, few, len(result.asset_events), each)


def _tick(instance: dg.DagsterInstance, service: BedrockBatchJobs, cursor: str | None) -> tuple[float, dg.SensorResult]:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"jobs": service})
    started = time.monotonic()
    result = job_status_sensor(context)
    assert isinstance(result, dg.SensorResult), result
    return time.monotonic() - started, result


def _make_jobs(jobs: int) -> list[str]:
    import boto3

    bedrock, s3 = boto3.client("bedrock"), boto3.client("s3")
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": [{"role": "user", "content": "?"}]}
    lines = [json.dumps({"recordId": f"r{row:010d}", "modelInput": body}) for row in range(_RECORDS)]
    s3.put_object(Bucket=BUCKET, Key="in/records.jsonl", Body="\n".join(lines).encode())

    def make(index: int) -> str:
        name = JobName(f"many-{index:05d}", content_digest("x"))
        answer = bedrock.create_model_invocation_job(
            jobName=str(name),
            clientRequestToken=name.client_request_token,
            roleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}",
            modelId=MODEL,
            inputDataConfig={"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/in/records.jsonl"}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
        )
        return str(answer["jobArn"])

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(make, range(jobs)))


def _make_runs(instance: dg.DagsterInstance, arns: list[str]) -> None:
    """Runs that wait for the jobs, all of them in this process as far as their signs of life tell."""
    tags = [{BATCH_TAG: "many", PARTITION_TAG: f"many-{index:05d}", JOB_ARN_TAG: arn} for index, arn in enumerate(arns)]
    runs = [dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=of_run) for of_run in tags]
    add_runs(instance, runs)
    beat = msgspec.json.encode(this_process(time.time())).decode()
    instance.run_storage.set_cursor_values({beat_key(run.run_id): beat for run in runs})


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000)
    print("\n".join(measure(parser.parse_args().jobs).lines()))


if __name__ == "__main__":
    main()
