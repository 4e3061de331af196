"""The programs that the demo and `make dev` start."""

import ipaddress
import sys
from pathlib import Path
from typing import Any

import pytest

from bedrock_batch_assets.local import local_platform
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


def test_the_ui_listens_on_the_loopback_address_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody reaches the UI, which has no passwords, from another machine."""
    commands: list[list[str]] = []
    monkeypatch.setattr(local_platform, "Program", lambda _name, command, **_: commands.append(command))
    local_platform.start_dagster(3000, tmp_path / "w.yaml", log=tmp_path / "log", environment={}, directory=tmp_path)
    (command,) = commands
    assert ipaddress.ip_address(command[command.index("--host") + 1]).is_loopback


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the kernel's table of sockets")
def test_the_stand_in_listens_on_the_loopback_address_alone(local_aws: LocalAws) -> None:
    """Started without an address, the stand-in is reached from this machine alone."""
    port = int(local_aws.endpoint_url.rpartition(":")[2])
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    # proc(5): the local address is in hexadecimal, lowest byte first; state 0A is LISTEN.
    listening: list[Any] = [line.split()[1].split(":") for line in table if line.split()[3] == "0A"]
    assert [bytes.fromhex(host)[::-1] for host, number in listening if int(number, 16) == port] == [b"\x7f\0\0\1"]
