"""The second suite's scenarios: a batch on a whole platform, and one thing that happens to it."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_ID_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG

from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError
from bedrock_batch_assets.runs.event_log import latest_storage_id
from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG, PARTITION_TAG
from bedrock_batch_assets_tests.chaos.audit import audit, csv_of, source_rows, unasked_work
from bedrock_batch_assets_tests.chaos.deployment import CODE_SERVER, DAEMON, WEBSERVER, Deployment
from bedrock_batch_assets_tests.chaos.report import Report
from bedrock_batch_assets_tests.chaos.schedules import HAIKU, NOVA

CHUNK_ASSETS = ("jsonl_chunks", "batch_job_outputs", "result_parts")
ROWS_PER_CHUNK = 100
# A dead run is found within five minutes at the latest (heartbeat.py), and a busy machine takes its time.
SECONDS_PER_SCENARIO = 900.0
# A backfill that is being cancelled takes the daemon's 30 s twice; a job takes seconds to stop.
SECONDS_TO_STOP = 180.0
# The progress sensor looks every 5 s, and starts a run some seconds later.
_QUIET_SECONDS = 8.0
_ENDED = frozenset({DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED})
_LIVE_JOB = frozenset({"Submitted", "Validating", "Scheduled", "InProgress"})

Steps = Iterator[None]


class StuckError(Exception):
    """The scenario does not go on by itself."""


@dataclass
class BatchScenario:
    """One scenario. `play` is a generator: it goes on as far as it can and yields when it has to wait."""

    seed: int
    deployment: Deployment
    report: Report
    random: random.Random
    batch: str
    kind: str
    rows: list[tuple[str, str]]
    model_id: str
    own_backfills: list[str] = field(default_factory=list)
    began_again: list[str] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def draw(cls, seed: int, deployment: Deployment) -> "BatchScenario":
        """The scenario of this number."""
        pick = random.Random(f"platform {seed}")
        kind = KINDS[seed % len(KINDS)]
        size = pick.choice((ROWS_PER_CHUNK, ROWS_PER_CHUNK, 2 * ROWS_PER_CHUNK))
        if kind == "worker" and pick.random() < 0.3:
            size = 30
        rows = source_rows(seed, size, frozenset())
        report = Report(seed, f"{kind}, {size} rows")
        return cls(seed, deployment, report, pick, f"batch-{seed:08d}", kind, rows, pick.choice((HAIKU, HAIKU, NOVA)))

    @property
    def ending(self) -> list[dict[str, Any]]:
        """How a job of the batch ends, if not Completed: a setting of local AWS."""
        status = random.Random(f"ending {self.seed}").choice((None, None, "PartiallyCompleted", "Expired"))
        return [] if status is None else [{"name": f"{self.batch}-*", "status": status, "count": 1}]

    def play(self) -> Steps:
        """From the request to the table, with what happens in between."""
        try:
            yield from self._play()
        except StuckError as error:
            self.report.stuck.append(str(error))
            self.report.log = self._story()
        self.report.seconds = time.monotonic() - self.started
        self.report.account = audit(
            self.deployment.aws, self.deployment.bucket, self.batch, self.rows, has_table=not self.report.stuck
        )
        unasked = unasked_work(self._records(), self._backfills(), {*self.own_backfills})
        self.report.account.unasked = self.began_again + unasked

    def _play(self) -> Steps:
        deployment = self.deployment
        key = f"inputs/{self.batch}.csv"
        deployment.aws.client("s3").put_object(Bucket=deployment.bucket, Key=key, Body=csv_of(self.rows))
        self.request = {
            "s3_uri": f"s3://{deployment.bucket}/{key}",
            "model_id": self.model_id,
            "prompt_id": "joke_about_topic",
            "max_records_per_job": ROWS_PER_CHUNK,
        }
        yield from self._ask(lambda: deployment.ui.web.add_batch(self.batch))
        yield from self._ask(lambda: deployment.ui.launch_input(self.batch, self.request))
        if self.kind == "two launches":
            yield from self._pause(3.0)
            yield from self._ask(lambda: deployment.ui.launch_input(self.batch, self.request))
        else:
            yield from _KINDS[self.kind](self)
        yield from self._until(self._is_finished, "the table")

    # What happens.

    def _worker(self) -> Steps:
        """The run worker is killed, up to three times."""
        for _ in range(self.random.randint(1, 3)):
            yield from self._until(lambda: bool(self._with_process()) or self._is_finished(), "a run with a process")
            yield from self._pause(8.0)
            for run in self._with_process():
                if self.deployment.kill_worker(run.run_id):
                    self._note(f"killed the process of run {run.run_id}")

    def _code_server(self) -> Steps:
        yield from self._at_some_moment()
        self._note("kill the code server")
        self.deployment.kill_part(CODE_SERVER)

    def _daemon(self) -> Steps:
        yield from self._at_some_moment()
        self._note("kill the daemon")
        self.deployment.kill_part(DAEMON)

    def _webserver(self) -> Steps:
        yield from self._at_some_moment()
        self._note("kill the webserver")
        self.deployment.kill_part(WEBSERVER)

    def _database(self) -> Steps:
        """The database is away for a failover's time, at some moment or other."""
        yield from self._at_some_moment()
        seconds = round(self.random.uniform(15.0, 45.0))
        self._note(f"{self.deployment.database} away for {seconds} s")
        self.deployment.lose_database(seconds)

    def _reboot(self) -> Steps:
        yield from self._at_some_moment()
        self._note("reboot")
        self.deployment.reboot()

    def _interrupt(self) -> Steps:
        yield from self._at_some_moment()
        self._note("Ctrl-C and restart")
        self.deployment.interrupt()

    def _deploy(self) -> Steps:
        yield from self._at_some_moment()
        self._note("SIGTERM to `dagster dev` alone and restart")
        self.deployment.deploy()

    def _terminate(self, *, kill: bool = False) -> Steps:
        """A person terminates a chunk's run, and materializes the chunk later."""
        yield from self._at_some_moment(("chunk", "job", "job"))
        runs = [run for run in self._chunk_runs() if run.status not in _ENDED]
        if not runs:
            self._note("too late to terminate anything")
            return
        run = runs[0]
        chunk = run.tags[PARTITION_TAG]
        self._note(f"terminate run {run.run_id} ({run.status.value})")
        yield from self._ask(lambda: self.deployment.ui.web.terminate_runs([run.run_id]))
        if kill and self.deployment.kill_worker(run.run_id):
            self._note("and killed its process")
        yield from self._until(lambda: self._run(run.run_id).status in _ENDED, "the end of the run", SECONDS_TO_STOP)
        ended = self._run(run.run_id)
        self._note(f"the run is {ended.status.value}")
        if ended.status is not DagsterRunStatus.CANCELED:
            return
        yield from self._until(lambda: not self._live_jobs([chunk]), "the stop of the job", SECONDS_TO_STOP)
        yield from self._pause(4.0)
        yield from self._ask(lambda: self.deployment.ui.launch(CHUNK_ASSETS, chunk))

    def _terminate_and_kill(self) -> Steps:
        """The same, but the process dies before it can stop its job."""
        yield from self._terminate(kill=True)

    def _cancel(self, *, forget: bool = False) -> Steps:
        """A person cancels the sensor's backfill, and starts one of all chunks later."""
        yield from self._until(lambda: bool(self._backfills()), "the backfill")
        yield from self._at_some_moment(("queued", "chunk", "job"))
        backfill = self._backfills()[0].backfill_id
        self._note(f"cancel backfill {backfill}")
        yield from self._ask(lambda: self.deployment.ui.web.cancel_backfill(backfill))
        yield from self._until(
            lambda: self._backfill_has_ended(backfill) and not self._active(), "the backfill's end", SECONDS_TO_STOP
        )
        yield from self._until(lambda: not self._live_jobs(self._chunks()), "the stop of the jobs", SECONDS_TO_STOP)
        if forget:
            # Time enough for the sensors to look, and for a backfill to be made.
            yield from self._forget()
            yield from self._wait(20.0)
            if self._active() or self._live_jobs(self._chunks()):
                self.began_again.append("runs or jobs of a batch that a person had cancelled")
        yield from self._ask(lambda: self._backfill(self._chunks()))

    def _reexecute(self) -> Steps:
        """A person re-executes the sensor's backfill when it is over."""
        yield from self._until(lambda: bool(self._backfills()), "the backfill")
        backfill = self._backfills()[0].backfill_id
        yield from self._until(lambda: self._backfill_has_ended(backfill), "the backfill's end")
        variables = {"params": {"parentRunId": backfill, "strategy": "ALL_STEPS"}}
        self._note(f"re-execute backfill {backfill}")
        yield from self._ask(lambda: self._keep(self.deployment.ui.web.query(_REEXECUTE, variables)))

    def _second_click(self) -> Steps:
        """A person launches the chunks while they are on their way."""
        yield from self._until(lambda: bool(self._chunks()), "the chunks")
        yield from self._at_some_moment()
        self._note("launch all chunks again")
        if self.random.random() < 0.5:
            yield from self._ask(lambda: self._backfill(self._chunks()))
        else:
            for chunk in self._chunks():
                yield from self._ask(lambda chunk=chunk: self.deployment.ui.launch(CHUNK_ASSETS, chunk))  # type: ignore[misc]

    def _expired_credentials(self) -> Steps:
        """The credentials of all processes expire; after some time somebody writes new ones to the file."""
        yield from self._at_some_moment()
        self._note("the credentials expire")
        self.deployment.expire_credentials()
        yield from self._pause(40.0)
        self._note("the credentials are renewed")
        self.deployment.keys.renew()

    def _cursors(self) -> Steps:
        """The sensors forget where they were, at several moments; half of the batches are cancelled in between."""
        is_cancelled = self.random.random() < 0.5
        if is_cancelled:
            yield from self._cancel(forget=True)
            return
        for _ in range(self.random.randint(2, 4)):
            yield from self._at_some_moment()
            yield from self._forget()

    def _forget(self) -> Steps:
        self._note("the sensors forget where they were")
        yield from self._ask(self.deployment.lose_cursors)

    def _rename(self) -> Steps:
        """Dagster starts again, and the code location has another name."""
        yield from self._at_some_moment()
        self._note("restart with another location name")
        self.deployment.rename_location()

    # Moments.

    def _at_some_moment(self, stages: Sequence[str] = ("input", "queued", "process", "job", "job", "late")) -> Steps:
        stage = self.random.choice(stages)
        conditions: dict[str, Callable[[], bool]] = {
            "input": lambda: bool(self._runs()),
            "queued": lambda: bool(self._chunk_runs()),
            "process": lambda: bool(self._with_process()),
            "chunk": lambda: any(run.status is DagsterRunStatus.STARTED for run in self._chunk_runs()),
            "job": lambda: bool(self._live_jobs(self._chunks())),
            "late": lambda: any(job["status"] not in _LIVE_JOB for job in self._jobs(self._chunks())),
        }
        condition = conditions[stage]
        yield from self._until(lambda: condition() or self._is_finished(), f"the stage {stage}")
        yield from self._pause(2.0 if stage == "late" else 6.0)

    def _pause(self, longest: float) -> Steps:
        yield from self._wait(self.random.uniform(0.0, longest))

    def _wait(self, seconds: float) -> Steps:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS_PER_SCENARIO) -> Steps:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > min(until, self.started + SECONDS_PER_SCENARIO):
                raise StuckError(f"waits for {what}")
            self._check_failures()
            yield

    def _ask(self, act: Callable[[], object]) -> Steps:
        """Do something in the UI, and again if it does not answer at the moment."""
        until = time.monotonic() + 120.0
        while True:
            try:
                act()
            except (UnreachableError, DagsterRefusedError) as error:
                if time.monotonic() > until:
                    raise StuckError(f"the UI does not answer: {error}") from error
                yield
            else:
                return

    # What there is.

    def _runs(self) -> list[dg.DagsterRun]:
        return list(self.deployment.instance.get_runs(filters=dg.RunsFilter(tags={BATCH_TAG: self.batch})))

    def _run(self, run_id: str) -> dg.DagsterRun:
        run = self.deployment.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def _chunk_runs(self) -> list[dg.DagsterRun]:
        return [run for run in self._runs() if run.tags.get("dagster/partition") != self.batch]

    def _with_process(self) -> list[dg.DagsterRun]:
        return [run for run in self._runs() if run.status is DagsterRunStatus.STARTED]

    def _chunks(self) -> list[str]:
        keys = self.deployment.instance.get_dynamic_partitions("chunks")
        return [key for key in keys if key.startswith(f"{self.batch}-")]

    def _jobs(self, chunks: Sequence[str]) -> list[dict[str, Any]]:
        return [
            job for job in self.deployment.aws.jobs() if job["name"].startswith(tuple(f"{chunk}-" for chunk in chunks))
        ]

    def _live_jobs(self, chunks: Sequence[str]) -> list[dict[str, Any]]:
        return [job for job in self._jobs(chunks) if job["status"] in _LIVE_JOB]

    def _backfills(self) -> list[Any]:
        filters = BulkActionsFilter(tags={BATCH_TAG: self.batch})
        return list(self.deployment.instance.get_backfills(filters=filters))

    def _backfill_has_ended(self, backfill: str) -> bool:
        found = self.deployment.instance.get_backfill(backfill)
        return found is None or found.status in BULK_ACTION_TERMINAL_STATUSES

    def _backfill(self, chunks: Sequence[str]) -> None:
        self.own_backfills.append(self.deployment.ui.launch_backfill(CHUNK_ASSETS, chunks))

    def _keep(self, answer: dict[str, Any]) -> None:
        result = answer["reexecutePartitionBackfill"]
        if result["__typename"] != "LaunchBackfillSuccess":
            raise DagsterRefusedError(str(result))
        self.own_backfills.append(result["backfillId"])

    def _active(self) -> bool:
        """Whether a run is on its way, or about to be retried."""
        return any(run.status not in _ENDED or self._will_be_retried(run) for run in self._runs())

    def _will_be_retried(self, run: dg.DagsterRun) -> bool:
        is_marked = run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags
        if run.status is not DagsterRunStatus.FAILURE or not is_marked:
            return False
        # The daemon retries no run of a backfill that is over.
        return BACKFILL_ID_TAG not in run.tags or not self._backfill_has_ended(run.tags[BACKFILL_ID_TAG])

    def _is_finished(self) -> bool:
        """Whether the table is newer than all parts, and nothing goes on."""
        if self._active() or not all(self._backfill_has_ended(item.backfill_id) for item in self._backfills()):
            return False
        if not all(map(self._backfill_has_ended, self.own_backfills)):
            return False
        instance = self.deployment.instance
        table = latest_storage_id(instance, "result_table", {self.batch})
        chunks = self._chunks()
        if not chunks or table <= latest_storage_id(instance, "result_parts", set(chunks)):
            return False
        ends = [record.end_time for record in self._records() if record.end_time is not None]
        return time.time() - max(ends, default=0.0) > _QUIET_SECONDS

    def _records(self) -> Sequence[dg.RunRecord]:
        return self.deployment.instance.get_run_records(filters=dg.RunsFilter(tags={BATCH_TAG: self.batch}))

    def _check_failures(self) -> None:
        """Look for steps that failed. Of all other failures the platform takes care, in time."""
        newest: dict[str, dg.DagsterRun] = {}
        for run in self._runs():
            newest.setdefault(run.tags.get(PARTITION_TAG, ""), run)
        for partition, run in newest.items():
            is_of_step = run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.STEP_FAILURE.value
            if run.status is DagsterRunStatus.FAILURE and is_of_step and not self._was_launched_again(run):
                raise StuckError(f"run {run.run_id} of {partition} failed and waits for a person")

    def _was_launched_again(self, run: dg.DagsterRun) -> bool:
        """Launch an input again that was refused for expired credentials, as soon as there are new ones.

        Whoever launched it is told so, and there. No other run is to fail for that.
        """
        if run.asset_selection != {dg.AssetKey("input_dataset")} or not self._was_refused(run.run_id):
            return False
        if not self.deployment.keys.expired:
            try:
                self.deployment.ui.launch_input(self.batch, self.request)
            except (UnreachableError, DagsterRefusedError):
                return True
            self._note("launched the input again")
        return True

    def _was_refused(self, run_id: str) -> bool:
        failures = [entry.dagster_event for entry in self._errors(run_id) if entry.dagster_event.is_step_failure]
        told = [event.step_failure_data.user_failure_data for event in failures]
        texts = [str(data.description) for data in told if data is not None]
        return any("credentials" in text and "have expired" in text for text in texts)

    def _note(self, text: str) -> None:
        self.report.description += f"; {time.monotonic() - self.started:.1f} s: {text}"

    def _story(self) -> str:
        lines = []
        for record in reversed(self._records()):
            run = record.dagster_run
            tags = {name: value for name, value in run.tags.items() if name in _TOLD}
            lines.append(f"run {run.run_id} {run.status.value} {record.start_time} {record.end_time} {tags}")
            lines += [f"    {entry.user_message[:300]}" for entry in self._errors(run.run_id)]
        lines += [f"job {job['name']} {job['status']} {job['transitions']}" for job in self._jobs([self.batch])]
        return "\n".join([*lines, "The end of Dagster's log:", self.deployment.log])

    def _errors(self, run_id: str) -> list[Any]:
        types = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ENGINE_EVENT}
        entries = self.deployment.instance.all_logs(run_id)
        return [item for item in entries if item.dagster_event and item.dagster_event.event_type in types][-6:]


_TOLD = {PARTITION_TAG, JOB_ARN_TAG, "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/retry_number"}


_KINDS: dict[str, Callable[[BatchScenario], Steps]] = {
    "worker": BatchScenario._worker,
    "reboot": BatchScenario._reboot,
    "terminate": BatchScenario._terminate,
    "code server": BatchScenario._code_server,
    "cancel": BatchScenario._cancel,
    "interrupt": BatchScenario._interrupt,
    "second click": BatchScenario._second_click,
    "daemon": BatchScenario._daemon,
    "terminate and kill": BatchScenario._terminate_and_kill,
    "deploy": BatchScenario._deploy,
    "re-execute": BatchScenario._reexecute,
    "webserver": BatchScenario._webserver,
    "expired credentials": BatchScenario._expired_credentials,
    "database": BatchScenario._database,
    "cursors": BatchScenario._cursors,
    "rename": BatchScenario._rename,
}
KINDS = (*_KINDS, "two launches")

_REEXECUTE = """
mutation Reexecute($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
