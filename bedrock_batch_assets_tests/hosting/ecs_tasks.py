"""Amazon ECS on this machine: moto keeps clusters, task definitions and tasks, and each task's command is a process.

A task has a host name of its own if this machine allows that, as on Fargate, so nothing can take another task's process
numbers for its own. Tasks end as ECS ends them: SIGTERM, and SIGKILL after the stop timeout.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from bedrock_batch_assets_tests.local_aws_fixture import REGION

CLUSTER = "bedrock-batch"
TASK_DEFINITION = "bedrock-batch-run"
# ECS's default is 30 s; deploy/hosting.yaml sets 120.
_STOP_SECONDS = 30.0
_METADATA = "/metadata"
_TARGET = "AmazonEC2ContainerServiceV20141113."


def in_its_own_host(name: str, command: list[str]) -> list[str]:
    """A command, run under a host name of its own if this machine allows that."""
    if _can_name_hosts():
        return ["unshare", "--uts", "sh", "-c", 'hostname "$1"; shift; exec "$@"', "sh", name, *command]
    return command


def _can_name_hosts() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--uts", "hostname", "test"], capture_output=True, check=False).returncode == 0


@dataclass
class Task:
    """A task, and the process that is its container."""

    arn: str
    process: "subprocess.Popen[bytes]"
    started_at: float
    reason: str = "Essential container in task exited"

    @property
    def exit_code(self) -> int | None:
        """As ECS shows it: 137 for SIGKILL."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code


@dataclass
class EcsTasks:
    """ECS for a `with` block.

    Args:
        environment: The variables of a task's container.
        folder: The tasks' working directory; their logs go below it.
        program: What tasks run instead of their commands.
    """

    environment: Mapping[str, str]
    folder: Path
    program: list[str] | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    # For a while no task can be started, as without capacity.
    has_capacity: bool = True

    def __enter__(self) -> Self:
        """Serve, with a cluster, the task definition of runs, and the task that Dagster itself is in."""
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        session = boto3.Session("local", "local", region_name=REGION)
        ecs, ec2 = (session.client(name, endpoint_url=self.url) for name in ("ecs", "ec2"))
        ecs.create_cluster(clusterName=CLUSTER)
        container = {"name": "run", "image": "bedrock-batch-assets", "cpu": 256, "memory": 512, "essential": True}
        ecs.register_task_definition(
            family=TASK_DEFINITION,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            containerDefinitions=[container],
        )
        network = {
            "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
            "securityGroups": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
        }
        own = ecs.run_task(
            cluster=CLUSTER,
            taskDefinition=TASK_DEFINITION,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
        )
        self._own_task = own["tasks"][0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all tasks."""
        for task in self.tasks.values():
            _signal(task, signal.SIGKILL)
            task.process.wait()
        self._server.shutdown()

    @property
    def client_environment(self) -> dict[str, str]:
        """What makes Dagster's launcher use it: the services' addresses, and that of its own task's metadata."""
        return {
            **{f"AWS_ENDPOINT_URL_{name}": self.url for name in ("ECS", "EC2", "SECRETS_MANAGER", "CLOUDWATCH_LOGS")},
            "ECS_CONTAINER_METADATA_URI_V4": f"{self.url}{_METADATA}",
            "DAGSTER_RUN_TASK_DEFINITION": TASK_DEFINITION,
        }

    @property
    def running(self) -> list[Task]:
        """The tasks that have not ended."""
        return [task for task in list(self.tasks.values()) if task.exit_code is None]

    def kill(self, arn: str) -> None:
        """Kill a task, as if its host was lost."""
        _signal(self.tasks[arn], signal.SIGKILL)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(_METADATA):
            text = json.dumps({"Cluster": CLUSTER, "TaskARN": self._own_task["taskArn"], "Family": "platform"})
            start_response("200 OK", [("Content-Type", "application/json")])
            return [text.encode()]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if not target.startswith(_TARGET):
            # EC2 has its operation in a form.
            action = dict(parse_qsl(body.decode(errors="replace"))).get("Action")
            if action is not None:
                self.calls[f"ec2:{action}"] += 1
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        operation = target.removeprefix(_TARGET)
        self.calls[operation] += 1
        got: list[Any] = []
        answer = b"".join(self._moto(environ, lambda status, headers, *_: got.extend((status, headers))))
        if got[0].startswith("200"):
            answer = self._changed(operation, json.loads(body), answer)
        start_response(got[0], [(name, value) for name, value in got[1] if name.lower() != "content-length"])
        return [answer]

    def _changed(self, operation: str, request: dict[str, Any], text: bytes) -> bytes:
        answer = json.loads(text)
        if operation == "RunTask" and request.get("overrides"):
            if not self.has_capacity:
                failure = {"reason": "RESOURCE:CPU", "detail": "no capacity for this test"}
                return json.dumps({"tasks": [], "failures": [failure]}).encode()
            for task in answer["tasks"]:
                self._start(task["taskArn"], request["overrides"]["containerOverrides"][0])
        elif operation == "StopTask":
            arn = next(arn for arn in self.tasks if arn.endswith(request["task"].rpartition("/")[2]))
            threading.Thread(target=self._stop, args=(arn,), daemon=True).start()
        elif operation == "DescribeTasks":
            for task in answer["tasks"]:
                if task["taskArn"] in self.tasks:
                    self._describe(task, self.tasks[task["taskArn"]])
        return json.dumps(answer).encode()

    def _start(self, arn: str, override: dict[str, Any]) -> None:
        name = arn.rpartition("/")[2]
        more = {item["name"]: item["value"] for item in override.get("environment", [])}
        name_of_program, *arguments = override["command"]
        command = self.program or [str(Path(sys.executable).parent / name_of_program), *arguments]
        log = self.folder / "tasks" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                in_its_own_host(f"ip-{name[:8]}", command),
                env={**self.environment, **more},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.tasks[arn] = Task(arn, process, time.monotonic())

    def _stop(self, arn: str) -> None:
        task = self.tasks[arn]
        task.reason = "Task stopped by user"
        _signal(task, signal.SIGTERM)
        try:
            task.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(task, signal.SIGKILL)

    @staticmethod
    def _describe(shown: dict[str, Any], task: Task) -> None:
        code = task.exit_code
        shown["lastStatus"] = "RUNNING" if code is None else "STOPPED"
        if code is None:
            shown.pop("stoppedReason", None)
            return
        shown["stoppedReason"], shown["stopCode"] = task.reason, "EssentialContainerExited"
        shown["containers"] = [{"name": "run", "exitCode": code, "lastStatus": "STOPPED", "runtimeId": "x"}]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing of requests."""


def _signal(task: Task, number: signal.Signals) -> None:
    try:
        os.killpg(task.process.pid, number)
    except ProcessLookupError:
        return
