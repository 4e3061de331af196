"""The door of the Parquet package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "bedrock_batch_assets" / "parquet"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_only_the_door_can_be_imported_from_outside(name: str) -> None:
    """The linter refuses every other module of the package, in any way of writing it, inside functions too."""
    code = f"""
def rows() -> None:
    import bedrock_batch_assets.parquet.{name}
    from bedrock_batch_assets.parquet import {name}
    from bedrock_batch_assets.parquet.{name} import anything
"""
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--output-format", "concise"]
    command += ["--stdin-filename", "bedrock_batch_assets/assets/result_table.py", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.stdout.count("TID251") == (0 if name == "files" else 3), done.stdout + done.stderr


def test_the_package_knows_neither_dagster_nor_s3() -> None:
    """Of the project it imports records and the output formats alone, and nothing of AWS or of Dagster."""
    imported: set[str] = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    own = {name.split(".")[1] for name in imported if name.startswith("bedrock_batch_assets.")}
    assert own == {"parquet", "records", "output_format"}
    assert not {name.split(".")[0] for name in imported} & {"dagster", "boto3", "botocore", "moto"}
