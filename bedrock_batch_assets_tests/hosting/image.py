"""The steps of deploy/Dockerfile in a scratch folder: `python -m bedrock_batch_assets_tests.hosting.image`.

No container engine is needed. All but the base image and its user is done as written, with /venv, /src and /app in the
folder; then the image's commands are asked whether they would work there.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from bedrock_batch_assets.packaged_files import packaged_file

CLONE = packaged_file("pyproject.toml").parent


_NOT_THERE = "from importlib.util import find_spec; assert not any(map(find_spec, ('moto', 'pytest', 'pip')))"


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """The instructions and their arguments, without comments."""
    for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, arguments = line.partition(" ")
            yield name, arguments


def build(root: Path) -> dict[str, str]:
    """Do the steps below `root`. Returns the environment of the image's commands."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
    folder = root
    for name, arguments in instructions(CLONE / "deploy" / "Dockerfile"):
        if name == "WORKDIR":
            folder = root / arguments.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name == "COPY" and not arguments.startswith("--from"):
            *sources, target = arguments.split()
            for source in sources:
                _copy(CLONE / source, folder / target, into=target.endswith("/"))
        elif name == "RUN" and "useradd" not in arguments:
            command = arguments.replace("/venv", str(root / "venv"))
            command = command.replace("python -m venv", f"{sys.executable} -m venv")
            subprocess.run(command, shell=True, cwd=folder, check=True, env={**os.environ, "PIP_QUIET": "1"})
        elif name == "ENV":
            for item in shlex.split(arguments):
                key, _, value = item.partition("=")
                value = value.replace("/venv", str(root / "venv")).replace("/app", str(root / "app"))
                environment[key] = value.replace("$PATH", environment["PATH"])
    return environment


def _copy(source: Path, target: Path, *, into: bool) -> None:
    place = target / source.name if into else target
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, place)


def main() -> None:
    """Build, and ask the image's commands."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        root = Path(folder)
        environment = build(root)
        python = root / "venv" / "bin" / "python"
        for command in (
            # The code server's module loads, with no stand-in, no tests and no pip there.
            ["dagster", "definitions", "validate", "--module-name", "definitions"],
            [str(python), "-c", _NOT_THERE],
            ["dagster-webserver", "--version"],
            ["dagster-daemon", "--version"],
            ["bedrock-batch", "--version"],
            # What each instance file names can be imported.
            [str(python), "-c", "import dagster_postgres, dagster_aws.ecs, bedrock_batch_assets.parking.launcher"],
        ):
            # Without a database and a Region no instance is opened here.
            settings = {**environment, "DAGSTER_HOME": "", "AWS_REGION": "us-east-1", "PYTHONWARNINGS": "ignore"}
            subprocess.run(command, cwd=root / "app", env=settings, check=True, stdout=subprocess.DEVNULL)
        size = sum(path.stat().st_size for path in (root / "venv").rglob("*") if path.is_file())
        click.echo(f"The steps of deploy/Dockerfile work. /venv has {size / 1e6:.0f} MB.")


if __name__ == "__main__":
    main()
