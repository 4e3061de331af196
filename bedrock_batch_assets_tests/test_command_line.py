import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bedrock_batch_assets.client.batch_status import BatchState, BatchStatus
from bedrock_batch_assets.client.batches import Batches, BatchFailedError
from bedrock_batch_assets.client.cancellation import Cancellation
from bedrock_batch_assets.client.deletion import Deletion, StoredData
from bedrock_batch_assets.client.webserver import UnreachableError
from bedrock_batch_assets.command_line import cli
from bedrock_batch_assets.local.local_platform import free_port

REQUEST = {"job_name_prefix": "demo", "model_id": "amazon.titan-embed-text-v2:0", "s3_uri": "s3://bucket/topics.csv"}
DONE = BatchStatus("demo", BatchState.done, rows=3, rows_done=3)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that is configured and not there."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BEDROCK_BATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BEDROCK_BATCH_DAGSTER_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", "bucket")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def _run(*arguments: str, stdin: Any = None) -> Result:
    text = stdin if isinstance(stdin, str) or stdin is None else json.dumps(stdin)
    return CliRunner().invoke(cli, list(arguments), input=text)


def _replace(monkeypatch: pytest.MonkeyPatch, **methods: Any) -> None:
    for name, method in methods.items():
        monkeypatch.setattr(Batches, name, method)


def _one_line(result: Result) -> str:
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_help_needs_no_heavy_module() -> None:
    """--help loads neither Dagster nor boto3 nor rich, so that it answers at once."""
    code = (
        "import sys\n"
        "from bedrock_batch_assets.command_line import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "sys.exit(', '.join({'dagster', 'boto3', 'rich', 'requests', 'pandas'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["status", "b"], ["launch", "-"], ["cancel", "b"]])
def test_watching_and_launching_needs_no_dagster(arguments: list[str]) -> None:
    """What people run again and again does not load Dagster, Arrow or pandas, which takes longer than the answer."""
    code = (
        "import sys\n"
        "from bedrock_batch_assets.command_line import cli\n"
        "try:\n"
        f"    cli({arguments!r}, standalone_mode=False)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "sys.exit(', '.join({'dagster', 'pyarrow', 'numpy', 'pandas'} & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "BEDROCK_BATCH_DAGSTER_URL": f"http://127.0.0.1:{free_port()}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(REQUEST),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    # It came as far as asking somebody who was not there.
    assert done.stdout.startswith("Failure ")


@pytest.mark.parametrize("command", ["launch", "status", "cancel", "delete", "download", "models"])
def test_each_command_tells_its_exit_codes(command: str) -> None:
    """The help of every command lists the exit codes."""
    text = _run(command, "--help").stdout
    assert all(f"\n    {code}" in text for code in ("0", "1", "2", "3", "130"))


@pytest.mark.parametrize("request_", ["{", [], {**REQUEST, "colour": 1}, {**REQUEST, "job_name_prefix": "a_b"}])
def test_a_wrong_request_asks_nobody(request_: Any) -> None:
    """A request that does not fit ends with 2 and one line, though Dagster could not be reached (that would be 3)."""
    result = _run("launch", "-", stdin=request_)
    assert result.exit_code == 2
    assert _one_line(result)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    """A request file that is not there ends with 2."""
    assert _run("launch", str(tmp_path / "none.json")).exit_code == 2


@pytest.mark.parametrize("arguments", [("status",), ("cancel", "demo"), ("launch", "-")])
def test_dagster_out_of_reach_is_3(arguments: tuple[str, ...]) -> None:
    """Without a webserver the exit code is 3, and the one line names its address."""
    result = _run(*arguments, stdin=REQUEST)
    assert result.exit_code == 3
    assert os.environ["BEDROCK_BATCH_DAGSTER_URL"] in _one_line(result)


def test_the_url_option_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """--url takes precedence over the environment."""
    url = f"http://127.0.0.1:{free_port()}"
    assert url in _one_line(_run("--url", url, "status"))


def test_without_a_bucket_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """--wait without a bucket ends with 3 before anything is launched."""
    monkeypatch.delenv("BEDROCK_BATCH_BUCKET")
    monkeypatch.setattr(Batches, "launch", lambda *_: pytest.fail("launched"))
    result = _run("launch", "-", "--wait", stdin=REQUEST)
    assert result.exit_code == 3
    assert "BEDROCK_BATCH_BUCKET" in _one_line(result)


def test_aws_out_of_reach_is_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS that does not answer ends with 3 and one line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setattr("time.sleep", lambda _: None)
    result = _run("download", "demo")
    assert result.exit_code == 3
    assert _one_line(result)


def test_a_name_that_is_no_batch_is_no_folder() -> None:
    """A batch name with a path in it is refused before it becomes a folder."""
    result = _run("download", "../../etc")
    assert result.exit_code == 2
    assert "../../etc" in _one_line(result)


def test_launch_tells_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch prints the run's id and link, as JSON on stdout alone if asked for."""
    _replace(monkeypatch, launch=lambda *_: "run-1")
    monkeypatch.setattr("bedrock_batch_assets.client.webserver.Webserver.unhealthy_daemons", lambda *_: ["SENSOR"])
    link = f"{os.environ['BEDROCK_BATCH_DAGSTER_URL']}/runs/run-1"
    result = _run("launch", "-", stdin=REQUEST)
    assert result.exit_code == 0
    assert "run-1" in result.stdout
    assert link in result.stdout
    assert "SENSOR daemon is not running" in result.stderr
    result = _run("launch", "-", "--json", stdin=REQUEST)
    assert json.loads(result.stdout) == {"batch": "demo", "run_id": "run-1", "url": link}


def _follow_to(end: BatchStatus | BaseException) -> Any:
    def follow(self: Batches, batch: str, run_id: str) -> Iterator[BatchStatus]:
        assert (batch, run_id) == ("demo", "run-1")
        yield BatchStatus("demo", BatchState.running, rows=3, rows_done=1)
        if isinstance(end, BaseException):
            raise end
        yield end

    return follow


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (BatchFailedError("The column is missing."), 1, "The column is missing."),
        (UnreachableError("Gone."), 3, "Gone."),
        (KeyboardInterrupt(), 130, "The batch goes on"),
    ],
)
def test_waiting_ends_as_the_batch_does(
    monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int, said: str
) -> None:
    """--wait ends with 1 if the batch failed, 3 if nobody answers, and 130 on Ctrl-C, each with one line."""
    _replace(monkeypatch, launch=lambda *_: "run-1", follow=_follow_to(end))
    monkeypatch.setattr("bedrock_batch_assets.client.webserver.Webserver.unhealthy_daemons", lambda *_: [])
    result = _run("launch", "-", "--wait", stdin=REQUEST)
    assert result.exit_code == code
    assert said in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_waiting_prints_lines_and_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, progress is plain lines on stderr, and stdout is the JSON of the last state."""
    _replace(monkeypatch, launch=lambda *_: "run-1", follow=_follow_to(DONE))
    monkeypatch.setattr("bedrock_batch_assets.client.webserver.Webserver.unhealthy_daemons", lambda *_: [])
    result = _run("launch", "-", "--wait", "--json", stdin=REQUEST)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["state"] == "done"
    assert [line.split() for line in result.stderr.splitlines()[-2:]] == [["demo", "running"], ["demo", "done"]]
    assert "\x1b" not in result.stderr


def test_status_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status of all batches is a list in JSON, and a table with a line each otherwise."""
    _replace(monkeypatch, statuses=lambda *_: [DONE, BatchStatus("other", BatchState.new)])
    assert [item["batch"] for item in json.loads(_run("status", "--json").stdout)] == ["demo", "other"]
    assert {"demo", "other"} <= set(_run("status").stdout.split())


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (Cancellation("demo"), 0, "Nothing of batch demo was running."),
        (Cancellation("demo", ["b"], ["r"], {"arn:x/job1": "Stopped"}), 0, "job1 Stopped"),
        (Cancellation("demo", ["b"], left=["run r"]), 1, "run r"),
    ],
)
def test_cancel_tells_what_ended(monkeypatch: pytest.MonkeyPatch, outcome: Cancellation, code: int, said: str) -> None:
    """Cancel names what it ended, and ends with 1 if something would not end in time."""
    _replace(monkeypatch, cancel=lambda *_, **__: iter([outcome]))
    result = _run("cancel", "demo")
    assert result.exit_code == code
    assert said in result.output
    assert json.loads(_run("cancel", "demo", "--json").stdout)["jobs"] == outcome.jobs


def _deleting(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Something to delete; returns what was asked for, by `data`."""
    plan = Deletion("demo", ["demo-00000"], data=[StoredData("s3://bucket/batch_inputs/demo/", ["p", "q"], 3_000)])
    asked: list[bool] = []
    monkeypatch.setattr("bedrock_batch_assets.client.deletion.plan_deletion", lambda *_: plan)
    monkeypatch.setattr("bedrock_batch_assets.client.deletion.delete_batch", lambda *_, data: asked.append(data))
    return asked


def test_delete_says_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --data nothing is asked, and what stays on S3 is told with its size."""
    asked = _deleting(monkeypatch)
    result = _run("delete", "demo")
    assert (result.exit_code, asked) == (0, [False])
    assert "s3://bucket/batch_inputs/demo/  2 objects, 3.0 kB" in result.stdout
    assert "left on S3" in result.stdout
    assert json.loads(_run("delete", "demo", "--json").stdout)["data_deleted"] is False


@pytest.mark.parametrize(
    ("arguments", "answer", "code", "deleted"),
    [((), "n\n", 1, []), ((), "", 1, []), ((), "y\n", 0, [True]), (("--yes",), "", 0, [True])],
)
def test_data_is_deleted_only_when_a_person_says_so(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], answer: str, code: int, deleted: list[bool]
) -> None:
    """--data asks first, and takes no answer for a no; --yes is the answer."""
    asked = _deleting(monkeypatch)
    result = _run("delete", "demo", "--data", *arguments, stdin=answer)
    assert (result.exit_code, asked) == (code, deleted)
    assert "2 objects" in result.output
