"""The platform that the benchmarks of this folder measure: the real one, in a temporary folder of its own."""

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from bedrock_batch_assets.client.request_file import checked_request, run_config
from bedrock_batch_assets.client.webserver import Webserver
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.local.local_platform import LocalPlatform

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
_POLL_SECONDS = 0.5


class TooSlowError(BatchError):
    """What a benchmark waits for did not happen within its time."""


class FailedRunError(BatchError):
    """A run that a benchmark measures has failed. The message says why."""


class RunningPlatform:
    """A running platform, and what benchmarks ask of it."""

    def __init__(self, platform: LocalPlatform) -> None:
        self.platform = platform
        self.web = Webserver(platform.webserver_url)
        self.instance = dg.DagsterInstance.from_config(platform.environment["DAGSTER_HOME"])

    def launch(self, batch: str, rows: int, per_job: int) -> str:
        """Start a batch of short text prompts; returns the id of the run that reads its input."""
        text = "id,topic\n" + "".join(f"{number},{batch} topic {number}\n" for number in range(rows))
        key = f"inputs/{batch}.csv"
        self.client("s3").put_object(Bucket=self.platform.bucket, Key=key, Body=text.encode())
        fields = {
            "job_name_prefix": batch,
            "s3_uri": f"s3://{self.platform.bucket}/{key}",
            "model_id": MODEL,
            "prompt_id": "joke_about_topic",
            "max_records_per_job": per_job,
        }
        self.web.code_location()
        self.web.add_batch(batch)
        return self.web.launch("input_dataset", batch, run_config(checked_request(fields)[1]))

    def client(self, service: str) -> Any:
        """A boto3 client of local AWS."""
        import boto3

        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.platform.aws_url,
            region_name=self.platform.environment["AWS_REGION"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def ask_aws(self, name: str, change: Mapping[str, Any] | None = None) -> Any:
        """The answer of local AWS's control endpoint; with `change`, settings are changed."""
        request = urllib.request.Request(
            f"{self.platform.aws_url}/_local/{name}",
            data=None if change is None else json.dumps(change).encode(),
            method="GET" if change is None else "PUT",
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def runs(self, batch: str) -> list[dg.RunRecord]:
        """The runs of the batch's chunks, oldest first."""
        found = self.instance.get_run_records(dg.RunsFilter(tags={"bedrock/batch": batch}), ascending=True)
        return [record for record in found if record.dagster_run.tags.get("dagster/partition") != batch]

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until something holds.

        Raises:
            TooSlowError: It did not within so many seconds. The message holds the end of Dagster's log.
            ProgramFailedError: Dagster or local AWS has ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.platform.dagster.check()
            self.platform.aws.check()
            if time.monotonic() > deadline:
                raise TooSlowError(f"Not within {seconds:g} s: {what}.\n{self.platform.dagster.tail()}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def started_platform(
    *, dagster_yaml: Mapping[str, Any] | None = None, aws_settings: Mapping[str, Any] | None = None
) -> Iterator[RunningPlatform]:
    """A platform for a `with` block, ended with all that it has started."""
    with tempfile.TemporaryDirectory(prefix="bedrock-batch-bench-", ignore_cleanup_errors=True) as folder:
        # As on most machines: what Python compiles is kept, wherever this one's environment says not to.
        environment = {"PYTHONDONTWRITEBYTECODE": "", **_pycache()}
        platform = LocalPlatform(
            Path(folder), dagster_yaml=dagster_yaml, aws_settings=aws_settings, environment=environment
        )
        with platform:
            running = RunningPlatform(platform)
            try:
                yield running
            finally:
                running.instance.dispose()


def _pycache() -> dict[str, str]:
    return {"PYTHONPYCACHEPREFIX": os.environ["PYTHONPYCACHEPREFIX"]} if "PYTHONPYCACHEPREFIX" in os.environ else {}


def limits(in_flight: int) -> dict[str, Any]:
    """A change of dagster.yaml: so many jobs in flight."""
    return {
        "concurrency": {
            "runs": {
                "tag_concurrency_limits": [
                    {"key": "bedrock/model", "value": {"applyLimitPerUniqueValue": True}, "limit": in_flight},
                    {"key": "bedrock/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
                ]
            }
        }
    }
