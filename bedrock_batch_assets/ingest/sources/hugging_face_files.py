"""The data files of Hugging Face datasets: on the hub, or in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_HUB = "hf://"
_READ_AHEAD_BYTES = 8 << 20


def are_plain(files: Sequence[str], endings: tuple[str, ...]) -> bool:
    """Whether all of them are files of one kind by their names, and not parts of archives."""
    return all(file.lower().endswith(endings) and (file.startswith(_HUB) or Path(file).is_file()) for file in files)


def open_file(file: str) -> BinaryIO:
    """A file as a seekable binary one."""
    if not file.startswith(_HUB):
        return Path(file).open("rb")
    from huggingface_hub import HfFileSystem

    opened: BinaryIO = HfFileSystem().open(file, "rb", block_size=_READ_AHEAD_BYTES)
    return opened
