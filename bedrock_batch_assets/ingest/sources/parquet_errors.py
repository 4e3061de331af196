"""The faults of a Parquet file, each explained in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError

# Apache Parquet, "File Format" and "Parquet Modular Encryption": the four bytes at both ends of a file.
_MAGIC, _ENCRYPTED_MAGIC = b"PAR1", b"PARE"
_FIRST_BYTES = 512
# The first bytes of what is taken for Parquet, and what to do about it.
_OTHERS = (
    (b"\x1f\x8b", "it is a gzip file: unpack it, or name it .csv.gz if it holds CSV"),
    (b"PK\x03\x04", "it is a zip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it"),
    (b"BZh", "it is compressed with bzip2: unpack it"),
    (b"ORC", "it is an ORC file: write the table as Parquet"),
    (b"Obj\x01", "it is an Avro file: write the table as Parquet"),
    (b"ARROW1", "it is an Arrow file: write the table as Parquet"),
    (b"version https://git-lfs", "it is a pointer of Git LFS and not the file itself: upload the file"),
)


class DamagedColumnError(RequestError):
    """A column of a Parquet file cannot be read."""


@contextmanager
def parquet_errors_explained(name: str, file: BinaryIO) -> Iterator[None]:
    """Turn Arrow's errors about a file into a RequestError that names the file and says what to do.

    Errors of the network pass as they are.

    Args:
        name: What to call the file.
        file: Seekable; its ends are looked at once something went wrong.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not is_about_the_file(error):
            raise
        raise RequestError(_footer_message(name, file, error)) from error


def is_about_the_file(error: BaseException) -> bool:
    """Whether Arrow complains about the bytes that it got: errors of the network have another class, or a number."""
    if isinstance(error, pa.ArrowException | UnicodeDecodeError):
        return True
    return type(error) is OSError and error.errno is None


def first_line(error: BaseException) -> str:
    """What an error says, cut after the first line."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _footer_message(name: str, file: BinaryIO, error: BaseException) -> str:
    size = file.seek(0, 2)
    if size == 0:
        return f"{name} is empty (0 bytes): upload a Parquet file with rows."
    file.seek(0)
    head = file.read(_FIRST_BYTES)
    file.seek(max(size - len(_MAGIC), 0))
    tail = file.read(len(_MAGIC))
    if tail == _ENCRYPTED_MAGIC:
        return f"{name} is an encrypted Parquet file: write it without encryption; S3 encrypts what it stores."
    if head.startswith(_MAGIC) and tail == _MAGIC:
        return f"{name} is damaged, in its Parquet footer or in a column ({first_line(error)}): write it again."
    if head.startswith(_MAGIC):
        return f"{name} is a Parquet file without its end (of {size:,} bytes): it was cut off; upload it again."
    for magic, advice in _OTHERS:
        if head.startswith(magic):
            return f"{name} is not a Parquet file: {advice}."
    if _is_text(head):
        start = head[:40].decode(errors="replace").splitlines()[0]
        return (
            f"{name} is not a Parquet file, but text that begins with {start!r}: name it .csv if it is CSV, or write "
            "the table as Parquet."
        )
    return (
        f"{name} is not a Parquet file ({first_line(error)}): name a .csv file, a .parquet file, or a folder that "
        "holds Parquet files alone."
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut in two.
        if error.start < len(head) - 3 or error.start == 0:
            return False
        text = head[: error.start].decode()
    return text.isprintable() or all(character.isprintable() or character in "\r\n\t\ufeff" for character in text)
