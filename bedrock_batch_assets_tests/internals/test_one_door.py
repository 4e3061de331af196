"""Private parts of other libraries are used in the modules that are made for it, and in no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "bedrock_batch_assets"
DOORS = frozenset([*PACKAGE.glob("internals/*.py"), *PACKAGE.glob("local_aws/*_internals.py")])
# What botocore documents: https://botocore.amazonaws.com, reference.
DOCUMENTED = ("botocore.exceptions", "botocore.config")
# Classes that ours derive from, so they are imported with ours; the contract test has their parts.
BASE_CLASSES = frozenset({("aws/credentials.py", "botocore.credentials")})
# Members of Dagster's instance, coordinator and code server that are not public.
PRIVATE_MEMBERS = frozenset({
    "_instance",
    "_mp_ctx",
    "asset_graph_subset",
    "empty_subset",
    "event_log_storage",
    "for_asset_graph_subset",
    "get_backfill",
    "get_backfills",
    "get_latest_storage_id_by_partition",
    "report_run_canceled",
    "report_run_canceling",
    "report_run_failed",
    "run_storage",
})  # fmt: skip


def is_private(module: str) -> bool:
    """Whether a module is one of a library's private ones."""
    library = module.partition(".")[0]
    if library.startswith("dagster"):
        return "._" in module or library != "dagster"
    return library == "moto" or (module.startswith("botocore.") and not module.startswith(DOCUMENTED))


def uses(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each use of a private part in some code; strings that name modules included.

    What type checkers alone import does not count: nothing that runs depends on it.
    """
    tree = ast.parse(source)
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_checkers = {inner for block in blocks for part in block.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            found = [node.module] if node.module and is_private(node.module) else []
        elif isinstance(node, ast.Attribute):
            found = [node.attr] if node.attr in PRIVATE_MEMBERS else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = [node.value] if node.value.startswith(("dagster._", "dagster/")) else []
        else:
            found = []
        yield from ((getattr(node, "lineno", 0), name) for name in found)


# Names of metadata that Dagster documents.
DOCUMENTED_NAMES = frozenset({"dagster/row_count", "dagster/uri", "dagster/column_schema"})


def test_private_parts_have_one_door() -> None:
    """No other module of the package imports, calls or names a private part."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in DOORS
        for line, name in uses(path.read_text(encoding="utf-8"))
        if name not in DOCUMENTED_NAMES and (str(path.relative_to(PACKAGE)), name) not in BASE_CLASSES
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import moto",
        "from moto.s3.models import s3_backends",
        "from dagster._core.events import RunFailureReason",
        "import dagster_shared.serdes",
        "from botocore.loaders import create_loader",
        "import botocore.session",
        "instance.run_storage.get_cursor_values(keys)",
        "tags.get('dagster/will_retry')",
        "MODULES = ('dagster._grpc.impl',)",
    ],
)
def test_a_use_is_found(source: str) -> None:
    """What the test above looks for is found."""
    assert list(uses(source))


def test_public_api_is_free() -> None:
    """What Dagster and botocore document may be used anywhere."""
    source = "import dagster as dg\nfrom botocore.config import Config\nfrom botocore.exceptions import ClientError"
    assert list(uses(source)) == []
