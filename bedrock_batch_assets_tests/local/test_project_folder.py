"""Out of the clone: what a wheel brings is enough for a project folder, and for Dagster in it."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bedrock_batch_assets.local.local_platform import free_port
from bedrock_batch_assets.local.processes import Program
from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets_tests.local_aws_fixture import wait_until

CLONE = packaged_file("pyproject.toml").parent
pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True)
class Wheel:
    """The package, unpacked from a wheel into a folder of its own."""

    site: Path

    @property
    def environment(self) -> dict[str, str]:
        """Makes Python find it there, and no AWS."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BEDROCK_", "DAGSTER"))
        }
        return {**kept, "PYTHONPATH": str(self.site), "AWS_EC2_METADATA_DISABLED": "true"}

    def run(self, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """`bedrock-batch` with these arguments."""
        command = [sys.executable, "-m", "bedrock_batch_assets.command_line", *arguments]
        return subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=CLONE, check=True, capture_output=True)
    [file] = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "site")
    return Wheel(folder / "site")


@pytest.fixture(scope="module")
def project(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `bedrock-batch init` made."""
    parent = tmp_path_factory.mktemp("elsewhere")
    done = wheel.run("init", "my-project", cwd=parent)
    assert done.returncode == 0, done.stderr
    return parent / "my-project"


def test_it_is_the_wheel_that_is_tried(wheel: Wheel, tmp_path: Path) -> None:
    """The commands below are those of the wheel, which has neither tests nor benchmarks in it."""
    code = "import bedrock_batch_assets as b; print(b.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=wheel.environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(wheel.site)
    assert {path.name for path in wheel.site.iterdir() if not path.name.endswith(".dist-info")} == {
        "bedrock_batch_assets"
    }


def test_a_project_has_what_dagster_and_aws_need(project: Path) -> None:
    """Instance, workspace, definitions, a prompt, an example of .env, and the templates; the image has this version."""
    names = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert {"dagster.yaml", "workspace.yaml", "definitions.py", ".env.example", ".gitignore", "request.json"} < names
    assert {"prompts/one_sentence.md", "deploy/data.yaml", "deploy/hosting.yaml", "deploy/Dockerfile"} < names
    assert "deploy/requirements.lock" not in names
    assert (project / "deploy" / "data.yaml").read_text() == (CLONE / "deploy" / "data.yaml").read_text()
    assert (project / "dagster.yaml").read_text() == (CLONE / "dagster.yaml").read_text()
    assert (project / "requirements.txt").read_text().startswith("bedrock-batch-assets[ecs,huggingface,postgres]==")


def test_nothing_is_overwritten(wheel: Wheel, project: Path) -> None:
    """A second `init` of the same folder is one error, and changes nothing."""
    (project / "prompts" / "one_sentence.md").write_text("mine {topic}\n")
    done = wheel.run("init", str(project), cwd=project)
    assert done.returncode == 3
    assert "already: name another folder" in done.stderr
    assert (project / "prompts" / "one_sentence.md").read_text() == "mine {topic}\n"


def test_dev_outside_of_a_project_says_what_to_do(wheel: Wheel, tmp_path: Path) -> None:
    """In a folder without dagster.yaml, the error names `init`."""
    done = wheel.run("dev", cwd=tmp_path)
    assert done.returncode == 1
    assert "make one with `bedrock-batch init FOLDER`" in done.stderr


@pytest.fixture(scope="module")
def url(wheel: Wheel, project: Path) -> Iterator[str]:
    """`bedrock-batch dev` in the project."""
    port = free_port()
    command = [sys.executable, "-m", "bedrock_batch_assets.command_line", "dev", "--port", str(port)]
    log = project.parent / "dev.log"
    program = Program("dev", command, log=log, environment=wheel.environment, directory=project)

    def is_up() -> bool:
        program.check()
        return "First batch" in log.read_text()

    try:
        wait_until(is_up, timeout=180)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.end(30.0)


def test_a_prompt_of_ones_own_is_asked(wheel: Wheel, project: Path, url: str) -> None:
    """A file in prompts/ is a prompt: the example request asks about rows of the example table with it."""
    exports = (project / ".local_aws" / "environment.sh").read_text()
    command = [sys.executable, "-m", "bedrock_batch_assets.command_line", "--url", url]
    done = subprocess.run(
        ["sh", "-c", f'{exports}\nexec "$@"', "sh", *command, "try", "request.json", "--rows", "3", "--json"],
        cwd=project,
        env=wheel.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["rows"]) == 3
    assert all(row["prompt"].startswith("mine ") for row in report["rows"])
