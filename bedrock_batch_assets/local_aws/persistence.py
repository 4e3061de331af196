"""Keeps objects, jobs and the ledger in a file from one run of the stand-in to the next.

The file is written when the stand-in ends in order (SIGINT, SIGTERM); what happened before a kill -9 is lost. Queues
and rules are not kept, and roles only as far as the command line makes them again.
"""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

from bedrock_batch_assets.local_aws.errors import StartError
from bedrock_batch_assets.local_aws.jobs import Job
from bedrock_batch_assets.local_aws.ledger import Entry
from bedrock_batch_assets.local_aws.service import Service

FILE_NAME = "local_aws.pickle"
# To be raised when the classes in the file change.
_VERSION = 3


@dataclass(frozen=True, slots=True)
class _State:
    version: int
    # Bucket to its Region and its objects, each with its metadata.
    buckets: dict[str, tuple[str, dict[str, tuple[bytes, dict[str, str]]]]]
    jobs: list[Job]
    entries: list[Entry]


def save(service: Service, folder: Path) -> None:
    """Write the file, or leave the old one if that fails half-way. The service must have ended."""
    state = _State(
        version=_VERSION,
        buckets=service.account.contents(),
        jobs=[replace(job, work=None) for job in service.book.jobs()],
        entries=service.ledger.all(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE_NAME}.partial"
    with partial.open("wb") as file:
        pickle.dump(state, file)
    partial.replace(folder / FILE_NAME)


def load(service: Service, folder: Path) -> None:
    """Take in what `save` wrote, if anything. The service must not have started.

    Jobs go on where they were: the records of a job in progress that were billed are not billed again.

    Raises:
        StartError: The file cannot be read, or is of another version of the stand-in.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return
    try:
        state = pickle.loads(path.read_bytes())
    except Exception as error:
        # A broken pickle raises nearly anything.
        raise StartError(f"Cannot read {path} ({type(error).__name__}): delete it to start with nothing.") from error
    if not isinstance(state, _State) or state.version != _VERSION:
        raise StartError(f"{path} was written by another version: delete it to start with nothing.")
    for name, (region, objects) in state.buckets.items():
        service.account.create_bucket(name, region)
        for key, (value, metadata) in objects.items():
            service.account.write(name, key, value, metadata)
    service.ledger.add(state.entries)
    for job in state.jobs:
        service.book.restore(job)
        service.lifecycle.resume(job)
