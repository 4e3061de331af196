"""The files of deploy/ agree with each other, with dagster.yaml and with the code."""

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bedrock_batch_assets.packaged_files import packaged_file
from bedrock_batch_assets_tests.deploy.template import read_template
from bedrock_batch_assets_tests.hosting.services import DEPLOY, PROJECT, compose_services

CLONE = packaged_file("pyproject.toml").parent
LAUNCHERS = ("postgres", "ecs", "ecs-parked")
# What an instance for containers has of its own.
OWN_SECTIONS = {"storage", "local_artifact_storage", "compute_logs", "run_launcher"}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def instance(launcher: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / f"dagster-{launcher}.yaml").read_text())
    return found


def variables(value: Any) -> Iterator[str]:
    """The variables of the environment that an instance file reads."""
    if isinstance(value, Mapping):
        if set(value) == {"env"}:
            yield value["env"]
        for item in value.values():
            yield from variables(item)
    elif isinstance(value, list):
        for item in value:
            yield from variables(item)


def hosting() -> dict[str, Any]:
    return read_template("hosting.yaml")


def containers(task: str) -> dict[str, dict[str, Any]]:
    found = hosting()["Resources"][task]["Properties"]["ContainerDefinitions"]
    return {item["Name"]: item for item in found}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_instance_file_is_dagster_yaml_elsewhere(launcher: str) -> None:
    """Coordinator, limits, retries and sensors are the same; parked runs alone have monitoring of their own."""
    given, base = instance(launcher), yaml.safe_load(packaged_file("dagster.yaml").read_text())
    if launcher == "ecs-parked":
        assert given["run_monitoring"].pop("max_resume_run_attempts") >= 100
    for name in (given.keys() | base.keys()) - OWN_SECTIONS:
        assert given[name] == base[name], name


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_container_has_what_the_instance_file_reads(launcher: str) -> None:
    """Each variable is there in compose.yaml, or comes from .env; and in each container of hosting.yaml."""
    needed = set(variables(instance(launcher)))
    from_env_file = {"BEDROCK_BATCH_BUCKET"}
    for service in compose_services().values():
        if launcher == "postgres":
            assert needed - from_env_file <= service["environment"].keys()
    for task in ("PlatformTask", "RunTask"):
        for container in containers(task).values():
            there = {item["Name"] for item in [*container["Environment"], *container["Secrets"]]}
            assert needed <= there
            assert {"DAGSTER_HOME", "BEDROCK_BATCH_ROLE_ARN", "BEDROCK_BATCH_EVENT_QUEUE_URL"} <= there


def test_hosting_runs_the_commands_of_compose() -> None:
    """Those are tried in tests; and all containers have one environment."""
    services, tasks = compose_services(), containers("PlatformTask")
    assert {name: task["Command"] for name, task in tasks.items()} == {
        name: service["command"] for name, service in services.items()
    }
    environments = [item["Environment"] for item in [*tasks.values(), *containers("RunTask").values()]]
    assert all(environment == environments[0] for environment in environments)


def test_hosting_offers_the_instances_that_the_image_has() -> None:
    """The parameter Launcher names folders of the image, each with its instance file."""
    copied = {target: source for source, target in copies(DEPLOY / "Dockerfile")}
    for launcher in hosting()["Parameters"]["Launcher"]["AllowedValues"]:
        assert copied[f"{launcher}/dagster.yaml"] == f"deploy/dagster-{launcher}.yaml"
    assert instance("ecs")["run_launcher"]["config"]["container_name"] in containers("RunTask")


def test_hosting_imports_what_data_exports() -> None:
    """The two stacks are joined by the names of exports."""
    exports = {
        output["Export"]["Name"]["Sub"].partition("}-")[2]
        for output in read_template()["Outputs"].values()
        if "Export" in output
    }
    imported = set(re.findall(r"\$\{DataStack\}-(\w+)", (DEPLOY / "hosting.yaml").read_text()))
    assert imported == exports


def copies(dockerfile: Path) -> list[tuple[str, str]]:
    """(source, target) of each COPY from the build's context."""
    found = []
    for line in dockerfile.read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            found += [(source, words[-1]) for source in words[1:-1]]
    return found


@pytest.mark.parametrize("kind", ["clone", "project"])
def test_the_image_copies_what_there_is(kind: str, tmp_path: Path) -> None:
    """Every source of a COPY is in the build's context, and each RUN is a command that a shell can read."""
    from bedrock_batch_assets.client.project_folder import make_project_folder

    context = CLONE if kind == "clone" else tmp_path / "project"
    if kind == "project":
        make_project_folder(context)
    dockerfile = context / "deploy" / "Dockerfile"
    assert copies(dockerfile)
    for source, _ in copies(dockerfile):
        assert (context / source).exists(), source
    lines = dockerfile.read_text().replace("\\\n", " ").splitlines()
    commands = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
    assert commands
    for command in commands:
        subprocess.run(["sh", "-n", "-c", command], check=True)
    # It does not run as root.
    assert [line for line in lines if line.startswith("USER ")] == ["USER dagster"]


def test_the_image_has_the_pins_of_the_tests_and_no_stand_in() -> None:
    """What runs in the image is what was tested, package by package, and nothing that only tests need is in it."""
    image = dict(_PIN.findall((DEPLOY / "requirements.lock").read_text()))
    tested = dict(_PIN.findall((CLONE / "requirements.lock").read_text()))
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}
    assert {"dagster", "dagster-postgres", "dagster-aws", "boto3", "pyarrow", "hatchling"} <= image.keys()
    assert not {"moto", "pytest", "playwright", "ruff"} & image.keys()
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[\[<>=!~ ;]", name)[0].lower() for name in project["dependencies"]}
    assert direct <= image.keys()


def test_the_example_project_loads_its_prompts() -> None:
    """The prompt that request.json names is one of the folder's files."""
    names = {path.stem for path in (PROJECT / "prompts").iterdir()}
    assert yaml.safe_load((PROJECT / "request.json").read_text())["prompt_id"] in names
