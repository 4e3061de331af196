"""Moves jobs through their statuses as time goes by, in one background thread."""

import heapq
import itertools
import logging
import math
import threading

from bedrock_batch_assets.local_aws.account import Account, split_s3_uri
from bedrock_batch_assets.local_aws.clock import Clock
from bedrock_batch_assets.local_aws.events import EventBus, state_change
from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.jobs import Job, JobBook, Status
from bedrock_batch_assets.local_aws.ledger import Ledger
from bedrock_batch_assets.local_aws.processing import InputError, Source, Work, validate
from bedrock_batch_assets.local_aws.role_rights import first_denied, job_needs
from bedrock_batch_assets.local_aws.settings import Settings

logger = logging.getLogger(__name__)

# A job in progress shows its counts growing in so many steps, not closer together than so many seconds.
_PROGRESS_STEPS = 10
_PROGRESS_SECONDS = 0.2
# Seconds since the epoch are floats: a record due at this very moment must not be left out.
_ROUNDING = 1e-4
# Records processed before another job gets its turn.
_SLICE = 1000
_DEFAULT_SHARES: dict[str, float] = {"PartiallyCompleted": 0.5, "Stopped": 0.5, "Failed": 0.0, "Expired": 0.0}
_MESSAGES = {
    "PartiallyCompleted": "Not all of your records could be processed in time. View the output files in the S3 bucket.",
    "Expired": "The batch inference job timed out because it was scheduled but didn't begin before the set timeout "
    "duration.",
    "Failed": "The batch inference job failed because of an internal error. Try your request again.",
}


class Lifecycle:
    """Takes each job from one status to the next when it is due.

    Appointments are kept in a heap. One thread at a time works on them: the background thread, or, with a manual
    clock, the request that moves the clock. The others only read a job, or set it to Stopping.
    """

    def __init__(
        self,
        *,
        book: JobBook,
        account: Account,
        faults: Faults,
        ledger: Ledger,
        bus: EventBus,
        settings: Settings,
    ) -> None:
        self.clock = Clock(manual=settings.clock == "manual")
        self._book = book
        self._account = account
        self._faults = faults
        self._ledger = ledger
        self._bus = bus
        self._settings = settings
        self._turn = threading.RLock()
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, int, Job]] = []
        self._order = itertools.count()
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the background thread."""
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the background thread, within the slice of records it is at."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def set(self, settings: Settings) -> None:
        """Follow other settings; the steps that jobs are in get their new length."""
        with self._turn:
            self._settings = settings
            self.clock.set_manual(settings.clock == "manual")
            for job in self._book.active():
                self.schedule(job)

    def clear(self) -> None:
        """Forget all jobs, the book's too."""
        with self._turn:
            self._book.clear()
            with self._changed:
                self._heap.clear()

    def announce(self, job: Job) -> None:
        """Put the job's status on the event bus."""
        self._bus.put(state_change(job))

    def schedule(self, job: Job) -> None:
        """Make the appointment for the job's next step."""
        if job.ended:
            return
        due = self._due(job)
        with self._changed:
            job.appointment += 1
            heapq.heappush(self._heap, (due, next(self._order), job.appointment, job))
            self._changed.notify_all()

    def resume(self, job: Job) -> None:
        """Go on with a job of an earlier run, if its input is still there."""
        if job.transitions[-1][0] in {"InProgress", "Stopping"} and job.total:
            try:
                job.work = self._work(job)
                job.work.process(job.processed, bill=False)
            except KeyError as error:
                self._enter(job, job.status, "Failed", f"The input is gone: {error}")
        self.schedule(job)

    def _work(self, job: Job) -> Work:
        return Work(_source(job), self._account, self._faults, self._ledger, self._settings)

    def advance(self, seconds: float) -> None:
        """Move a manual clock forward, doing all that falls due on the way, each at its time."""
        with self._turn:
            until = self.clock.now() + seconds
            while (job := self._next(until)) is not None:
                self._step(job)
            self.clock.move_to(until)
            for job in self._book.active():
                if job.status == "InProgress":
                    # Up to this moment, not to its last appointment.
                    self._step(job)

    def _run(self) -> None:
        while not self._ending:
            with self._changed:
                if self.clock.manual or not self._heap:
                    # A change of settings or a new job wakes it.
                    self._changed.wait()
                    continue
                wait = self._heap[0][0] - self.clock.now()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
            with self._turn:
                if not self.clock.manual and (job := self._next(self.clock.now())) is not None:
                    self._step(job)

    def _next(self, until: float) -> Job | None:
        """The next job that is due, with a manual clock moved to that time."""
        with self._changed:
            while self._heap and self._heap[0][0] <= until:
                due, _, appointment, job = heapq.heappop(self._heap)
                if job.appointment == appointment and not job.ended:
                    self.clock.move_to(due)
                    return job
        return None

    def _due(self, job: Job) -> float:
        if job.status == "InProgress" and job.work is not None:
            now, end = self.clock.now(), self._end(job)
            if now >= end or job.work.done < self._due_records(job, job.work, now):
                return now
            if job.work.done >= self._goal(job, job.work):
                return min(end, job.expiration_time)
            pause = max(self._duration(job) / _PROGRESS_STEPS, _PROGRESS_SECONDS)
            return min(end, now + pause, job.expiration_time)
        due = job.step_started + self._step_seconds(job.status)
        return due if job.status == "Stopping" else min(due, max(job.expiration_time, job.step_started))

    def _step_seconds(self, status: Status) -> float:
        return float(getattr(self._settings.seconds, status))

    def _duration(self, job: Job) -> float:
        return self._settings.seconds.InProgress + self._settings.seconds.per_record * job.total

    def _end(self, job: Job) -> float:
        """When the records of a job in progress are done.

        Moments are compared with it, never spans with its duration: the difference of two moments is rounded (a quarter
        of a microsecond, at seconds since the epoch), and would say a little less.
        """
        return job.step_started + self._duration(job)

    def _goal(self, job: Job, work: Work) -> int:
        """How many records are gone through before the job ends."""
        ending = job.ending
        if ending is None or ending.status == "Completed":
            return work.total
        share = _DEFAULT_SHARES[ending.status] if ending.processed_share is None else ending.processed_share
        return math.ceil(share * work.total)

    def _due_records(self, job: Job, work: Work, when: float) -> int:
        """How many records are to be gone through by then."""
        when = min(when, job.expiration_time)
        goal = self._goal(job, work)
        if when >= self._end(job):
            return goal
        return int(goal * (when - job.step_started) / self._duration(job) + _ROUNDING)

    def _step(self, job: Job) -> None:
        """Do what is due for a job, and make its next appointment."""
        try:
            getattr(self, f"_{job.status.lower()}")(job)
        except InputError as error:
            self._enter(job, job.status, "Failed", str(error))
        except Exception as error:
            # One job's trouble, such as a bucket that is gone, must not stop the others.
            logger.exception("job %s fails", job.arn)
            self._enter(job, job.status, "Failed", f"{type(error).__name__}: {error}"[:2048])
        self.schedule(job)

    def _enter(self, job: Job, expected: Status, status: Status, message: str | None = None) -> bool:
        if not self._book.enter(job, expected, status, self.clock.now(), message):
            return False
        if job.ended:
            job.work = None
        self.announce(job)
        return True

    def _submitted(self, job: Job) -> None:
        if not self._expired(job):
            self._enter(job, "Submitted", "Validating")

    def _validating(self, job: Job) -> None:
        if self._expired(job):
            return
        self._check_role(job)
        validate(_source(job), self._account, self._settings)
        ending = job.ending
        if ending is not None and ending.status == "Failed" and not ending.processed_share:
            self._enter(job, "Validating", "Failed", ending.message or _MESSAGES["Failed"])
        else:
            self._enter(job, "Validating", "Scheduled")

    def _check_role(self, job: Job) -> None:
        """Refuse a job whose role may not do what the job needs.

        Raises:
            InputError: It may not. Names action and resource, as AWS does.
        """
        source, role = _source(job), job.request["roleArn"]
        keys = [item.key for item in self._account.input_objects(source.bucket, source.key)]
        output = f"{source.output_prefix.rstrip('/')}/{job.arn.rpartition('/')[2]}/"
        needs = job_needs(job.model_arn, source.bucket, keys, source.output_bucket, output)
        denied = first_denied(self._account.role_policies(role), needs)
        if denied is not None:
            raise InputError(
                f"User: {role} is not authorized to perform: {denied.action} on resource: {denied.resource} because "
                f"no identity-based policy allows the {denied.action} action"
            )

    def _scheduled(self, job: Job) -> None:
        ending = job.ending
        if ending is not None and ending.status == "Expired" and not ending.processed_share:
            self._enter(job, "Scheduled", "Expired", ending.message or _MESSAGES["Expired"])
        elif not self._expired(job):
            work = self._work(job)
            with self._book.lock:
                job.work, job.total = work, work.total
            if not self._enter(job, "Scheduled", "InProgress"):
                job.work = None

    def _expired(self, job: Job) -> bool:
        if self.clock.now() < job.expiration_time:
            return False
        self._enter(job, job.status, "Expired", _MESSAGES["Expired"])
        return True

    def _inprogress(self, job: Job) -> None:
        work = job.work
        if work is None:
            raise RuntimeError("no work")
        now = self.clock.now()
        over = min(now, job.expiration_time) >= self._end(job)
        due = self._due_records(job, work, now)
        work.process(min(due, work.done + _SLICE))
        with self._book.lock:
            job.processed, job.success, job.error = work.processed, work.success, work.error
        if work.done < due or not (over or now >= job.expiration_time):
            return
        ending = job.ending
        status: Status = "PartiallyCompleted" if not over else "Completed" if ending is None else ending.status
        # If a stop comes in between, the same is written once more.
        work.write()
        if status == "Stopped":
            self._enter(job, "InProgress", "Stopping")
        else:
            self._enter(job, "InProgress", status, (ending.message if ending else None) or _MESSAGES.get(status))

    def _stopping(self, job: Job) -> None:
        if job.work is not None:
            job.work.write()
        self._enter(job, "Stopping", "Stopped")


def _source(job: Job) -> Source:
    bucket, key = split_s3_uri(job.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
    output_bucket, output_prefix = split_s3_uri(job.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"])
    return Source(
        arn=job.arn,
        name=job.name,
        model=job.model,
        invocation_type=job.request.get("modelInvocationType") or "InvokeModel",
        bucket=bucket,
        key=key,
        output_bucket=output_bucket,
        output_prefix=output_prefix,
    )
