import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_batch_assets_tests.local_aws_fixture import end_local_aws, free_port, start_local_aws

COMMAND = [sys.executable, "-m", "bedrock_batch_assets.local_aws"]


def test_it_starts_with_bucket_role_and_settings_and_ends_on_sigint(tmp_path: Path) -> None:
    """The flags make a bucket and a role; SIGINT ends it though its parent, a shell, ignores SIGINT."""
    arguments = ("--bucket", "demo", "--role", "BatchRole", "--data", str(tmp_path / "kept"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running = start_local_aws(tmp_path, {"min_records": 7}, arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.process is not None
    try:
        assert running.endpoint_url.startswith("http://127.0.0.1:")
        assert running.settings()["min_records"] == 7
        assert [bucket["Name"] for bucket in running.client("s3").list_buckets()["Buckets"]] == ["demo"]
        role = running.client("iam").get_role(RoleName="BatchRole")["Role"]
        assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "bedrock.amazonaws.com"}
        os.kill(running.process.pid, signal.SIGINT)
        assert running.process.wait(10) == 0
        assert (tmp_path / "kept" / "local_aws.pickle").exists()
    finally:
        end_local_aws(running)


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    """With the port taken it ends with code 1 and says which."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"local AWS: Port {port} of 127.0.0.1 is taken by another program: choose another --port.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "Cannot read"), ("{", "not valid JSON"), (json.dumps({"min_record": 1}), "min_record")],
)
def test_settings_that_cannot_be_used_are_one_clear_line(tmp_path: Path, text: str | None, message: str) -> None:
    """A settings file that is missing or wrong ends it with code 1 and the reason."""
    file = tmp_path / "settings.json"
    if text is not None:
        file.write_text(text)
    command = [*COMMAND, "--port", str(free_port()), "--settings", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
