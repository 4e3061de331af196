"""The state of a job, as the service describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

# Terminal statuses of ModelInvocationJobStatus. Any other, also one that is new, means "go on waiting".
FINISHED = frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"})


@dataclass(frozen=True, slots=True)
class JobState:
    """One job, as GetModelInvocationJob or ListModelInvocationJobs describe it.

    Counts are records; None if the service has measured nothing (it answers 0 until processing starts, and on
    failures before it).
    """

    arn: str
    name: str
    status: str
    message: str | None
    model_id: str
    submitted_at: datetime | None
    ended_at: datetime | None
    output_uri: str
    total: int | None
    processed: int | None
    succeeded: int | None
    failed: int | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Self:
        """Read a Get response or one summary of a List response."""
        processed = response.get("processedRecordCount") or 0
        measured = processed > 0
        return cls(
            arn=response["jobArn"],
            name=response.get("jobName", ""),
            status=response["status"],
            message=response.get("message") or None,
            model_id=response["modelId"],
            submitted_at=response.get("submitTime"),
            ended_at=response.get("endTime"),
            output_uri=response["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"],
            total=(response.get("totalRecordCount") or None),
            processed=processed if measured else None,
            succeeded=response.get("successRecordCount") if measured else None,
            failed=response.get("errorRecordCount") if measured else None,
        )

    @property
    def job_id(self) -> str:
        """The last part of the ARN; the service writes its outputs into a folder of this name."""
        return self.arn.rsplit("/", 1)[-1]

    @property
    def output_prefix(self) -> str:
        """`s3://…/<job id>/`, where the job's `.jsonl.out` files and its manifest are."""
        return f"{self.output_uri.rstrip('/')}/{self.job_id}/"

    @property
    def finished(self) -> bool:
        """Whether the status can no longer change."""
        return self.status in FINISHED

    @property
    def progress(self) -> tuple[str, int]:
        """The status, and how many tenths of the records have been processed: what is worth a line for a person."""
        return self.status, 10 * (self.processed or 0) // self.total if self.total else 0

    def describe(self) -> str:
        """One line for logs and observations: `InProgress, 120 of 525 records, 3 errors`."""
        parts = [self.status]
        if self.processed is not None:
            parts.append(f"{self.processed} of {self.total} records" if self.total else f"{self.processed} records")
            if self.failed:
                parts.append(f"{self.failed} errors")
        if self.message and self.finished:
            parts.append(self.message)
        return ", ".join(parts)
