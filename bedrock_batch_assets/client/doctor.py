"""Whether everything is there that a batch needs: an examination of the account and of Dagster, one line a topic."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from bedrock_batch_assets.client.models import GRANTED, UNKNOWN, list_models
from bedrock_batch_assets.client.webserver import Webserver
from bedrock_batch_assets.cost.prices import PRICES_VARIABLE, Prices
from bedrock_batch_assets.errors import BatchError, ConfigurationError
from bedrock_batch_assets.jobs.service import EVENT_QUEUE_VARIABLE, BatchJobs
from bedrock_batch_assets.storage.bucket import BatchBucket

if TYPE_CHECKING:
    from bedrock_batch_assets.processors.registry import Processors

# The quota's name in Service Quotas holds this; the model follows (AWS General Reference, "Amazon Bedrock endpoints and
# quotas").
_JOBS_QUOTA = "sum of in-progress and submitted batch inference jobs using a base model"
# Prices change several times a year.
_OLD_PRICES_DAYS = 180

State = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one topic. The text of a problem says what to do."""

    topic: str
    state: State
    text: str

    def to_json(self) -> dict[str, str]:
        """The finding as plain data."""
        return {"topic": self.topic, "state": self.state, "text": self.text}


class _UnknownError(Exception):
    """What cannot be found out, and is not needed to run batches."""


@dataclass(frozen=True)
class Examination:
    """The platform that is examined, as the environment describes it.

    Each topic's method returns what is fine, and raises a BatchError for a problem, as the rest of the platform does.
    """

    webserver: Webserver
    storage: BatchBucket
    jobs: BatchJobs
    prices: Prices
    processors: "Processors"

    def findings(self) -> Iterator[Finding]:
        """The findings, in the order in which problems are best solved. No error leaves this."""
        topics: Mapping[str, Callable[[], str]] = {
            "region": lambda: self.jobs.region,
            "identity": self._identity,
            "bucket": self._bucket,
            "encryption": self._encryption,
            "role": self._role,
            "models": self._models,
            "quota": self._quota,
            "event queue": self._queue,
            "prices": self._prices,
            "dagster": self._dagster,
        }
        for topic, examine in topics.items():
            yield _finding(topic, examine)

    def _identity(self) -> str:
        return str(self.jobs.client("sts").get_caller_identity()["Arn"])

    def _bucket(self) -> str:
        region = self.storage.objects.check_bucket() or self.jobs.region
        if region != self.jobs.region:
            raise ConfigurationError(
                f"{self.storage.bucket} is in {region}, and jobs run in {self.jobs.region}: set AWS_REGION, or use "
                "another bucket, since Bedrock takes only buckets of its own Region."
            )
        return f"{self.storage.bucket}, in {region}"

    def _encryption(self) -> str:
        answer = self.storage.client("s3").get_bucket_encryption(Bucket=self.storage.bucket)
        default = answer["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        return f"{default['SSEAlgorithm']} {default.get('KMSMasterKeyID', '')}".strip()

    def _role(self) -> str:
        arn = self.jobs.require_role()
        role = self.jobs.client("iam").get_role(RoleName=arn.rpartition("/")[2])["Role"]
        if not _trusts_bedrock(role["AssumeRolePolicyDocument"]):
            raise ConfigurationError(
                f"{arn} does not trust bedrock.amazonaws.com: add it to the role's trust policy, with sts:AssumeRole."
            )
        return f"{arn}, which Bedrock may assume"

    def _models(self) -> str:
        offers = list_models(self.jobs, self.processors)
        granted = sum(offer.access == GRANTED for offer in offers)
        if all(offer.access == UNKNOWN for offer in offers):
            raise _UnknownError(f"{len(offers)} models; which of them can be used is not known")
        if not granted:
            raise ConfigurationError(
                f"None of {len(offers)} models can be used: ask for access in the Bedrock console (Model access)."
            )
        return f"{granted} of {len(offers)} can be used: see bedrock-batch models"

    def _quota(self) -> str:
        pages = self.jobs.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
        quotas = [item for page in pages for item in page["Quotas"] if _JOBS_QUOTA in item["QuotaName"].lower()]
        if not quotas:
            raise _UnknownError("Service Quotas names no quota of batch jobs in flight here")
        least = min(quotas, key=lambda item: float(item["Value"]))
        limit = self.webserver.jobs_in_flight_limit()
        if limit is not None and limit > least["Value"]:
            raise ConfigurationError(
                f"dagster.yaml lets {limit} jobs of a model be in flight, and the account {least['Value']:g} "
                f"({least['QuotaName']}): lower the limit of bedrock/model, or ask for more."
            )
        return f"{least['Value']:g} jobs of a model in flight at least; dagster.yaml allows {limit or 'any number'}"

    def _queue(self) -> str:
        url = self.jobs.event_queue_url
        if not url:
            return f"none, so jobs are polled: set {EVENT_QUEUE_VARIABLE} to spare most of that"
        name = "ApproximateNumberOfMessages"
        answer = self.jobs.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return f"{url}, with {answer['Attributes'][name]} events to read"

    def _prices(self) -> str:
        table = self.prices.table()
        if table is None:
            raise _UnknownError(f"none, so costs are not known and max_cost_usd is refused: set {PRICES_VARIABLE}")
        if table.days_old() > _OLD_PRICES_DAYS:
            raise ConfigurationError(f"{table.describe()}: compare them with AWS's price list.")
        return table.describe()

    def _dagster(self) -> str:
        location = self.webserver.code_location()
        problems = [f"The {name} daemon does not run: start it." for name in self.webserver.unhealthy_daemons()]
        problems += self.webserver.instance_problems()
        if problems:
            raise ConfigurationError(" ".join(problems))
        return f"{self.webserver.url}, code location {location.name}"


def _finding(topic: str, examine: Callable[[], str]) -> Finding:
    from botocore.exceptions import BotoCoreError, ClientError

    from bedrock_batch_assets.aws.error_kinds import is_denied

    try:
        return Finding(topic, "ok", examine())
    except _UnknownError as error:
        return Finding(topic, "unknown", str(error))
    except BatchError as error:
        return Finding(topic, "problem", str(error))
    except ClientError as error:
        # Not needed to run batches, so no problem of the platform.
        why = "not allowed to look" if is_denied(error) else "cannot be looked up here"
        return Finding(topic, "unknown", f"{why}: {error}")
    except BotoCoreError as error:
        return Finding(topic, "problem", f"AWS cannot be asked: {error}")


def _trusts_bedrock(document: Any) -> bool:
    policy = json.loads(unquote(document)) if isinstance(document, str) else document
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        services = (statement.get("Principal") or {}).get("Service", []) if statement.get("Effect") == "Allow" else []
        if "bedrock.amazonaws.com" in ([services] if isinstance(services, str) else services):
            return True
    return False
