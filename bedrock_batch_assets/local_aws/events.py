"""State-change events: put on the default EventBridge bus, and from there to the targets of matching rules."""

import json
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from bedrock_batch_assets.local_aws import moto_internals
from bedrock_batch_assets.local_aws.account import Account
from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.jobs import Job
from bedrock_batch_assets.local_aws.moto_internals import ACCOUNT_ID

logger = logging.getLogger(__name__)

SOURCE = "aws.bedrock"
DETAIL_TYPE = "Batch Inference Job State Change"


def state_change(job: Job) -> dict[str, Any]:
    """The event of the status that a job is in, as in "Monitor job state changes using Amazon EventBridge".

    Its two times are written as in that page's example: neither is ISO 8601.
    """
    changed_at = datetime.fromtimestamp(job.transitions[-1][1], UTC)
    created_at = datetime.fromtimestamp(job.submit_time, UTC)
    clock_time = f"{created_at:%I:%M:%S %p}".removeprefix("0")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": DETAIL_TYPE,
        "source": SOURCE,
        "account": ACCOUNT_ID,
        "time": changed_at.strftime("%a %b %d %H:%M:%S UTC %Y"),
        "region": job.region,
        "resources": [job.arn],
        "detail": {
            "version": "0.0",
            "accountId": ACCOUNT_ID,
            "batchJobName": job.name,
            "batchJobArn": job.arn,
            "batchModelId": job.model_arn,
            "status": job.status,
            "failureMessage": job.message or "",
            "creationTime": f"{created_at:%b} {created_at.day}, {created_at.year}, {clock_time}",
        },
    }


class EventBus:
    """Delivers events to the rules that were made through the EventBridge API."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self._account = account
        self._faults = faults

    def put(self, event: dict[str, Any]) -> None:
        """Deliver an event to every enabled rule that matches it, once, or as the faults say."""
        fault = self._faults.event()
        if fault == "drop":
            return
        with self._account.lock:
            rules = moto_internals.matching_rules(event["region"], event)
            for _ in range(2 if fault == "twice" else 1):
                for rule in rules:
                    self._deliver(rule, event)

    def _deliver(self, rule: Any, event: dict[str, Any]) -> None:
        for target in rule.targets:
            if target["Arn"].split(":")[2] != "sqs" or "InputTransformer" in target:
                continue
            # Not through moto's own delivery: it rewrites `time`, which the service leaves in its odd format.
            group = target.get("SqsParameters", {}).get("MessageGroupId")
            body = target.get("Input") or json.dumps(event)
            try:
                moto_internals.send_to_queue(target["Arn"], body, group)
            except moto_internals.RefusedError as error:
                # The service drops what it cannot deliver, and so does this.
                logger.warning("event for rule %s not delivered to %s: %s", rule.name, target["Arn"], error)
        others = [t for t in rule.targets if t["Arn"].split(":")[2] != "sqs" or "InputTransformer" in t]
        if others:
            moto_internals.send_to_targets(rule, others, event)
