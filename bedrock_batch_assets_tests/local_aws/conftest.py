from dataclasses import dataclass
from typing import Any

import pytest

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"


@dataclass(frozen=True)
class Ready:
    """A stand-in with a bucket, a role, and an input of 100 records at `s3://data/in/rows.jsonl`."""

    aws: LocalAws
    role: str
    uri: str

    def submit(self, model_id: str = HAIKU, uri: str | None = None, **parameters: Any) -> str:
        """Create a job of the input, and return its ARN."""
        return self.aws.submit(uri or self.uri, self.role, model_id, **parameters)


def messages_body(text: str, **more: Any) -> dict[str, Any]:
    """An Anthropic body."""
    content = [{"type": "text", "text": text}]
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": content}],
    } | more


def records(number: int, start: int = 0) -> list[dict[str, Any]]:
    """Records with Anthropic bodies."""
    return [
        {"recordId": f"rec{i:07d}", "modelInput": messages_body(f"Tell a joke about number {i}")}
        for i in range(start, start + number)
    ]


@pytest.fixture
def ready(local_aws: LocalAws) -> Ready:
    local_aws.create_bucket("data")
    role = local_aws.create_role()
    return Ready(local_aws, role, local_aws.put_records("data", "in/rows.jsonl", records(100)))


@pytest.fixture
def slow(ready: Ready) -> Ready:
    """Like `ready`, with a clock that stands still, and ten seconds to each status."""
    seconds = dict.fromkeys(["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"], 10)
    ready.aws.put_settings({"clock": "manual", "seconds": seconds})
    return ready
