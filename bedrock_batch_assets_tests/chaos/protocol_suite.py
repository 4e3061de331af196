"""The first suite: the protocol of jobs and the join, over HTTP, with processes that die, without Dagster's daemons."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bedrock_batch_assets.jobs.on_demand import OnDemand
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.resources import default_resources
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.chaos.attempts import CHUNK_STEPS, Attempt, Outcome, Task, Trigger
from bedrock_batch_assets_tests.chaos.audit import audit, csv_of, source_rows
from bedrock_batch_assets_tests.chaos.fast_sleep import real_sleep
from bedrock_batch_assets_tests.chaos.key_file import KeyFile
from bedrock_batch_assets_tests.chaos.report import Report
from bedrock_batch_assets_tests.chaos.schedules import Crash, Launch, Schedule, draw
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

BUCKET = "data"
# A scenario takes a second or two; the slowest ones wait for retries of throttled calls.
SECONDS_PER_SCENARIO = 120.0
# Of `OnDemand.concurrency`: so many answers can be lost with one process.
_IN_FLIGHT_ON_DEMAND = 8
_POLL_SECONDS = 0.003
_RELAUNCH_SECONDS = 0.05


class StuckError(Exception):
    """A scenario did not come to its end."""


@dataclass
class _Worker:
    """Works on one task until it is done: starts a process, and another one when it dies."""

    task: Task
    crashes: list[Crash]
    afresh: bool
    start_at: float
    attempt: Attempt | None = None
    steps: int = 0
    done: bool = False
    told: set[str] = field(default_factory=set)


class ProtocolWorker:
    """Runs scenarios, one after the other, on a stand-in of its own."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        os.environ.update(aws.environment)
        self._aws = aws
        self._folder = folder
        self._trigger = Trigger()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            os.environ.pop(name, None)
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(folder / "credentials")
        self._keys = KeyFile(folder / "credentials")

    def run(self, seed: int) -> Report:
        """Run the scenario of this number."""
        schedule = draw(seed)
        report = Report(seed, schedule.describe())
        started = time.monotonic()
        log = self._folder / f"scenario-{seed}.log"
        log.write_text("")
        try:
            _Run(self._aws, schedule, self._trigger, log, report, self._keys).play()
        except StuckError as error:
            report.stuck.append(str(error))
        report.seconds = time.monotonic() - started
        report.log = log.read_text()
        log.unlink()
        return report


class _Run:
    def __init__(
        self, aws: LocalAws, schedule: Schedule, trigger: Trigger, log: Path, report: Report, keys: KeyFile
    ) -> None:
        self._aws = aws
        self._keys = keys
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._schedule = schedule
        self._trigger = trigger
        self._log = log
        self._report = report
        self._deadline = time.monotonic() + SECONDS_PER_SCENARIO
        self._batch = f"chaos-{schedule.seed}"
        self._rows = source_rows(schedule.seed, schedule.row_count, schedule.empty_rows)
        aws.reset()
        aws.create_bucket(BUCKET)
        role = aws.create_role()
        storage = BatchStorage(bucket=BUCKET)
        jobs = BedrockBatchJobs(role_arn=role)
        on_demand = OnDemand(requests_per_second=2000)
        self._resources: dict[str, Any] = {
            **default_resources(),
            "storage": storage,
            "jobs": jobs,
            "on_demand": on_demand,
        }
        # Made here, and used by forked processes alone: each has connections of its own, and no need to load models.
        for connection, service in ((storage, "s3"), (jobs, "bedrock"), (on_demand, "bedrock-runtime")):
            connection.client(service)

    def play(self) -> None:
        schedule = self._schedule
        aws = self._aws
        aws.client("s3").put_object(Bucket=BUCKET, Key="inputs/table.csv", Body=csv_of(self._rows))
        request = {
            "s3_uri": f"s3://{BUCKET}/inputs/table.csv",
            "model_id": schedule.model_id,
            "prompt_id": "joke_about_topic",
            "max_records_per_job": schedule.records_per_job,
        }
        self._begin("input")
        self._work(
            [self._worker(Task(self._batch, ("input_dataset",), self._resources, request), schedule.input_crashes)]
        )
        aws.put_settings(schedule.settings)
        self._begin("chunks")
        self._work([self._chunk_worker(launch) for launch in schedule.launches])
        if any(job["status"] == "Stopped" for job in aws.jobs()):
            # Somebody stopped a job; now a person asks for the rest.
            self._all_chunks()
        aws.put_settings({"api_faults": []})
        self._begin("table")
        table = Task(self._batch, ("result_table",), self._resources)
        self._work([self._worker(table, schedule.table_crashes)])
        self._check()
        if schedule.again and not self._report.failed:
            bill = len(aws.ledger())
            jobs = len(aws.jobs())
            finished = all(job["status"] != "Stopped" for job in aws.jobs())
            self._all_chunks()
            if finished and (len(aws.ledger()), len(aws.jobs())) != (bill, jobs):
                self._report.account.billed_twice.append("asking again for finished chunks was not free")
            self._check()

    def _begin(self, phase: str) -> None:
        """Let the credentials expire, and be renewed, in this phase as the schedule says. What was left is done now."""
        for _, act in self._due:
            act()
        now = time.monotonic()
        self._due = []
        for expiry in self._schedule.expiries:
            if expiry.phase == phase:
                self._due.append((now + expiry.after, self._expire))
                self._due.append((now + expiry.after + expiry.seconds, self._keys.renew))
        self._due.sort(key=lambda item: item[0])

    def _expire(self) -> None:
        self._keys.expire(self._aws)

    def _check(self) -> None:
        account = audit(self._aws, BUCKET, self._batch, self._rows)
        schedule = self._schedule
        most = _IN_FLIGHT_ON_DEMAND * self._report.crashes + schedule.lost_on_demand_answers
        if len(account.unknown) > most:
            account.wrong.append(f"{len(account.unknown)} answers on demand are unknown, {most} at most can be")
        self._report.account = account

    def _all_chunks(self) -> None:
        self._work([self._chunk_worker(Launch(chunk)) for chunk in range(self._schedule.chunk_count)])

    def _chunk_worker(self, launch: Launch) -> _Worker:
        task = Task(f"{self._batch}-{launch.chunk:05d}", CHUNK_STEPS, self._resources)
        return self._worker(task, launch.crashes, launch.afresh, launch.delay)

    def _worker(self, task: Task, crashes: tuple[Crash, ...], afresh: bool = False, delay: float = 0.0) -> _Worker:
        return _Worker(task, list(crashes), afresh, time.monotonic() + delay)

    def _work(self, workers: list[_Worker]) -> None:
        """Let the workers work, side by side, until all are done."""
        try:
            while not all(worker.done for worker in workers):
                while self._due and time.monotonic() >= self._due[0][0]:
                    act = self._due.pop(0)[1]
                    self._note(f"credentials: {act.__name__.strip('_')}")
                    act()
                for worker in workers:
                    if not worker.done:
                        self._look_after(worker)
                if time.monotonic() > self._deadline:
                    raise StuckError(f"not within {SECONDS_PER_SCENARIO:g} s: {[w.task.partition for w in workers]}")
                real_sleep(_POLL_SECONDS)
        finally:
            for worker in workers:
                if worker.attempt is not None:
                    worker.attempt.kill()

    def _look_after(self, worker: _Worker) -> None:
        if worker.attempt is None:
            if time.monotonic() >= worker.start_at:
                crash = worker.crashes.pop(0) if worker.crashes else None
                worker.attempt = Attempt.start(worker.task, worker.steps, crash, self._trigger, self._log)
                self._note(
                    f"{worker.attempt.pid} starts {worker.task.partition} at step {worker.steps}, dies at {crash}"
                )
            return
        outcome = worker.attempt.poll()
        if outcome is None:
            return
        self._note(f"{worker.attempt.pid} ended: {outcome}")
        worker.attempt = None
        self._judge(worker, outcome)

    def _judge(self, worker: _Worker, outcome: Outcome) -> None:
        if outcome.kind == "done":
            worker.done = True
            return
        worker.steps = 0 if worker.afresh else outcome.steps
        if outcome.kind == "killed":
            self._report.crashes += 1
        elif outcome.kind == "refused" and _is_about_credentials(worker, outcome):
            # Whoever launched the batch is told, signs in, and launches it again.
            worker.start_at = time.monotonic() + _RELAUNCH_SECONDS
        elif outcome.kind == "refused" and (failed := self._failed_job(outcome.reason)) not in worker.told:
            # The service failed a job: the run says so, and a person materializes the chunk again.
            worker.told.add(failed)
            worker.steps = 0
        else:
            raise StuckError(f"{worker.task.partition} waits for a person: {outcome.reason}")

    def _failed_job(self, reason: str) -> str:
        """The ARN of the failed job that an error speaks of.

        Raises:
            StuckError: It speaks of something else.
        """
        for job in self._aws.jobs():
            if job["status"] == "Failed" and job["arn"] in reason:
                return str(job["arn"])
        raise StuckError(f"waits for a person: {reason}")

    def _note(self, text: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{time.time():.3f} - {text}\n")


def _is_about_credentials(worker: _Worker, outcome: Outcome) -> bool:
    """Whether an input was refused for expired credentials. A chunk or a table is not to be."""
    return worker.task.steps == ("input_dataset",) and "credentials" in outcome.reason and "expired" in outcome.reason
