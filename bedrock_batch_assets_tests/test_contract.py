"""The contract with Dagster, botocore and moto: their private parts that are used work as they did when they were read.

A part that does not fails with the sentence that says what is lost without it. Run it against other versions in an
environment of its own: `make contract DAGSTER=1.13.29`.
"""

import ast
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bedrock_batch_assets.internals import botocore_internals, dagster_internals, storage_internals
from bedrock_batch_assets_tests.contract import botocore_checks, dagster_checks, local_aws_checks, storage_checks
from bedrock_batch_assets_tests.contract.registry import CHECKS

PROJECT = Path(__file__).resolve().parents[1]
LIBRARIES = {
    "dagster": "bedrock_batch_assets.internals.dagster_parts",
    "dagster's storages": "bedrock_batch_assets.internals.storage_internals",
    "botocore": "bedrock_batch_assets.internals.botocore_internals",
    "moto": "bedrock_batch_assets.local_aws.moto_internals",
    "botocore in local AWS": "bedrock_batch_assets.local_aws.botocore_internals",
}


def sentences(library: str) -> Mapping[str, str]:
    """The sentence of each private part, from the source: if a library changed, a module may not be importable."""
    source = (PROJECT / (LIBRARIES[library].replace(".", "/") + ".py")).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "PRIVATE_PARTS" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            value = node.value.args[-1] if isinstance(node.value, ast.Call) else node.value
            found: dict[str, str] = ast.literal_eval(value) if value is not None else {}
            return found
    raise AssertionError(f"{LIBRARIES[library]} has no PRIVATE_PARTS")


# The checks of each library are in a module of their own, which is imported for them.
CHECK_MODULES = (dagster_checks, storage_checks, botocore_checks, local_aws_checks)
ALL_PARTS = [(library, part) for library in LIBRARIES for part in sentences(library)]


@pytest.fixture(autouse=True)
def nothing_is_said(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if a part was missing, and what was asked of it was done without it."""
    with caplog.at_level(logging.WARNING, "bedrock_batch_assets.internals.private_parts"):
        for module in (dagster_internals, storage_internals, botocore_internals):
            module.PRIVATE_PARTS._said.clear()
        yield
    assert [record.getMessage() for record in caplog.records if "private_parts" in record.name] == []


@pytest.mark.parametrize(("library", "part"), ALL_PARTS)
def test_private_part(library: str, part: str) -> None:
    """The part is there, and does what it is used for."""
    try:
        CHECKS[library, part]()
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # a part that changed fails in any way
        pytest.fail(
            f"{library}, {part}: {sentences(library)[part]}\n  Found: {type(error).__name__}: {error}", pytrace=False
        )


def test_each_part_has_a_check_and_a_sentence_of_use() -> None:
    """No part is without a check, no check without a part; each sentence says where it was read, and what is lost."""
    assert sorted(CHECKS) == sorted(ALL_PARTS)
    for library, part in ALL_PARTS:
        sentence = sentences(library)[part]
        assert sentence.startswith("Read in "), part
        assert re.search(r"\bwithout ", sentence, re.IGNORECASE), part


def test_the_environment_is_left_as_it_was() -> None:
    """Letting backfills wait sets the one variable, and only if nobody has set it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(dagster_internals.BACKFILL_RETRY_VARIABLE, raising=False)
        dagster_internals.let_backfills_wait_for_code_servers()
        assert os.environ[dagster_internals.BACKFILL_RETRY_VARIABLE] == "1"
        patch.setenv(dagster_internals.BACKFILL_RETRY_VARIABLE, "")
        dagster_internals.let_backfills_wait_for_code_servers()
        assert os.environ[dagster_internals.BACKFILL_RETRY_VARIABLE] == ""
