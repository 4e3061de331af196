"""What all tests share."""

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = [
    "bedrock_batch_assets_tests.local_aws_fixture",
    "bedrock_batch_assets_tests.aws_files",
    "bedrock_batch_assets_tests.postgres",
]

# Folders whose tests take minutes, the longest first: one with a platform that all its tests share, and one that starts
# many.
_LONGEST = ("end_to_end", "chaos", "browser")
# Each module of this one has a platform of its own.
_LONG = (*_LONGEST, "hosting")


class _GroupScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Keeps tests that share fixtures on one worker: a module's, and those of a folder with one platform.

    Marks of `xdist_group` would say the same, but pytest 9.2 made them void (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.partition("::")[0])
        return path.parent.name if path.parent.name in _LONGEST else str(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _GroupScheduling:
    """The hook that pytest-xdist asks for who runs what."""
    return _GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, so that the workers end at the same time."""
    items.sort(key=lambda item: [item.path.parent.name != folder for folder in _LONG])
