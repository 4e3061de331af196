"""One `make dev` for one folder: a second one would run against an empty local AWS, on the same Dagster instance."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from bedrock_batch_assets.errors import ConfigurationError


class Holder(msgspec.Struct, frozen=True):
    """Who has the folder: its process, the address of its UI, and since when."""

    pid: int
    url: str
    since: str


@contextmanager
def folder_lock(path: Path, url: str) -> Iterator[None]:
    """Hold the folder until the block ends. The system gives the lock back if this process dies.

    Args:
        path: The lock file, inside of the folder. It is made if it is not there, and stays.
        url: The address of the UI, for the message that a second process gets.

    Raises:
        ConfigurationError: Another process holds the folder. The message says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock is not inherited: the programs that are started here may outlive this process.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"This folder is in use{_who(os.read(descriptor, 4096))}: open that one, or end it with Ctrl-C first. "
                "Its batches and its local AWS are kept here, and two at a time would each see half of them."
            ) from None
        holder = Holder(os.getpid(), url, datetime.now().astimezone().isoformat(timespec="seconds"))
        os.ftruncate(descriptor, 0)
        os.write(descriptor, msgspec.json.encode(holder))
        yield
    finally:
        os.close(descriptor)


def _who(text: bytes) -> str:
    try:
        holder = msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        return ""
    return f" by process {holder.pid}, whose UI is at {holder.url} (since {holder.since})"
