"""Fixtures with the local AWS stand-in as a real process: one for the session, reset for each test that uses it.

    def test_something(local_aws):
        local_aws.create_bucket("data")
        local_aws.put_settings({"min_records": 1})
        local_aws.client("s3").put_object(...)

`local_aws` also sets the AWS variables of the environment, so code under test finds the stand-in by itself.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

# Jobs pass through their statuses in tenths of a second, unless a test sets something else.
FAST = {"seconds": {"Submitted": 0.02, "Validating": 0.02, "Scheduled": 0.02, "InProgress": 0.05, "Stopping": 0.02}}
REGION = "us-east-1"
_START_SECONDS = 60.0
_END_SECONDS = 10.0


class LocalAws:
    """A running stand-in, and what tests ask of it."""

    def __init__(self, endpoint_url: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.endpoint_url = endpoint_url
        self.process = process
        self.region = REGION
        self._clients: dict[tuple[str, bool], Any] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the environment that lead to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON body of a request to the control endpoint."""
        connection = http.client.HTTPConnection(self.endpoint_url.removeprefix("http://"), timeout=60)
        try:
            connection.request(method, f"/_local/{path}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.request(method, path, body)
        if status != 200:
            raise ValueError(f"{method} {path}: {status} {answer}")
        return answer

    def settings(self) -> dict[str, Any]:
        """All settings."""
        result: dict[str, Any] = self._ask("GET", "settings")
        return result

    def put_settings(self, change: dict[str, Any]) -> dict[str, Any]:
        """Change some settings; returns all."""
        result: dict[str, Any] = self._ask("PUT", "settings", change)
        return result

    def reset(self) -> None:
        """Forget everything."""
        self._ask("POST", "reset")

    def advance(self, seconds: float) -> None:
        """Move the clock, which must have been set to manual."""
        self._ask("POST", "advance", {"seconds": seconds})

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs."""
        result: list[dict[str, Any]] = self._ask("GET", "jobs")["jobs"]
        return result

    def max_in_flight(self) -> dict[str, int]:
        """The most jobs at once by base model id."""
        result: dict[str, int] = self._ask("GET", "jobs")["max_in_flight"]
        return result

    def ledger(self) -> list[dict[str, Any]]:
        """Every billed record."""
        result: list[dict[str, Any]] = self._ask("GET", "ledger")["records"]
        return result

    def ledger_summary(self) -> dict[str, Any]:
        """Totals of the ledger."""
        result: dict[str, Any] = self._ask("GET", "ledger?summary=1")
        return result

    def calls(self) -> dict[str, int]:
        """API calls by operation."""
        result: dict[str, int] = self._ask("GET", "calls")
        return result

    def client(self, service: str, *, retries: bool = True) -> Any:
        """A boto3 client, made once; without `retries` an error comes at the first try."""
        name: Any = service
        if (service, retries) not in self._clients:
            self._clients[service, retries] = boto3.client(
                name,
                endpoint_url=self.endpoint_url,
                region_name=self.region,
                aws_access_key_id="local",
                aws_secret_access_key="local",
                # Whatever boto3 would not send is the stand-in's to refuse.
                config=Config(
                    retries={"total_max_attempts": 4 if retries else 1, "mode": "standard"}, parameter_validation=False
                ),
            )
        return self._clients[service, retries]

    def create_bucket(self, name: str = "data") -> str:
        """Make a bucket and return its name."""
        self.client("s3").create_bucket(Bucket=name)
        return name

    def create_role(self, name: str = "BatchRole", service: str = "bedrock.amazonaws.com") -> str:
        """Make a role that a service may take on and return its ARN."""
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        role = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
        arn: str = role["Role"]["Arn"]
        return arn

    def put_records(self, bucket: str, key: str, records: list[dict[str, Any]]) -> str:
        """Write records as JSONL and return the object's URI."""
        body = "".join(json.dumps(record) + "\n" for record in records)
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=body.encode())
        return f"s3://{bucket}/{key}"

    def read_outputs(self, uri: str) -> dict[str, bytes]:
        """All objects under a URI, by the part of the key after it."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def submit(self, input_uri: str, role: str, model_id: str, **parameters: Any) -> str:
        """Create a job that writes to `out/` of the input's bucket and return its ARN; `parameters` replace ours."""
        request: dict[str, Any] = {
            "jobName": "job",
            "roleArn": role,
            "modelId": model_id,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": input_uri}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{input_uri.split('/')[2]}/out/"}},
        }
        answer = self.client("bedrock", retries=False).create_model_invocation_job(**request | parameters)
        arn: str = answer["jobArn"]
        return arn

    def job(self, arn: str) -> dict[str, Any]:
        """GetModelInvocationJob's answer."""
        answer: dict[str, Any] = self.client("bedrock").get_model_invocation_job(jobIdentifier=arn)
        return answer

    def wait_for_status(self, status: str, timeout: float = 30) -> None:
        """Wait until every job is in a status, without an API call."""
        wait_until(lambda: {job["status"] for job in self.jobs()} == {status}, timeout)

    def wait_for_job(self, arn: str, *statuses: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until a job has ended, or is in one of the statuses, and return GetModelInvocationJob's answer."""
        wanted = statuses or ("Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped")
        last: dict[str, Any] = {}

        def arrived() -> bool:
            last.update(self.job(arn))
            return last["status"] in wanted

        wait_until(arrived, timeout)
        return last


def wait_until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Ask again and again, for `timeout` seconds at most."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s")
        time.sleep(0.02)


@contextmanager
def refused(code: str, message: str = "", status: int | None = None) -> Iterator[None]:
    """Expect an error answer with this code, with `message` in its message, and with this HTTP status."""
    with pytest.raises(ClientError) as raised:
        yield
    answer: Any = raised.value.response
    assert answer["Error"]["Code"] == code
    assert message in answer["Error"]["Message"]
    if status is not None:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_local_aws(folder: Path, settings: dict[str, Any] | None = None, arguments: tuple[str, ...] = ()) -> LocalAws:
    """Start a stand-in on a free port and wait until it answers. `folder` takes its settings and its log.

    Raises:
        RuntimeError: It ended, or did not answer in time. Shows its log.
    """
    file, log = folder / "settings.json", folder / "local_aws.log"
    file.write_text(json.dumps(FAST if settings is None else settings))
    port = free_port()
    command = [sys.executable, "-m", "bedrock_batch_assets.local_aws", "--port", str(port), "--settings", str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"AWS_REGION": REGION}
        )
    running = LocalAws(f"http://127.0.0.1:{port}", process)

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"local AWS ended with {process.returncode}: {log.read_text()}")
        try:
            return running.request("GET", "health")[0] == 200
        except OSError:
            return False

    try:
        wait_until(answers, _START_SECONDS)
    except TimeoutError as error:
        end_local_aws(running)
        raise RuntimeError(f"local AWS does not answer: {log.read_text()}") from error
    return running


def end_local_aws(running: LocalAws) -> int | None:
    """End a stand-in that `start_local_aws` started, and return its exit code."""
    process = running.process
    if process is None:
        return None
    process.terminate()
    try:
        return process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@pytest.fixture(scope="session")
def local_aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """The session's stand-in."""
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"))
    yield running
    assert end_local_aws(running) == 0


@pytest.fixture
def local_aws(local_aws_server: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """The session's stand-in with nothing in it, and the environment that leads to it."""
    local_aws_server.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in local_aws_server.environment.items():
        monkeypatch.setenv(name, value)
    return local_aws_server
