"""The grammar of partition keys.

A batch key is the request's `job_name_prefix`. It becomes part of Bedrock job names and of S3 keys, so it may
hold only what both accept; a chunk key is the batch key, a dash and the chunk's index in five digits.
"""

import re

from bedrock_batch_assets.errors import RequestError

# A job name holds at most 63 characters (botocore's service model). It is made of the batch key, 6 characters
# of chunk index, 13 of digest and up to 4 of attempt, see jobs/naming.py.
MAX_BATCH_KEY_LENGTH = 40
# Five digits of index.
MAX_CHUNKS_PER_BATCH = 100_000

# Bedrock job names take letters, digits, "-", "." and "+"; its S3 URIs take no "+". A run of dots could name
# another folder or Dagster's range separator "...", so dots and dashes stand between letters and digits only.
_BATCH_KEY = re.compile(r"[A-Za-z0-9]+(?:[-.][A-Za-z0-9]+)*")
_CHUNK_KEY = re.compile(rf"(?P<batch>{_BATCH_KEY.pattern})-(?P<index>[0-9]{{5}})")


def check_batch_key(key: str) -> str:
    """Return `key` if it can name a batch.

    Raises:
        RequestError: It is empty, too long, or holds a character that a job name or an S3 key cannot.
    """
    if not _BATCH_KEY.fullmatch(key):
        raise RequestError(
            f"The batch name (partition key, job_name_prefix) {key!r} cannot be used: use letters and digits, "
            "with single dashes or dots between them, as in 'demo-run-001'."
        )
    if len(key) > MAX_BATCH_KEY_LENGTH:
        raise RequestError(
            f"The batch name {key!r} has {len(key)} characters: use at most {MAX_BATCH_KEY_LENGTH}, since a "
            "Bedrock job name, made from it, holds 63."
        )
    return key


def is_batch_key(key: str) -> bool:
    """Whether `key` can name a batch. A person may add any partition in the UI."""
    return bool(_BATCH_KEY.fullmatch(key)) and len(key) <= MAX_BATCH_KEY_LENGTH


def chunk_key(batch: str, index: int) -> str:
    """The key of the batch's chunk number `index`, counted from 0: `demo-run-001-00000`.

    Raises:
        ValueError: The index does not fit into five digits.
    """
    if not 0 <= index < MAX_CHUNKS_PER_BATCH:
        raise ValueError(f"chunk index {index} is not between 0 and {MAX_CHUNKS_PER_BATCH - 1}")
    return f"{batch}-{index:05d}"


def split_chunk_key(key: str) -> tuple[str, int]:
    """The batch key and the index of a chunk key.

    Raises:
        RequestError: `key` is not a chunk key.
    """
    match = _CHUNK_KEY.fullmatch(key)
    if match is None:
        raise RequestError(f"{key!r} is not a chunk key: it should look like 'demo-run-001-00000'.")
    return match["batch"], int(match["index"])


def batch_of_chunk(partition: str) -> str | None:
    """The batch of a chunk key, or None if it is no chunk key: a person may add any partition in the UI."""
    try:
        return split_chunk_key(partition)[0]
    except RequestError:
        return None
