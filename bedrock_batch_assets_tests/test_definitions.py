"""The definitions: what they hold, what loading them costs, and how the instance is set up for them."""

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import AssetKey

from bedrock_batch_assets.definitions import platform
from bedrock_batch_assets.processors.registry import Processors

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
    """Five assets, and exactly their five edges; each has a description, a group, kinds and an owner."""
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
        assert node.group_name == "batch_inference"
        assert node.kinds
        assert node.owners


def test_processors_of_ones_own_take_the_place_of_the_defaults() -> None:
    """`platform` uses the processors that it is given."""
    mine = Processors()
    assert (platform(mine).resources or {})["processors"] is mine


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


def test_the_crossing_edges_propagate_nothing() -> None:
    """A partition of one set asks for no partition of the other, so nobody else's batch is run along."""
    graph = platform().resolve_asset_graph()
    mapping = graph.get_partition_mapping(key=AssetKey("jsonl_chunks"), parent_asset_key=AssetKey("input_dataset"))
    assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
    assert list(mapping.partition_keys) == []


def test_the_readmes_own_processor_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of adding a model runs as it stands, and its processor is the one for that model."""
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    module = types.ModuleType("my_definitions")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "README.md", "exec"), module.__dict__)
    assert isinstance(module.defs, dg.Definitions)
    processor = (module.defs.resources or {})["processors"].for_model_id("ai21.jamba-1-5-large-v1:0")
    assert isinstance(processor, module.JambaProcessor)
    answer = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert processor.process_output(answer).response == "hi"
    assert processor.process_input("hello")["messages"][0]["content"] == "hello"
