"""The real `datasets` library and hub client, against a hub on loopback and folders.

The client reads its environment when it is imported, so each run is a process of its own.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bedrock_batch_assets
from bedrock_batch_assets_tests.ingest.sources.dataset_hub import DatasetHub

# Makes folders as save_to_disk does, then reads each "dataset@split" argument and prints a JSON line for each.
_PROGRAM = """
import json, sys
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource
if "--no-waiting" in sys.argv:
    import huggingface_hub.utils._http as http
    http.time.sleep = lambda seconds: None
if "--save" in sys.argv:
    from datasets import Dataset, DatasetDict
    Dataset.from_dict({"topic": ["a", "b"]}).save_to_disk("saved")
    DatasetDict(test=Dataset.from_dict({"topic": ["c"]})).save_to_disk("saved_dict")
for argument in sys.argv[1:]:
    if argument.startswith("--"):
        continue
    dataset, split = argument.rsplit("@", 1)
    try:
        source = HuggingFaceSource(dataset, split)
        batches = list(source.batches())
        rows = [row for batch in batches for row in batch.to_pylist()]
        schema = {field.name: str(field.type) for field in source.schema}
        answer = {"schema": schema, "metadata": source.schema.metadata is not None, "rows": rows,
                  "batches": [batch.num_rows for batch in batches]}
    except BatchError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print("ANSWER " + json.dumps(answer, default=str), flush=True)
"""


def read(folder: Path, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """What the arguments give, in order; paths are relative to `folder`, and caches go there."""
    own = {
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(bedrock_batch_assets.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("ANSWER ")) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def topics(count: int) -> pa.Table:
    return pa.table({"id": pa.array(range(count), pa.int32()), "topic": [f"topic {row}" for row in range(count)]})


TYPED = pa.table(
    {
        "text": pa.array(["a", None], pa.large_string()),
        "scores": pa.array([[1.5], []], pa.list_(pa.float32())),
        "nested": pa.array([{"x": 1}, {"x": None}], pa.struct([pa.field("x", pa.int8())])),
        "when": pa.array([0, None], pa.timestamp("us", "UTC")),
        "label": pa.array(["spam", "ham"]).dictionary_encode(),
    }
)
_TWO_CONFIGURATIONS = b"""---
configs:
- config_name: easy
  data_files: easy.parquet
- config_name: hard
  data_files: hard.parquet
---
"""
DATASETS = {
    "owner/topics": {
        "data/train-00000-of-00002.parquet": parquet(topics(600)),
        "data/train-00001-of-00002.parquet": parquet(topics(5)),
        "data/test-00000-of-00001.parquet": parquet(topics(3)),
    },
    "owner/typed": {"train.parquet": parquet(TYPED)},
    "owner/levels": {
        "README.md": _TWO_CONFIGURATIONS,
        "easy.parquet": parquet(topics(1)),
        "hard.parquet": parquet(topics(2)),
    },
    "owner/lines": {"train.jsonl": b'{"topic": "a", "n": 1}\n{"topic": "b", "n": 2}\n'},
    "owner/nothing": {"README.md": b"---\nlicense: mit\n---\n"},
    "owner/damaged": {"train.parquet": b"this is not parquet"},
}
# Dataset and split → what the error is, and words of its message.
REFUSED = {
    "owner/topics@valid": ("RequestError", "has no split 'valid': it has 'train', 'test'"),
    "owner/unknown@train": ("RequestError", "There is no dataset 'owner/unknown' on the Hugging Face Hub"),
    "owner/gated@train": ("RequestError", "If it is private or gated, set HF_TOKEN"),
    "owner/levels@train": ("RequestError", "several configurations ('easy', 'hard'): name one of them"),
    "owner/levels:other@train": ("RequestError", "several configurations ('easy', 'hard')"),
    "owner/nothing@train": ("RequestError", "holds no data files"),
    "owner/damaged@train": ("RequestError", "cannot be read"),
    "not a name@train": ("RequestError", "cannot be read (Repo id must use"),
}
LOCAL_REFUSED = {
    "saved_dict@train": ("RequestError", "has no split 'train': it has 'test'"),
    "files@test": ("RequestError", "has no split 'test': it has 'train'"),
    "empty@train": ("RequestError", "'empty'"),
}
READ = (
    *("owner/topics@train", "owner/topics@test", "owner/typed@train", "owner/levels:hard@train", "owner/lines@train"),
    *("files@train", "saved@train", "saved_dict@test"),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All datasets, of the hub and in folders, read in one process."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "empty").mkdir()
    (folder / "files").mkdir()
    (folder / "files" / "train.parquet").write_bytes(parquet(topics(4)))
    arguments = (*READ, *REFUSED, *LOCAL_REFUSED)
    with DatasetHub(DATASETS, denied=frozenset({"owner/gated"})) as hub:
        return dict(zip(arguments, read(folder, "--save", *arguments, HF_ENDPOINT=hub.url), strict=True))


def test_a_split_is_read_whole_and_in_order(answers: dict[str, dict[str, Any]]) -> None:
    """Files follow one another, in short batches, and the metadata of the features is dropped."""
    answer = answers["owner/topics@train"]
    assert answer["rows"] == [*topics(600).to_pylist(), *topics(5).to_pylist()]
    assert max(answer["batches"]) <= 256
    assert answer["schema"] == {"id": "int32", "topic": "string"}
    assert not answer["metadata"]
    assert answers["owner/topics@test"]["rows"] == topics(3).to_pylist()


def test_types_are_the_features(answers: dict[str, dict[str, Any]]) -> None:
    """Nested columns, large strings and times with a zone stay what they are."""
    answer = answers["owner/typed@train"]
    assert answer["schema"] == {
        "text": "large_string",
        "scores": "list<item: float>",
        "nested": "struct<x: int8>",
        "when": "timestamp[us, tz=UTC]",
        "label": "string",
    }
    assert answer["rows"] == json.loads(json.dumps(TYPED.to_pylist(), default=str))


def test_a_configuration_is_named_after_a_colon(answers: dict[str, dict[str, Any]]) -> None:
    """Datasets with several configurations can be read."""
    assert answers["owner/levels:hard@train"]["rows"] == topics(2).to_pylist()


def test_files_without_declared_types_are_read(answers: dict[str, dict[str, Any]]) -> None:
    """JSON lines carry no schema; the first rows give it."""
    assert answers["owner/lines@train"]["rows"] == [{"topic": "a", "n": 1}, {"topic": "b", "n": 2}]


@pytest.mark.parametrize("argument", [*REFUSED, *LOCAL_REFUSED])
def test_refusals_say_what_to_do(answers: dict[str, dict[str, Any]], argument: str) -> None:
    """What the hub or the library refuses becomes one sentence for a person."""
    kind, words = (REFUSED | LOCAL_REFUSED)[argument]
    answer = answers[argument]
    assert answer.get("error") == kind
    assert words in answer["message"]
    assert "\n" not in answer["message"]


def test_without_network_the_hub_is_named(tmp_path: Path) -> None:
    """A closed port is a configuration error, not a missing dataset."""
    [answer] = read(tmp_path, "owner/topics@train", "--no-waiting", HF_ENDPOINT="http://127.0.0.1:9")
    assert answer["error"] == "ConfigurationError"
    assert "Hugging Face Hub cannot be reached for 'owner/topics'" in answer["message"]


def test_local_folders_are_datasets(answers: dict[str, dict[str, Any]]) -> None:
    """A folder of data files, and folders that save_to_disk wrote, are read."""
    assert answers["files@train"]["rows"] == topics(4).to_pylist()
    assert answers["saved@train"]["rows"] == [{"topic": "a"}, {"topic": "b"}]
    assert answers["saved_dict@test"]["rows"] == [{"topic": "c"}]
