"""The definitions: what they hold, what loading them costs, and how the instance is set up for them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import AssetKey
from dagster._core.snap import build_config_schema_snapshot
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap

from bedrock_batch_assets.definitions import platform
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import prompt_id_to_template

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = ["pandas", "pyarrow", "datasets", "numpy", "moto", "boto3", "botocore"]


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    """The code location loads without pandas, pyarrow, datasets, moto or boto3 in memory."""
    script = (
        "import json, sys; from bedrock_batch_assets.definitions import defs; defs(); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert json.loads(result.stdout) == []


def test_the_graph_is_that_of_the_readme() -> None:
    """Five assets, exactly their five edges, and a pilot by itself; each with description, group, kinds and owner."""
    graph = platform().resolve_asset_graph()
    edges = {
        (parent.to_user_string(), key.to_user_string())
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    }
    assert edges == {
        ("input_dataset", "jsonl_chunks"),
        ("jsonl_chunks", "batch_job_outputs"),
        ("batch_job_outputs", "result_parts"),
        ("input_dataset", "result_parts"),
        ("result_parts", "result_table"),
    }
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.group_name == ("batch_pilot" if key == AssetKey("pilot") else "batch_inference")
        assert node.kinds
        assert node.owners


def test_everything_that_the_ui_lists_is_described() -> None:
    """Each check, resource and sensor has a description of its own."""
    definitions = platform()
    repository = definitions.get_repository_def()
    checks = {
        spec.name: spec.description for asset in repository.assets_defs_by_key.values() for spec in asset.check_specs
    }
    resources = {name: resource.description for name, resource in repository.get_top_level_resources().items()}
    sensors = {sensor.name: sensor.description for sensor in repository.sensor_defs}
    for described in (checks, resources, sensors):
        assert described
        assert [name for name, text in described.items() if not text] == []


def test_processors_of_ones_own_take_the_place_of_the_defaults() -> None:
    """`platform` uses the processors that it is given."""
    mine = Processors(anthropic=AnthropicProcessor(max_tokens=77))
    with dg.build_resources(dict(platform(mine).resources or {})) as ready:
        assert ready.processors.anthropic.max_tokens == 77


REQUEST = {
    "model_id": "anthropic.claude-3-haiku-20240307-v1:0",
    "s3_uri": "s3://b/x.csv",
    "prompt_id": "joke_about_topic",
}


def test_the_launchpad_is_the_request_alone() -> None:
    """A launch can be given the request's fields, and no setting of a resource: with another one it would be lost."""
    job = platform().resolve_implicit_global_asset_job_def()
    request = {"ops": {"input_dataset": {"config": REQUEST}}}
    subset = job.get_subset(asset_selection={AssetKey("input_dataset")})
    assert dg.validate_run_config(subset, request)
    # What the launchpad is filled with: the webserver makes it in this way.
    snapshot = build_config_schema_snapshot(subset)
    root = snapshot.get_config_snap(subset.run_config_schema.config_type.key)
    shown = yaml.safe_load(default_values_yaml_from_type_snap(snapshot, root))
    assert {name: list(value) for name, value in shown.items()} == {"ops": ["input_dataset"], "resources": []}
    for name in ("storage", "jobs", "prices", "processors"):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(subset, {**request, "resources": {name: {"config": {"prefix": "elsewhere/"}}}})


@pytest.mark.parametrize("asset", ["input_dataset", "pilot"])
@pytest.mark.parametrize(
    ("field", "wrong"), [("prompt_id", "joke"), ("output_format", "xlsx"), ("processor", "claude"), ("model_id", "x.y")]
)
def test_the_launchpad_refuses_a_wrong_value(
    monkeypatch: pytest.MonkeyPatch, asset: str, field: str, wrong: str
) -> None:
    """Prompts, formats, processors, and models if the environment lists them, are red before anything runs."""
    monkeypatch.setenv("BEDROCK_BATCH_MODELS", f"{REQUEST['model_id']}, amazon.titan-embed-text-v2:0")
    subset = platform().resolve_implicit_global_asset_job_def().get_subset(asset_selection={AssetKey(asset)})
    assert dg.validate_run_config(subset, {"ops": {asset: {"config": REQUEST}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match=field):
        dg.validate_run_config(subset, {"ops": {asset: {"config": {**REQUEST, field: wrong}}}})


def test_a_prompt_of_ones_own_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was added before the definitions load can be chosen; without a list of models any id can."""
    monkeypatch.setitem(prompt_id_to_template, "my summary (v2)", "Sum up {text}.")
    subset = platform().resolve_implicit_global_asset_job_def().get_subset(asset_selection={AssetKey("input_dataset")})
    config = {**REQUEST, "prompt_id": "my summary (v2)", "model_id": "any.model"}
    assert dg.validate_run_config(subset, {"ops": {"input_dataset": {"config": config}}})


def test_settings_come_from_the_environment_when_the_location_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource that the launchpad does not show is made with the environment's values all the same."""
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", "my-bucket")
    with dg.build_resources(dict(platform().resources or {})) as ready:
        assert ready.storage.bucket == "my-bucket"


def test_the_project_runs_on_the_instance_that_it_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dagster.yaml loads: our coordinator, its limits per model and per partition, crash retries, no pop-up."""
    settings: dict[str, Any] = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_coordinator).__name__ == "BatchRunCoordinator"
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
        assert limits == {"bedrock/model": 20, "bedrock/partition": 1}
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert not instance.nux_enabled


def test_processes_started_anywhere_share_the_instance(tmp_path: Path) -> None:
    """dagster.yaml works as it is in DAGSTER_HOME: what one process writes, another one in another folder reads."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    script = (
        "import sys, dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    if sys.argv[1] == 'write': instance.add_dynamic_partitions('batches', ['demo'])\n"
        "    print(instance.get_dynamic_partitions('batches'), instance.compute_log_manager._base_dir)\n"
    )
    said = []
    for place in ("write", "read"):
        (tmp_path / place).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", script, place],
            cwd=tmp_path / place,
            env={**environment, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.strip())
    assert said == [f"['demo'] {home / '.dagster' / 'compute_logs'}"] * 2
    assert [path.name for path in tmp_path.rglob(".dagster")] == [".dagster"]


def test_the_crossing_edges_propagate_nothing() -> None:
    """A partition of one set asks for no partition of the other, so nobody else's batch is run along."""
    graph = platform().resolve_asset_graph()
    mapping = graph.get_partition_mapping(key=AssetKey("jsonl_chunks"), parent_asset_key=AssetKey("input_dataset"))
    assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
    assert list(mapping.partition_keys) == []
