"""The documentation: links lead somewhere, code runs, commands exist."""

import json
import re
import shlex
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dagster as dg
import msgspec
import pytest
import yaml
from dagster import AssetKey

from bedrock_batch_assets.client.request_file import read_request
from bedrock_batch_assets.command_line import cli
from bedrock_batch_assets.cost.prices import PriceTable
from bedrock_batch_assets.definitions import platform
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]
# A picture or a link: its address.
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)

# In a block of code, or in the middle of a sentence.
_COMMAND = re.compile(r"(?:^    |`|^)(?:\.venv/bin/)?(bedrock-batch [^`\n]+)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a language. One in a list is indented by three spaces."""
    found = _BLOCK.findall((PROJECT / page).read_text())
    return [textwrap.dedent(code) for name, code in found if name == language]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link is a file of the project, and each anchor a heading there."""
    page = PROJECT / name
    wrong = []
    for address in _LINK.findall(page.read_text()):
        if address.startswith("https://"):
            continue
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(address)
    assert wrong == []


def test_each_page_can_be_reached() -> None:
    """The README links to every page of docs/, and every picture there is shown."""
    shown = {
        (page.parent / address.partition("#")[0]).resolve()
        for page in PAGES
        for address in _LINK.findall(page.read_text())
        if not address.startswith("https://")
    }
    files = [path for path in (PROJECT / "docs").rglob("*") if path.is_file()]
    assert [str(path) for path in files if path.resolve() not in shown] == []


def test_pictures_are_small() -> None:
    """All pictures together have less than 400 kB."""
    assert sum(path.stat().st_size for path in (PROJECT / "docs" / "images").iterdir()) < 400_000


def commands() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        for line in _COMMAND.findall((PROJECT / name).read_text()):
            yield name, line.partition("  #")[0].partition(" > ")[0].strip()


@pytest.mark.parametrize(("name", "line"), [item for item in commands() if "…" not in item[1]])
def test_commands_exist(name: str, line: str) -> None:
    """Each `bedrock-batch …` names a command that there is, with options that it has."""
    words = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    command = next((word for word in words if not word.startswith("-")), None)
    if command is None:
        return
    assert command in cli.commands, line
    known = {option for item in cli.commands[command].params if isinstance(item, click.Option) for option in item.opts}
    assert {word for word in words if word.startswith("--")} <= known | {"--help", "--version"}, line


def test_the_readmes_requests_are_taken() -> None:
    """The launchpad takes the YAML, and the command line the JSON."""
    (text,) = blocks("README.md", "yaml")
    subset = platform().resolve_implicit_global_asset_job_def().get_subset(asset_selection={AssetKey("input_dataset")})
    assert dg.validate_run_config(subset, yaml.safe_load(text))
    (text,) = blocks("README.md", "json")
    assert read_request(text)[0] == "demo-run-001"


def test_the_price_table_of_the_docs_is_one() -> None:
    """It has the form that `Prices` reads."""
    (text,) = blocks("docs/cost.md", "json")
    assert msgspec.json.decode(text, type=PriceTable).models
    assert json.loads(text)["source"] == "our contract"


def test_the_postgres_settings_are_dagsters() -> None:
    """The instance file for Postgres makes a storage class of Dagster's."""
    text = (PROJECT / "deploy" / "dagster-postgres.yaml").read_text()
    settings = yaml.safe_load(text)["storage"]["postgres"]["postgres_db"]
    assert settings["scheme"] == "postgresql+psycopg2"
    postgres = pytest.importorskip("dagster_postgres.utils")
    fields = set(postgres.pg_config()["postgres_db"].config_type.fields)
    assert set(settings) <= fields


def test_the_docs_own_processor_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of adding a model runs as it stands, and its processor is the one for that model."""
    (code,) = blocks("docs/models.md", "python")
    module: Any = types.ModuleType("my_definitions")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "docs/models.md", "exec"), module.__dict__)
    assert isinstance(module.defs, dg.Definitions)
    with dg.build_resources(dict(module.defs.resources or {})) as ready:
        processor = ready.processors.for_model_id("ai21.jamba-1-5-large-v1:0")
    assert isinstance(processor, module.JambaProcessor)
    answer = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert processor.process_output(answer).response == "hi"
    assert processor.process_input("hello")["messages"][0]["content"] == "hello"


def test_the_docs_way_to_read_a_result_works(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the result page read a table that the platform made."""
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench.create(local_aws, instance)
        uri = bench.put_csv("t.csv", ["topic"], [[f"topic {index}"] for index in range(110)])
        bench.run("demo-run-001", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", bench.storage.bucket)
    (code,) = blocks("docs/result.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "docs/result.md", "exec"), names)
    assert names["table"].count_rows() == 110
