"""Sensors whose credentials have expired: they skip and say why, and the next tick goes on with new ones."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from bedrock_batch_assets.sensors.batch_progress import batch_progress_sensor
from bedrock_batch_assets.sensors.job_status import job_status_sensor
from bedrock_batch_assets_tests.aws_files import AwsFiles
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench
from bedrock_batch_assets_tests.sensors.test_job_status import chunk_tags, make_job, make_run, tick


@pytest.fixture
def bench(local_aws: LocalAws, aws_files: AwsFiles) -> Iterator[Bench]:
    aws_files.write_keys("old")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def test_the_job_sensor_skips_and_goes_on(bench: Bench, aws_files: AwsFiles) -> None:
    """It says why it reports nothing, and reports what happened as soon as the keys in the file are new."""
    arn = make_job(bench)
    bench.aws.wait_for_status("Completed")
    make_run(bench.instance, DagsterRunStatus.STARTED, **chunk_tags(0, arn))
    bench.aws.put_settings({"expired_access_keys": ["old"]})
    context = dg.build_sensor_context(instance=bench.instance, resources={"jobs": bench.jobs, "storage": bench.storage})
    skipped = job_status_sensor(context)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message is not None
    assert "The AWS credentials for Bedrock ListModelInvocationJobs have expired" in skipped.skip_message
    aws_files.write_keys("new")
    assert len(tick(bench).asset_events) == 1


def test_the_progress_sensor_says_why_it_starts_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A batch whose manifest cannot be read for expired credentials is named with the reason, and no tick fails."""
    uri = bench.put_csv("in/topics.csv", ["topic"], [["a"], ["b"]])
    assert bench.input("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic").success
    bench.aws.put_settings({"expired_access_keys": ["old"]})
    context = dg.build_sensor_context(instance=bench.instance, resources={"storage": bench.storage})
    context.log.addHandler(caplog.handler)
    result = batch_progress_sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert result.run_requests == []
    assert "Batch demo cannot be looked at: The AWS credentials for S3" in caplog.text
