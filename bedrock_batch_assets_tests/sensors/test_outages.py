"""Ticks of both sensors while the instance's database is away."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from bedrock_batch_assets.sensors.batch_progress import batch_progress_sensor
from bedrock_batch_assets.sensors.job_status import job_status_sensor
from bedrock_batch_assets.sensors.outages import skipping_outages
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.postgres import Postgres, instance_on
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def bench(local_aws: LocalAws, postgres_instance: dg.DagsterInstance, quick_driver: None) -> Bench:
    return Bench.create(local_aws, postgres_instance)


def tick(bench: Bench, sensor: dg.SensorDefinition, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    resources = {"storage": bench.storage, **({"jobs": bench.jobs} if sensor is job_status_sensor else {})}
    context = dg.build_sensor_context(instance=bench.instance, cursor=cursor, resources=resources)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


@pytest.mark.parametrize("sensor", [batch_progress_sensor, job_status_sensor], ids=lambda sensor: sensor.name)
def test_a_tick_without_a_database_is_skipped(
    bench: Bench, postgres: Postgres, sensor: dg.SensorDefinition, tmp_path: Path
) -> None:
    """It fails nothing and forgets nothing: the tick after the outage does what this one would have done."""
    uri = bench.put_csv("in/topics.csv", ["id", "topic"], [[str(row), f"topic {row}"] for row in range(120)])
    assert bench.input("demo", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic").success
    # Runs have processes of their own, and with them instances, which wait for databases.
    bench = replace(bench, instance=instance_on(postgres.storage_settings, tmp_path))
    before = tick(bench, sensor, None)
    postgres.stop()
    skipped = tick(bench, sensor, None)
    assert isinstance(skipped, dg.SkipReason)
    assert "Dagster's database cannot be used at the moment" in (skipped.skip_message or "")
    postgres.start()
    after = tick(bench, sensor, None)
    assert isinstance(before, dg.SensorResult)
    assert isinstance(after, dg.SensorResult)
    assert [request.tags for request in after.run_requests or ()] == [
        request.tags for request in before.run_requests or ()
    ]


def test_other_errors_of_a_tick_are_shown() -> None:
    """An error that does not pass by itself fails the tick, as ever."""

    @skipping_outages
    def broken() -> dg.SkipReason:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
