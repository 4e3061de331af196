"""The job book: every job, its state, and the limits that hold across jobs."""

import secrets
import string
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.models_table import Model
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID
from bedrock_batch_assets.local_aws.processing import Work
from bedrock_batch_assets.local_aws.settings import JobEnding

Status = Literal[
    "Submitted", "Validating", "Scheduled", "InProgress", "Stopping",
    "Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped",
]  # fmt: skip
FINAL_STATUSES = frozenset({"Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"})
_ID_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(slots=True, eq=False)
class Job:
    """One model invocation job. Times are seconds since the epoch."""

    id: str
    arn: str
    region: str
    # Create's parameters, as they came.
    request: dict[str, Any]
    model: Model
    model_arn: str
    submit_time: float
    timeout_hours: int
    expiration_time: float
    ending: JobEnding | None
    sequence: int = 0
    status: Status = "Submitted"
    message: str | None = None
    step_started: float = 0.0
    end_time: float | None = None
    transitions: list[tuple[Status, float]] = field(default_factory=list)
    total: int = 0
    processed: int = 0
    success: int = 0
    error: int = 0
    work: Work | None = None
    # Counts the appointments made for this job, so that an earlier one is void.
    appointment: int = 0
    _described: tuple[tuple[int, int, int], msgspec.Raw] | None = None
    # None means the tags that Create was given.
    _tags: dict[str, str] | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The job's tags, value by key."""
        # A job that was stored by an earlier version has no such field.
        tags: dict[str, str] | None = getattr(self, "_tags", None)
        if tags is not None:
            return tags
        return {tag["key"]: tag["value"] for tag in self.request.get("tags") or []}

    @tags.setter
    def tags(self, tags: dict[str, str]) -> None:
        self._tags = tags

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.request["jobName"])

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status in FINAL_STATUSES

    def described(self) -> msgspec.Raw:
        """The job as Get and List answer it, in JSON. Made anew only when something changed."""
        state = (len(self.transitions), self.processed, self.total)
        if self._described is None or self._described[0] != state:
            self._described = state, msgspec.Raw(msgspec.json.encode(self._description()))
        return self._described[1]

    def _description(self) -> dict[str, Any]:
        last = self.transitions[-1][1] if self.transitions else self.submit_time
        s3_input = self.request["inputDataConfig"]["s3InputDataConfig"]
        described: dict[str, Any] = {
            "jobArn": self.arn,
            "jobName": self.name,
            "modelId": self.model_arn,
            "clientRequestToken": self.request.get("clientRequestToken"),
            "roleArn": self.request["roleArn"],
            "status": self.status,
            "message": self.message,
            "submitTime": timestamp(self.submit_time),
            "lastModifiedTime": timestamp(last),
            "endTime": None if self.end_time is None else timestamp(self.end_time),
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL"} | s3_input},
            "outputDataConfig": self.request["outputDataConfig"],
            "vpcConfig": self.request.get("vpcConfig"),
            "timeoutDurationInHours": self.timeout_hours,
            "jobExpirationTime": timestamp(self.expiration_time),
            "modelInvocationType": self.request.get("modelInvocationType", "InvokeModel"),
            "totalRecordCount": self.total,
            "processedRecordCount": self.processed,
            "successRecordCount": self.success,
            "errorRecordCount": self.error,
        }
        return {key: value for key, value in described.items() if value is not None}


def timestamp(seconds: float) -> str:
    """An ISO 8601 time in UTC with milliseconds, as the service writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_job_id() -> str:
    """Twelve letters and digits."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))


def job_arn(region: str, job_id: str) -> str:
    """The ARN of a job."""
    return f"arn:aws:bedrock:{region}:{ACCOUNT_ID}:model-invocation-job/{job_id}"


class JobBook:
    """All jobs, in the order of their submission. `lock` guards the book and the state of every job in it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._jobs: list[Job] = []
        self._by_arn: dict[str, Job] = {}
        self._by_token: dict[tuple[str, str], Job] = {}
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._max_in_flight: Counter[tuple[str, str]] = Counter()

    def clear(self) -> None:
        """Forget all jobs."""
        with self.lock:
            self._jobs.clear()
            self._by_arn.clear()
            self._by_token.clear()
            self._in_flight.clear()
            self._max_in_flight.clear()

    def add(self, job: Job) -> None:
        """Take in a new job, in its first status."""
        with self.lock:
            job.step_started = job.submit_time
            job.transitions.append((job.status, job.submit_time))
            self.restore(job)

    def restore(self, job: Job) -> None:
        """Take in a job as it is."""
        with self.lock:
            job.sequence = len(self._jobs)
            self._jobs.append(job)
            self._by_arn[job.arn] = job
            token = job.request.get("clientRequestToken")
            if token:
                self._by_token[job.region, token] = job
            if job.ended:
                return
            key = (job.region, job.model.id)
            self._in_flight[key] += 1
            self._max_in_flight[key] = max(self._max_in_flight[key], self._in_flight[key])

    def enter(self, job: Job, expected: Status, status: Status, when: float, message: str | None = None) -> bool:
        """Change a job's status, unless it is no longer the `expected` one. Returns whether it was changed."""
        with self.lock:
            if job.status != expected:
                return False
            job.status = status
            job.step_started = when
            job.transitions.append((status, when))
            if message is not None:
                job.message = message
            if job.ended:
                job.end_time = when
                self._in_flight[job.region, job.model.id] -= 1
            return True

    def get(self, arn: str) -> Job | None:
        """The job of this ARN."""
        with self.lock:
            return self._by_arn.get(arn)

    def by_token(self, region: str, token: str) -> Job | None:
        """The job that was made with this clientRequestToken."""
        with self.lock:
            return self._by_token.get((region, token))

    def in_flight(self, region: str, model_id: str) -> int:
        """The number of jobs of a base model that have not ended."""
        with self.lock:
            return self._in_flight[region, model_id]

    def max_in_flight(self) -> dict[str, int]:
        """The most jobs that were in flight at once, by base model id, the highest of all Regions."""
        highest: dict[str, int] = {}
        with self.lock:
            for (_, model_id), number in self._max_in_flight.items():
                highest[model_id] = max(number, highest.get(model_id, 0))
        return highest

    def jobs(self) -> list[Job]:
        """All jobs, by submission."""
        with self.lock:
            return list(self._jobs)

    def active(self) -> list[Job]:
        """The jobs that have not ended."""
        with self.lock:
            return [job for job in self._jobs if not job.ended]

    def ordered(self, ascending: bool, after: int | None) -> Iterator[Job]:
        """The jobs by submission, those beyond the one with sequence number `after` if it is given."""
        with self.lock:
            if ascending:
                yield from self._jobs[0 if after is None else after + 1 :]
            else:
                yield from reversed(self._jobs[: None if after is None else after])
