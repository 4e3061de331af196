"""The Bedrock batch API as a resource: create, find, describe and stop jobs.

Nothing here decides whether a job is needed; `jobs/ownership.py` does.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.aws.error_kinds import error_code
from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.jobs.naming import JobName
from bedrock_batch_assets.jobs.state import JobState

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient

ROLE_ARN_VARIABLE = "BEDROCK_BATCH_ROLE_ARN"
EVENT_QUEUE_VARIABLE = "BEDROCK_BATCH_EVENT_QUEUE_URL"


class BatchJobs(AwsClients, frozen=True):
    """Bedrock batch inference jobs (model invocation jobs)."""

    role_arn: str = Field(
        default="",
        description=f"Role that Bedrock assumes to read the records and write the outputs on S3 ({ROLE_ARN_VARIABLE}).",
    )
    timeout_hours: int = Field(
        default=72,
        ge=24,
        le=168,
        description="The service gives a job up after so many hours (24 to 168); what was processed is kept.",
    )
    output_kms_key_id: str | None = Field(default=None, description="KMS key that encrypts the jobs' outputs.")
    subnet_ids: list[str] = Field(default=[], description="Subnets of the VPC that the jobs run in.")
    security_group_ids: list[str] = Field(default=[], description="Security groups of that VPC.")
    job_tags: dict[str, str] = Field(default={}, description="AWS tags put on every job, e.g. for cost allocation.")
    minimum_records: int = Field(
        default=100,
        ge=1,
        description='The service\'s "Minimum number of records per batch inference job"; fewer go on demand.',
    )
    repair_waves: int = Field(
        default=2,
        ge=0,
        le=20,
        description="How often records are asked for again that failed for the moment or never came back.",
    )
    event_queue_url: str = Field(
        default="",
        description="SQS queue that an EventBridge rule fills with the jobs' state changes "
        f"({EVENT_QUEUE_VARIABLE}). Its messages are deleted when they are read. Without it jobs are polled.",
    )
    max_poll_seconds: float = Field(default=60.0, gt=0, description="Longest wait between two looks at one job.")

    @property
    def bedrock(self) -> "BedrockClient":
        """The boto3 client of the Bedrock control plane."""
        client: BedrockClient = self.client("bedrock")
        return client

    @property
    def region(self) -> str:
        """The AWS region in use."""
        return self.bedrock.meta.region_name

    @property
    def console_url(self) -> str:
        """The AWS console's page of batch inference jobs. It has no documented address for a single job."""
        return f"https://{self.region}.console.aws.amazon.com/bedrock/home?region={self.region}#/batch-inference"

    def require_role(self) -> str:
        """The service role's ARN.

        Raises:
            ConfigurationError: None is configured.
        """
        if not self.role_arn:
            raise ConfigurationError(
                f"No service role for Bedrock batch jobs: set {ROLE_ARN_VARIABLE} to the ARN of a role that Bedrock "
                "can assume and that can read and write the bucket, or run `make dev` for a local stand-in."
            )
        return self.role_arn

    def create(
        self,
        name: JobName,
        *,
        model_id: str,
        invocation_type: Literal["InvokeModel", "Converse"],
        input_uri: str,
        output_uri: str,
    ) -> str:
        """Ask for a job and return its ARN. The same name twice is the same job: the name makes the token.

        Raises:
            ConfigurationError: Access is denied, or no role is configured.
            botocore.exceptions.ClientError: Anything else that the service refuses.
        """
        request: dict[str, Any] = {
            "jobName": str(name),
            "clientRequestToken": name.client_request_token,
            "roleArn": self.require_role(),
            "modelId": model_id,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": input_uri, "s3InputFormat": "JSONL"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": output_uri}},
            # The default of this parameter is not documented, so it is always sent.
            "timeoutDurationInHours": self.timeout_hours,
            "tags": [
                {"key": "bedrock-batch/batch", "value": name.batch},
                {"key": "bedrock-batch/chunk", "value": name.chunk},
                *({"key": key, "value": value} for key, value in self.job_tags.items()),
            ],
        }
        if self.output_kms_key_id:
            request["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] = self.output_kms_key_id
        if self.subnet_ids or self.security_group_ids:
            request["vpcConfig"] = {"subnetIds": self.subnet_ids, "securityGroupIds": self.security_group_ids}
        if invocation_type == "Converse":
            # InvokeModel is the default, and older versions of the service do not know the parameter.
            request["modelInvocationType"] = invocation_type
        what = f"model {model_id} with role {self.role_arn}"
        with errors_explained("bedrock:CreateModelInvocationJob (with iam:PassRole)", what):
            return str(self.bedrock.create_model_invocation_job(**request)["jobArn"])

    def get(self, arn: str) -> JobState:
        """Describe one job. Takes the full ARN: the service refuses bare job ids."""
        with errors_explained("bedrock:GetModelInvocationJob", arn):
            return JobState.from_response(self.bedrock.get_model_invocation_job(jobIdentifier=arn))

    def list(self, *, name_contains: str | None = None, submitted_after: datetime | None = None) -> Iterator[JobState]:
        """Describe many jobs, newest first, 1,000 a call."""
        filters: dict[str, Any] = {"sortBy": "CreationTime", "sortOrder": "Descending", "maxResults": 1000}
        if name_contains:
            filters["nameContains"] = name_contains
        if submitted_after:
            filters["submitTimeAfter"] = submitted_after
        while True:
            with errors_explained("bedrock:ListModelInvocationJobs", "all jobs"):
                page = self.bedrock.list_model_invocation_jobs(**filters)
            for summary in page.get("invocationJobSummaries", []):
                yield JobState.from_response(summary)
            if not page.get("nextToken"):
                return
            filters["nextToken"] = page["nextToken"]

    def find_family(self, name: JobName) -> dict[JobName, JobState]:
        """All jobs that were ever made for this content of this chunk, by name, first wave first."""
        found: dict[JobName, JobState] = {}
        for state in self.list(name_contains=name.family):
            parsed = JobName.parse(state.name)
            # nameContains also finds the family inside longer names; newest first, so the first one found counts.
            if parsed is not None and parsed.family == name.family:
                found.setdefault(parsed, state)
        return dict(sorted(found.items()))

    def stop(self, arn: str) -> bool:
        """Ask the service to stop a job. False if it has already ended or is unknown.

        What was processed until then is paid and written (StopModelInvocationJob, API reference).
        """
        from botocore.exceptions import ClientError

        try:
            with errors_explained("bedrock:StopModelInvocationJob", arn):
                self.bedrock.stop_model_invocation_job(jobIdentifier=arn)
        except ClientError as error:
            # Conflict is documented for ended jobs; live reports also show ValidationException.
            if error_code(error) in {"ConflictException", "ValidationException", "ResourceNotFoundException"}:
                return False
            raise
        return True
