"""The batch inference operations: Create, Get, List and Stop."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from bedrock_batch_assets.local_aws import parameters
from bedrock_batch_assets.local_aws.account import Account, split_s3_uri
from bedrock_batch_assets.local_aws.errors import ServiceError
from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.jobs import Job, JobBook, job_arn, new_job_id
from bedrock_batch_assets.local_aws.ledger import canonical
from bedrock_batch_assets.local_aws.lifecycle import Lifecycle
from bedrock_batch_assets.local_aws.model_ids import resolve
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID
from bedrock_batch_assets.local_aws.settings import Settings

# The service's default is not documented; a day is the shortest that can be asked for.
_DEFAULT_TIMEOUT_HOURS = 24
# The default page size of List is not documented either.
_DEFAULT_PAGE = 100
_JOB_ARN = re.compile(
    rf"arn:aws(-[^:]+)?:bedrock:(?P<region>[a-z0-9-]+):{ACCOUNT_ID}:model-invocation-job/[a-z0-9]{{12}}"
)


class BatchApi:
    """Answers the four operations as the service does, from the job book."""

    def __init__(
        self, book: JobBook, lifecycle: Lifecycle, account: Account, faults: Faults, settings: Callable[[], Settings]
    ) -> None:
        self._book = book
        self._lifecycle = lifecycle
        self._account = account
        self._faults = faults
        self._settings = settings

    def create(self, region: str, request: Any) -> dict[str, Any]:
        """CreateModelInvocationJob.

        Raises:
            ServiceError: As the service refuses it: parameters, role, model, buckets, then the quota.
        """
        parameters.check("bedrock", "CreateModelInvocationJob", request)
        s3_input, s3_output = _data_config(request)
        request = {key: value for key, value in request.items() if value is not None}
        if (job := self._earlier(region, request)) is not None:
            return {"jobArn": job.arn}
        self._check_role(request["roleArn"])
        model, model_arn = resolve(request["modelId"], region, self._settings().application_profiles)
        if not model.batch:
            raise ServiceError("ValidationException", "Batch inference is not supported for the requested model.")
        self._check_buckets(s3_input, s3_output)
        settings = self._settings()
        now = self._lifecycle.clock.now()
        hours = request.get("timeoutDurationInHours") or _DEFAULT_TIMEOUT_HOURS
        with self._book.lock:
            # A second request with the same token may have been answered meanwhile.
            if (job := self._earlier(region, request)) is not None:
                return {"jobArn": job.arn}
            if self._book.in_flight(region, model.id) >= settings.max_jobs_in_flight:
                raise ServiceError(
                    "ServiceQuotaExceededException",
                    f"You have reached the maximum of {settings.max_jobs_in_flight} in-progress and submitted batch "
                    f"inference jobs for the model {model.id}. Wait for a job to end, or request a quota increase.",
                )
            job_id = new_job_id()
            job = Job(
                id=job_id,
                arn=job_arn(region, job_id),
                region=region,
                request=request,
                model=model,
                model_arn=model_arn,
                submit_time=now,
                timeout_hours=hours,
                expiration_time=now + hours * settings.seconds_per_timeout_hour,
                ending=self._faults.ending(request["jobName"]),
            )
            self._book.add(job)
        self._lifecycle.announce(job)
        self._lifecycle.schedule(job)
        return {"jobArn": job.arn}

    def get(self, region: str, identifier: str) -> msgspec.Raw:
        """GetModelInvocationJob.

        Raises:
            ServiceError: The identifier is not a job's full ARN, or there is no such job (yet).
        """
        job = self._find(region, identifier)
        settings = self._settings()
        if self._lifecycle.clock.now() < job.submit_time + settings.read_after_create_seconds:
            raise _not_found()
        with self._book.lock:
            return job.described()

    def stop(self, region: str, identifier: str) -> dict[str, Any]:
        """StopModelInvocationJob.

        Raises:
            ServiceError: No such job, or it has ended.
        """
        job = self._find(region, identifier)
        with self._book.lock:
            if job.ended:
                raise ServiceError(
                    self._settings().stop_ended_job,
                    f"The batch inference job {job.arn} is in the status {job.status} and can't be stopped.",
                )
            stopped = job.status != "Stopping" and self._book.enter(
                job, job.status, "Stopping", self._lifecycle.clock.now()
            )
        if stopped:
            self._lifecycle.announce(job)
            self._lifecycle.schedule(job)
        return {}

    def list_jobs(self, region: str, query: dict[str, Any]) -> dict[str, Any]:
        """ListModelInvocationJobs. A page is at most 100 jobs if `maxResults` is not given, newest first.

        Raises:
            ServiceError: A parameter does not fit, or the token is not one of ours.
        """
        query = dict(query)
        if "maxResults" in query:
            query["maxResults"] = _integer(query["maxResults"])
        parameters.check("bedrock", "ListModelInvocationJobs", query)
        after, before = _time(query, "submitTimeAfter"), _time(query, "submitTimeBefore")
        page = query.get("maxResults") or _DEFAULT_PAGE
        ascending = query.get("sortOrder") == "Ascending"
        filters = canonical({key: value for key, value in query.items() if key not in {"nextToken", "maxResults"}})
        cursor = _read_token(query["nextToken"], filters) if query.get("nextToken") else None
        found: list[Job] = []
        with self._book.lock:
            for job in self._book.ordered(ascending, cursor):
                if (
                    job.region == region
                    and (query.get("statusEquals") in {None, job.status})
                    and (query.get("nameContains") or "") in job.name
                    and (after is None or job.submit_time > after)
                    and (before is None or job.submit_time < before)
                ):
                    if len(found) == page:
                        break
                    found.append(job)
            else:
                return {"invocationJobSummaries": [job.described() for job in found]}
            return {
                "invocationJobSummaries": [job.described() for job in found],
                "nextToken": _token(found[-1].sequence, filters),
            }

    def tagging(self, operation: str, request: Any) -> dict[str, Any] | None:
        """ListTagsForResource, TagResource and UntagResource, or None if the resource is none of the jobs.

        Raises:
            ServiceError: A parameter does not fit.
        """
        parameters.check("bedrock", operation, request)
        job = self._book.get(str(request["resourceARN"]))
        if job is None:
            return None
        with self._book.lock:
            if operation == "ListTagsForResource":
                return {"tags": [{"key": key, "value": value} for key, value in job.tags.items()]}
            if operation == "TagResource":
                job.tags = job.tags | {tag["key"]: tag["value"] for tag in request["tags"]}
            else:
                job.tags = {key: value for key, value in job.tags.items() if key not in request["tagKeys"]}
        return {}

    def _find(self, region: str, identifier: str) -> Job:
        parameters.check("bedrock", "GetModelInvocationJob", {"jobIdentifier": identifier})
        match = _JOB_ARN.fullmatch(identifier)
        # The pattern allows the id alone, the live service does not.
        if match is None or match["region"] != region:
            raise ServiceError("ValidationException", "The provided ARN is invalid")
        job = self._book.get(identifier)
        if job is None:
            raise _not_found()
        return job

    def _earlier(self, region: str, request: dict[str, Any]) -> Job | None:
        """The job that was made with the same clientRequestToken."""
        token = request.get("clientRequestToken")
        job = self._book.by_token(region, token) if token else None
        if job is None:
            return None
        if self._settings().repeated_token == "conflict" or canonical(job.request) != canonical(request):
            raise ServiceError(
                "ConflictException",
                f"The clientRequestToken {token} was used before"
                + ("." if job.request == request else " with other parameters."),
            )
        return job

    def _check_role(self, arn: str) -> None:
        if arn.split(":")[4] != ACCOUNT_ID:
            raise ServiceError("AccessDeniedException", "Cross-account pass role is not allowed.")
        trusts = self._account.role_trusts_bedrock(arn)
        if trusts is None:
            raise ServiceError(
                "AccessDeniedException",
                f"User: arn:aws:iam::{ACCOUNT_ID}:user/local is not authorized to perform: iam:PassRole on resource: "
                f"{arn} because no identity-based policy allows the iam:PassRole action",
            )
        if not trusts:
            raise ServiceError(
                "ValidationException",
                f"Could not assume the provided IAM role {arn}. Please verify that the role's trust policy allows "
                "bedrock.amazonaws.com to assume it.",
            )

    def _check_buckets(self, s3_input: dict[str, Any], s3_output: dict[str, Any]) -> None:
        bucket, key = split_s3_uri(s3_input["s3Uri"])
        for config in (s3_input, s3_output):
            name, _ = split_s3_uri(config["s3Uri"])
            if config.get("s3BucketOwner") not in {None, ACCOUNT_ID} or not self._account.has_bucket(name):
                raise ServiceError(
                    "ValidationException",
                    f"Could not validate ListBucket permissions to access Amazon S3 bucket: {name}.",
                )
        if not self._account.input_objects(bucket, key):
            raise ServiceError(
                "ValidationException",
                f"Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key prefix: {key}.",
            )


def _data_config(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    found = []
    for outer, inner in (("inputDataConfig", "s3InputDataConfig"), ("outputDataConfig", "s3OutputDataConfig")):
        config = request[outer].get(inner)
        if config is None:
            raise ServiceError(
                "ValidationException",
                f"1 validation error detected: Value at '{outer}' failed to satisfy constraint: Member must have "
                f"exactly one member set: [{inner}]",
            )
        found.append(config)
    return found[0], found[1]


def _not_found() -> ServiceError:
    return ServiceError("ResourceNotFoundException", "Could not find the model invocation job.")


def _integer(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _time(query: dict[str, Any], name: str) -> float | None:
    if name not in query:
        return None
    try:
        when = datetime.fromisoformat(str(query[name]))
    except ValueError as error:
        message = f"1 validation error detected: Value '{query[name]}' at '{name}' is not a timestamp"
        raise ServiceError("ValidationException", message) from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _token(sequence: int, filters: bytes) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([sequence, filters.decode()])).decode()


def _read_token(token: str, filters: bytes) -> int:
    try:
        sequence, asked = msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=tuple[int, str])
    except (ValueError, msgspec.DecodeError) as error:
        raise ServiceError("ValidationException", "The provided nextToken is invalid.") from error
    if asked.encode() != filters:
        raise ServiceError("ValidationException", "The provided nextToken belongs to a request with other filters.")
    return sequence
