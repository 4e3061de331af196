"""One `make dev` at a time in a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.local.folder_lock import folder_lock

HOLD = """
import sys
from pathlib import Path
from bedrock_batch_assets.local.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1]), "http://127.0.0.1:3000"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_one_is_told_who_has_the_folder(tmp_path: Path) -> None:
    """The message names the process and the address of the first; when the first is killed, the folder is free."""
    path = tmp_path / ".dagster" / "dev.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        named = f"process {first.pid}, whose UI is at http://127.0.0.1:3000"
        with pytest.raises(ConfigurationError, match=named), folder_lock(path, "http://127.0.0.1:3001"):
            pytest.fail("two have the folder")
        os.kill(first.pid, signal.SIGKILL)
    with folder_lock(path, "http://127.0.0.1:3001"):
        assert str(os.getpid()) in path.read_text()
