"""`make dev`: which AWS it works on."""

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bedrock_batch_assets.local import dev

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, in an environment that names no AWS."""
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("BEDROCK_BATCH_BUCKET", "BEDROCK_BATCH_ROLE_ARN", "AWS_ENDPOINT_URL"):
        # Set and deleted, so that it is restored whatever the file sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def bucket_of_dev(monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str | None]:
    """Whether it starts local AWS, and the bucket that it works on otherwise."""
    seen: list[tuple[bool, str | None]] = []
    monkeypatch.setattr(
        dev, "_run", lambda *_: seen.append((dev.uses_local_aws(os.environ), os.environ.get("BEDROCK_BATCH_BUCKET")))
    )
    result = CliRunner().invoke(dev.main, [], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [found] = seen
    return found


def test_without_any_setting_it_starts_local_aws(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh clone needs no account."""
    assert bucket_of_dev(monkeypatch) == (True, None)


def test_the_folders_env_file_leads_to_the_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `bedrock-batch env` wrote is used, but for what the environment itself says."""
    (folder / ".env").write_text("BEDROCK_BATCH_BUCKET=from-file\nBEDROCK_BATCH_ROLE_ARN=arn:aws:iam::1:role/r\n")
    assert bucket_of_dev(monkeypatch) == (False, "from-file")
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", "from-environment")
    assert bucket_of_dev(monkeypatch) == (False, "from-environment")
