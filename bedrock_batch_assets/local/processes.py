"""Programs that are started here, and ended here with everything that they started themselves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bedrock_batch_assets.errors import BatchError

# Lines of a log that are shown when its program failed.
TAIL_LINES = 30
_POLL_SECONDS = 0.1
# This process becomes the program. (Popen's preexec_fn could do it, but not safely if the parent has threads.)
_WITH_DEFAULT_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execvp(sys.argv[1], sys.argv[1:])
"""


class ProgramFailedError(BatchError):
    """A program that was started did not come up, or ended by itself."""


class Program:
    """One program in a session of its own, its output in a log file.

    A shell starts background programs with SIGINT ignored, that is inherited, and `dagster dev` passes it on: then
    nothing but SIGKILL would end its run workers. So the program starts with both signals at their defaults.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WITH_DEFAULT_SIGNALS, *command],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._has_ended = False

    def check(self) -> None:
        """Check that it still runs.

        Raises:
            ProgramFailedError: It has ended; the message holds the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise ProgramFailedError(f"{self.name} ended with exit code {code}. The end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def end(self, grace_seconds: float) -> None:
        """End it and its descendants: SIGINT, as Ctrl-C does it, then SIGTERM, then SIGKILL.

        Args:
            grace_seconds: How long to wait after each of the first two.
        """
        if self._has_ended:
            # The system may have given the group's number to another program by now.
            return
        for number, seconds in ((signal.SIGINT, grace_seconds), (signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
            if not self._signal(number):
                break
            if self._wait_for_group(seconds):
                break
        # Only a zombie is left, which this process has to reap.
        self._process.wait()
        self._has_ended = True

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # macOS says "not permitted" if only zombies are left.
            return False
        return True

    def _wait_for_group(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._process.poll()
            if not group_members(self.pid):
                return True
            time.sleep(_POLL_SECONDS)
        return False


def group_members(group: int) -> list[int]:
    """The processes of a process group that still run; zombies are none."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        return [int(path.name) for path in proc.iterdir() if path.name.isdigit() and _group_of(path) == group]
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(row[0]) for row in rows if len(row) == 3 and int(row[1]) == group and not row[2].startswith("Z")]


def _group_of(path: Path) -> int | None:
    try:
        text = (path / "stat").read_text(errors="replace")
    except OSError:
        return None
    # proc(5): pid (command) state ppid pgrp …; the command may hold anything, also parentheses.
    state, _, group = text.rpartition(")")[2].split()[:3]
    return None if state in {"Z", "X"} else int(group)
