"""What all tests share."""

import pytest

pytest_plugins = ["bedrock_batch_assets_tests.local_aws_fixture"]

# Folders whose tests share one running platform.
_ONE_PLATFORM = ("platform",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share fixtures on one worker: a module's, and those of a folder with one platform.

    The longest come first, so that the workers end at the same time.
    """
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in _ONE_PLATFORM else str(item.path)))
    items.sort(key=lambda item: item.path.parent.name not in _ONE_PLATFORM)
