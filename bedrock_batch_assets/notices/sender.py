"""Where notices go: an SNS topic, a webhook such as Slack's, an EventBridge bus; any of them, or none."""

import json
from collections.abc import Callable

from pydantic import Field

from bedrock_batch_assets.aws.clients import AwsClients
from bedrock_batch_assets.notices.notice import Notice

TOPIC_VARIABLE = "BEDROCK_BATCH_SNS_TOPIC_ARN"
WEBHOOK_VARIABLE = "BEDROCK_BATCH_WEBHOOK_URL"
EVENT_BUS_VARIABLE = "BEDROCK_BATCH_EVENT_BUS"

# Of the events on the bus, for the pattern of a rule.
EVENT_SOURCE = "bedrock_batch_assets"
EVENT_DETAIL_TYPE = "Batch State Change"
_WEBHOOK_SECONDS = 10.0
_WEBHOOK_TRIES = 3


class NoticeSender(AwsClients, frozen=True):
    """One message per batch, when it is done, failed, refused or over budget. Not configured by default."""

    sns_topic_arn: str = Field(default="", description=f"SNS topic to publish to ({TOPIC_VARIABLE}).")
    webhook_url: str = Field(
        default="",
        description=f'Address that gets {{"text": …}} by POST, as Slack\'s incoming webhooks do ({WEBHOOK_VARIABLE}).',
    )
    event_bus_name: str = Field(
        default="", description=f'EventBridge bus for events of source "{EVENT_SOURCE}" ({EVENT_BUS_VARIABLE}).'
    )
    ui_url: str = Field(default="", description="Address of Dagster's webserver, for links.")
    # A tick of a sensor has 60 s.
    read_timeout_seconds: int = Field(default=10, ge=1, description="Longest wait for an answer, before a retry.")
    max_attempts: int = Field(default=3, ge=1, description="Tries per API call.")

    def targets(self) -> list[str]:
        """The names of the targets that are configured."""
        given = {"sns": self.sns_topic_arn, "webhook": self.webhook_url, "events": self.event_bus_name}
        return [name for name, value in given.items() if value]

    def send(self, notice: Notice, target: str) -> None:
        """Send a notice to a target, with a few tries.

        Raises:
            Exception: Whatever went wrong; nothing that a batch depends on.
        """
        send: dict[str, Callable[[Notice], None]] = {
            "sns": self._publish,
            "webhook": self._post,
            "events": self._put_event,
        }
        send[target](notice)

    def _publish(self, notice: Notice) -> None:
        self.client("sns").publish(
            TopicArn=self.sns_topic_arn,
            # At most 100 ASCII characters (API reference, Publish); a batch's name has at most 40.
            Subject=f"Batch {notice.batch}: {notice.state}",
            Message=notice.text(),
            MessageAttributes={"state": {"DataType": "String", "StringValue": notice.state}},
        )

    def _post(self, notice: Notice) -> None:
        import requests
        from requests.adapters import HTTPAdapter, Retry

        retry = Retry(_WEBHOOK_TRIES, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503), allowed_methods=None)
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            answer = session.post(self.webhook_url, json={"text": notice.text()}, timeout=_WEBHOOK_SECONDS)
        answer.raise_for_status()

    def _put_event(self, notice: Notice) -> None:
        entry = {
            "Source": EVENT_SOURCE,
            "DetailType": EVENT_DETAIL_TYPE,
            "Detail": json.dumps(notice.to_json()),
            "EventBusName": self.event_bus_name,
        }
        answer = self.client("events").put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            raise RuntimeError(f"EventBridge took no event: {answer['Entries'][0].get('ErrorMessage')}")
