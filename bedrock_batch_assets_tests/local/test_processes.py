import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bedrock_batch_assets.local.processes import Program, ProgramFailedError, group_members

# Starts a child, tells its pid, and waits; neither ends by itself.
_PARENT = """
import signal, subprocess, sys, time
{setup}
child = subprocess.Popen([sys.executable, "-c", '''{setup}
import time
print("child is up", flush=True)
time.sleep(600)'''])
print(child.pid, flush=True)
time.sleep(600)
"""
_STUBBORN = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def _start(tmp_path: Path, code: str) -> Program:
    return Program(
        "The program",
        [sys.executable, "-c", code],
        log=tmp_path / "logs" / "program.log",
        environment=os.environ,
        directory=tmp_path,
    )


@pytest.mark.parametrize("setup", ["", _STUBBORN], ids=["polite", "stubborn"])
def test_end_leaves_no_descendant(tmp_path: Path, setup: str) -> None:
    """Ending a program ends its children too, even if both ignore SIGINT and SIGTERM."""
    program = _start(tmp_path, _PARENT.format(setup=setup))
    try:
        _until(lambda: "child is up" in program.tail())
        assert len(group_members(program.pid)) == 2
    finally:
        program.end(0.5)
    assert group_members(program.pid) == []


def test_ending_an_orphaned_group(tmp_path: Path) -> None:
    """Children that outlived their parent are ended with it."""
    program = _start(tmp_path, _PARENT.format(setup=""))
    try:
        _until(lambda: "child is up" in program.tail())
        os.kill(program.pid, signal.SIGKILL)
        _until(lambda: len(group_members(program.pid)) == 1)
    finally:
        program.end(5.0)
    assert group_members(program.pid) == []


def test_ignored_signals_are_not_inherited(tmp_path: Path) -> None:
    """A program started while SIGINT and SIGTERM are ignored gets both at their defaults."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        program = _start(
            tmp_path,
            "import signal\n"
            "for number in (signal.SIGINT, signal.SIGTERM):\n"
            "    print(signal.getsignal(number) is signal.SIG_IGN)\n"
            "print('end')",
        )
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    try:
        _until(lambda: "end" in program.tail())
    finally:
        program.end(5.0)
    assert program.tail() == "False\nFalse\nend"


def test_a_program_that_ended_is_told_with_its_log(tmp_path: Path) -> None:
    """Checking a program that ended by itself raises with its exit code and the end of its log."""
    program = _start(tmp_path, "print('the cause'); raise SystemExit(7)")
    try:
        _until(lambda: not group_members(program.pid))
        with pytest.raises(ProgramFailedError, match=r"(?s)exit code 7.*the cause"):
            program.check()
    finally:
        program.end(1.0)


def test_ending_twice_is_harmless(tmp_path: Path) -> None:
    """A program that has ended can be ended again."""
    program = _start(tmp_path, "pass")
    program.end(5.0)
    program.end(5.0)
    assert group_members(program.pid) == []
