"""What a feature says whose extra is not installed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bedrock_batch_assets import extras
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.extras import check_instance_settings, require_extra
from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource
from bedrock_batch_assets.local.local_platform import instance_settings, start_local_aws

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain installation: no extra is there."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)


def test_what_is_installed_is_no_error() -> None:
    """Nothing happens."""
    require_extra("local", "moto", "The local stand-in for AWS")
    check_instance_settings({"storage": {"postgres": {}}, "run_launcher": {"module": "dagster_aws.ecs"}})


@pytest.mark.usefixtures("plain")
def test_a_dataset_names_its_extra() -> None:
    """A request with dataset_id is one error that says what to install."""
    with pytest.raises(
        ConfigurationError, match=r"^dataset_id 'imdb' needs .* pip install 'bedrock-batch-assets\[hugg"
    ):
        HuggingFaceSource("imdb", "train")


@pytest.mark.usefixtures("plain")
def test_local_aws_names_its_extra(tmp_path: Path) -> None:
    """The demo and `make dev` end before they start anything."""
    with pytest.raises(ConfigurationError, match=r"pip install 'bedrock-batch-assets\[local\]'$"):
        start_local_aws("http://127.0.0.1:1", tmp_path / "state", {}, buckets=[])
    assert not (tmp_path / "state").exists()


def test_the_stand_in_by_itself_names_its_extra() -> None:
    """Its command line ends with one line, not with a traceback."""
    script = (
        "import runpy, sys; sys.modules['moto'] = None; sys.argv = ['local_aws', '--port', '0']; "
        "runpy.run_module('bedrock_batch_assets.local_aws', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'bedrock-batch-assets[local]'")


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("settings", "setting", "extra"),
    [
        ({"storage": {"postgres": {"postgres_url": {"env": "URL"}}}}, "storage", "postgres"),
        ({"run_storage": {"module": "dagster_postgres.run_storage", "class": "A"}}, "run_storage", "postgres"),
        ({"run_launcher": {"module": "dagster_aws.ecs", "class": "EcsRunLauncher"}}, "run_launcher", "ecs"),
        ({"compute_logs": {"module": "dagster_aws.s3.compute_log_manager", "class": "A"}}, "compute_logs", "ecs"),
        ({"storage": {"a": {"module": "dagster_postgres.storage"}}}, "storage", "postgres"),
    ],
)
def test_instance_settings_name_their_extra(settings: dict[str, Any], setting: str, extra: str) -> None:
    """A class in dagster.yaml whose package is not there is one error with setting and extra."""
    with pytest.raises(ConfigurationError) as error:
        check_instance_settings(settings)
    assert f"The setting {setting!r} in dagster.yaml" in str(error.value)
    assert str(error.value).endswith(f"pip install 'bedrock-batch-assets[{extra}]'")


@pytest.mark.usefixtures("plain")
def test_other_instance_settings_need_none(tmp_path: Path) -> None:
    """The project's own dagster.yaml needs no extra; a local platform with another one ends before it starts."""
    check_instance_settings({"storage": {"sqlite": {"base_dir": "a"}}, "run_coordinator": {"module": "some.other"}})
    check_instance_settings({"storage": None})
    with pytest.raises(ConfigurationError, match=r"\[postgres\]"):
        instance_settings(tmp_path, {"storage": {"postgres": {}}})
