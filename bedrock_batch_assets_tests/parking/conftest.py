"""An instance whose launcher parks, on moto's ECS, with tasks that are sleeping programs."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import ResumeRunContext, WorkerStatus

from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets.parking.launcher import ParkingEcsRunLauncher
from bedrock_batch_assets_tests.hosting.ecs_tasks import EcsTasks
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

BUCKET = "parked"
PARK_AFTER = 300


@dataclass(frozen=True)
class Parking:
    """The instance, its launcher, and the tasks that it started."""

    instance: dg.DagsterInstance
    launcher: ParkingEcsRunLauncher
    ecs: EcsTasks

    def health(self, run_id: str) -> WorkerStatus:
        """What run monitoring would read."""
        status: WorkerStatus = self.launcher.check_run_worker_health(self.run(run_id)).status
        return status

    def resume(self, run_id: str, launcher: ParkingEcsRunLauncher | None = None) -> None:
        """What run monitoring does with a run that is not healthy, with the run as it was read before."""
        context = ResumeRunContext(dagster_run=self.run(run_id), workspace=None, resume_attempt_number=1)
        (launcher or self.launcher).resume_run(context)

    def run(self, run_id: str) -> dg.DagsterRun:
        """The run as it is now."""
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found


@pytest.fixture
def parking(local_aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parking]:
    """One on SQLite, with the launcher and the monitoring of the instance file."""
    local_aws.create_bucket(BUCKET)
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    given = yaml.safe_load((packaged_file("deploy") / "dagster-ecs-parked.yaml").read_text())
    settings = {name: given[name] for name in ("run_launcher", "run_monitoring", "telemetry")}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    with EcsTasks(dict(local_aws.environment), tmp_path, program=sleeping) as ecs:
        for name, value in ecs.client_environment.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            launcher = instance.run_launcher
            assert isinstance(launcher, ParkingEcsRunLauncher)
            yield Parking(instance, launcher, ecs)
