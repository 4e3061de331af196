"""How long each way of running chunks takes to go on after a kill, a cancel, an outage and a redeploy.

One batch of four chunks, on the services of compose.yaml. Jobs last as long as they are wanted to. What was paid for
twice is judged by the stand-in's ledger.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bedrock_batch_assets.client.batch_status import BatchState
from bedrock_batch_assets.client.webserver import DagsterRefusedError, Run, UnreachableError
from bedrock_batch_assets.parking.marks import read_mark
from bedrock_batch_assets.partition_keys import chunk_key
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets.runs.heartbeat import last_beat
from bedrock_batch_assets_tests.end_to_end.scenario import HAIKU, UNTIL_CHANGED, billed
from bedrock_batch_assets_tests.hosting.services import Services, wait_for
from bedrock_batch_assets_tests.postgres import Postgres, instance_on

# The process that is killed may be writing a beat.
_LAST_BEAT_SECONDS = 0.5
BATCH = "recovery"
CHUNKS = 4
ROWS_PER_JOB = 100
PARK_AFTER_SECONDS = 3
# Dagster's own are 30 s and 180 s; less of the test's time is spent waiting for the next look.
INSTANCE: dict[str, Any] = {"run_monitoring": {"poll_interval_seconds": 3, "cancel_timeout_seconds": 30}}
STEPS = {"Submitted": 0.2, "Validating": 0.2, "Scheduled": 0.2, "InProgress": UNTIL_CHANGED, "Stopping": 0.5}


@dataclass
class Recovery:
    """What a launcher did.

    Attributes:
        seconds: By event, how long it took.
        paid_twice: How often a record was paid for again.
        states: The status of each chunk's newest run.
        rows: Rows of the table by status, if there is one.
    """

    launcher: str
    seconds: dict[str, float] = field(default_factory=dict)
    paid_twice: int = 0
    states: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


class Trial:
    """One batch on one platform.

    Args:
        services: The platform, just started.
        postgres: Its database.
    """

    def __init__(self, services: Services, postgres: Postgres) -> None:
        self.services = services
        self.postgres = postgres
        self.batches = services.batches()
        self.aws = services.aws
        self.is_parking = services.launcher == "ecs-parked"
        folder = services.folder / "own"
        folder.mkdir()
        self.instance = instance_on(postgres.storage_settings, folder)
        self.input_run = ""

    def launch(self) -> None:
        """Start the batch, and wait until its jobs are in progress (and their runs parked)."""
        text = "topic\n" + "".join(f"topic {number}\n" for number in range(CHUNKS * ROWS_PER_JOB))
        self.aws.client("s3").put_object(Bucket=self.services.bucket, Key="inputs/t.csv", Body=text.encode())
        self.input_run = self.batches.launch(BATCH, self._request())
        wait_for("jobs", lambda: [job["status"] for job in self.aws.jobs()] == ["InProgress"] * CHUNKS)
        self._wait_until_settled(range(CHUNKS))
        if self.is_parking:
            wait_for("the end of all tasks", lambda: not self.services.ecs.running, seconds=60)

    def kill(self, index: int) -> float:
        """Kill the process of a run without warning. Seconds until another process has taken up the job."""
        run = self.run_of(index)
        self._kill_worker(run)
        killed_at = time.time()

        def goes_on() -> bool:
            now = self.run_of(index)
            beat = last_beat(self.instance, now.id)
            return now.active and beat is not None and beat.at > killed_at + _LAST_BEAT_SECONDS

        return wait_for("another process", goes_on, seconds=180)

    def kill_returning(self) -> float:
        """Let all jobs end, and kill the first process that goes on with a parked run. Seconds until that run is done.

        A parked run has no process that could be killed.
        """
        runs = [self.run_of(index) for index in self._waiting()]
        self._end_jobs()
        found: list[Run] = []

        def is_killed() -> bool:
            found[:] = [run for run in runs if self._works(run.id)]
            return bool(found)

        wait_for("a worker", is_killed, seconds=60)
        self._kill_worker(found[0])
        return wait_for("the end", lambda: self.batches.webserver.run(found[0].id).status == "SUCCESS", seconds=180)

    def cancel(self, index: int) -> float:
        """Terminate a run in the UI. Seconds until the run is cancelled and its job stopped."""
        run = self.run_of(index)
        assert self.batches.webserver.terminate_runs([run.id]) == {}
        name = chunk_key(BATCH, index)

        def is_over() -> bool:
            jobs = [job["status"] for job in self.aws.jobs() if job["name"].startswith(name)]
            return self.batches.webserver.run(run.id).status == "CANCELED" and jobs == ["Stopped"]

        return wait_for("the end of the job", is_over, seconds=120)

    def lose_database(self, seconds: float) -> float:
        """Stop the database for a while. Seconds, after it is back, until daemons and runs give signs of life."""
        self.postgres.stop()
        time.sleep(seconds)
        self.postgres.start()
        since = time.time()

        def is_well() -> bool:
            try:
                if self.batches.webserver.unhealthy_daemons():
                    return False
            except (UnreachableError, DagsterRefusedError):
                return False
            return all(self._gave_signs(self.run_of(index), since) for index in self._waiting())

        return wait_for("signs of life", is_well, seconds=180)

    def redeploy(self) -> float:
        """End all services, and start them again. Seconds from the start until each waiting chunk has a run again."""
        self.services.stop("webserver", "daemon", "code")
        self.services.start("code", "daemon", "webserver")
        started, since = time.monotonic(), time.time()
        self.services.wait()
        self.batches = self.services.batches()
        wait_for("runs", lambda: all(self._gave_signs(self.run_of(i), since) for i in self._waiting()), seconds=240)
        return time.monotonic() - started

    def finish(self, *, again: bool) -> Recovery:
        """Let all jobs end, launch once more if wanted, for what was cancelled, and see what it came to."""
        self._end_jobs()
        wait_for("the runs", lambda: not self._waiting(), seconds=180)
        if again:
            self.batches.launch(BATCH, self._request())
            wait_for("the table", lambda: self.batches.status(BATCH).state is BatchState.done, seconds=240)
        times = Counter(entry["digest"] for entry in billed(self.aws, BATCH))
        return Recovery(
            launcher=self.services.launcher,
            paid_twice=sum(count - 1 for count in times.values()),
            states=[self.run_of(index).status for index in range(CHUNKS)],
            rows=dict(self.batches.status(BATCH).records),
        )

    def run_of(self, index: int) -> Run:
        """The newest run of a chunk."""
        key = chunk_key(BATCH, index)
        return next(run for run in self.batches.webserver.runs(BATCH) if run.partition == key)

    def _request(self) -> BatchRequest:
        return BatchRequest(
            model_id=HAIKU,
            s3_uri=f"s3://{self.services.bucket}/inputs/t.csv",
            prompt_id="one_sentence",
            max_records_per_job=ROWS_PER_JOB,
        )

    def _waiting(self) -> list[int]:
        runs = self.batches.webserver.runs(BATCH)
        active = {run.partition for run in runs if run.active}
        return [index for index in range(CHUNKS) if chunk_key(BATCH, index) in active]

    def _wait_until_settled(self, indexes: range) -> None:
        settled: Callable[[Run], bool] = self._is_parked if self.is_parking else self._beats
        wait_for("waiting runs", lambda: all(settled(self.run_of(index)) for index in indexes))

    def _end_jobs(self) -> None:
        self.aws.put_settings({"seconds": {"InProgress": 0.5}})

    def _kill_worker(self, run: Run) -> None:
        if self.services.launcher == "postgres":
            beat = last_beat(self.instance, run.id)
            assert beat is not None
            os.kill(beat.pid, signal.SIGKILL)
        else:
            self.services.ecs.kill(self.batches.webserver.run(run.id).tags["ecs/task_arn"])

    def _is_parked(self, run: Run) -> bool:
        mark = read_mark(self.instance, run.id)
        return mark is not None and mark.state == "parked"

    def _works(self, run_id: str) -> bool:
        mark = read_mark(self.instance, run_id)
        return mark is not None and mark.state == "working"

    def _beats(self, run: Run) -> bool:
        return last_beat(self.instance, run.id) is not None

    def _gave_signs(self, run: Run, since: float) -> bool:
        """Whether a process has said since then that the run goes on. A parked run has none, and needs none."""
        if self.is_parking and self._is_parked(run):
            return True
        beat = last_beat(self.instance, run.id)
        return run.status == "STARTED" and beat is not None and beat.at >= since


def instance_for(launcher: str) -> dict[str, Any]:
    """Changes of the instance file, so that a test waits seconds and not minutes."""
    if launcher != "ecs-parked":
        return INSTANCE
    return {**INSTANCE, "run_launcher": {"config": {"park_after_seconds": PARK_AFTER_SECONDS}}}


def recover(services: Services, postgres: Postgres, *, outage_seconds: float, again: bool = True) -> Recovery:
    """Kill, cancel, outage and redeploy, one after the other, on a platform that has just been started."""
    trial = Trial(services, postgres)
    seconds: dict[str, float] = {}
    trial.launch()
    if not trial.is_parking:
        seconds["kill"] = trial.kill(0)
    seconds["cancel"] = trial.cancel(1)
    seconds["outage"] = trial.lose_database(outage_seconds)
    seconds["redeploy"] = trial.redeploy()
    if trial.is_parking:
        seconds["kill"] = trial.kill_returning()
    found = trial.finish(again=again)
    found.seconds = seconds
    return found
