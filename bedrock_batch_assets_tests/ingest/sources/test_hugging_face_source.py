"""The real `datasets` library and hub client, against a hub on loopback and folders.

The client reads its environment when it is imported, so each run is a process of its own.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import bedrock_batch_assets
from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource
from bedrock_batch_assets_tests.ingest.sources.dataset_hub import DatasetHub
from bedrock_batch_assets_tests.parquet.crafted_files import int96_file, parquet

# Makes folders as save_to_disk does, then reads each "dataset@split" argument and prints a JSON line for each.
_PROGRAM = """
import json, sys
from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.ingest.sources.hugging_face_source import HuggingFaceSource
from bedrock_batch_assets.ingest.sources.storable_types import StorableSource
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
        source = StorableSource(HuggingFaceSource(dataset, split))
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
_DECLARED = b"""---
dataset_info:
  features:
  - name: id
    dtype: int64
  - name: topic
    dtype: large_string
---
"""
_LINES = b"".join(b'{"topic": "topic %d"}\n' % number for number in range(1_000))


def zipped(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


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
    "owner/cut": {"a.parquet": parquet(topics(3)), "b.parquet": parquet(topics(3))[:-30]},
    "owner/drift": {"a.parquet": parquet(topics(1)), "b.parquet": parquet(topics(1).select(["id"]))},
    # The library would make the text 007 the number 7.
    "owner/types": {"a.parquet": parquet(topics(1)), "b.parquet": parquet(pa.table({"id": ["007"], "topic": ["x"]}))},
    "owner/widths": {"a.parquet": parquet(topics(1)), "b.parquet": parquet(pa.table({"id": [2**40], "topic": ["x"]}))},
    "owner/far": {"a.parquet": int96_file([253_402_214_400 * 10**9])},
    "owner/declared": {"README.md": _DECLARED, "a.parquet": parquet(topics(2))},
    "owner/declared_others": {
        "README.md": _DECLARED.replace(b"name: id", b"name: key"),
        "a.parquet": parquet(topics(2)),
    },
    "owner/script": {"script.py": b"import datasets\n"},
    "owner/drift_lines": {"a.jsonl": b'{"topic": "a"}\n', "b.jsonl": b'{"other": "b"}\n'},
    "owner/broken_lines": {"a.jsonl": b'{"topic": "a"}\n{"topic": \n'},
    "owner/no_lines": {"a.jsonl": b""},
    "owner/cut_gzip": {"a.jsonl.gz": gzip.compress(_LINES)[:-40]},
    "owner/no_gzip": {"a.jsonl.gz": b"this is not gzip"},
    "owner/damaged_gzip": {"a.jsonl.gz": gzip.compress(_LINES)[:60] + b"x" * 20 + gzip.compress(_LINES)[80:]},
    "owner/cut_zip": {"data.zip": zipped({"train.jsonl": _LINES})[:-30]},
    "owner/cut_tar": {"a.tar": tarred({"1.txt": b"a" * 600, "1.cls": b"1"})[:700]},
    "owner/sounds": {"train/a.wav": b"RIFF"},
    "owner/arrays": {"a.h5": b"\x89HDF\r\n\x1a\n"},
    "owner/picture": {"train/a.png": b"\x89PNG\r\n\x1a\n"},
    "owner/yaml": {"README.md": b"---\nconfigs: [a: b: c\n---\n", "a.parquet": parquet(topics(1))},
    "owner/yaml_file": {"README.md": _TWO_CONFIGURATIONS},
    "owner/yaml_type": {"README.md": _DECLARED.replace(b"int64", b"strng"), "a.parquet": parquet(topics(1))},
}
# Dataset and split → what the error is, and words of its message.
REFUSED = {
    "owner/topics@valid": ("RequestError", "has no split 'valid': it has 'train', 'test'"),
    "owner/topics@Train": ("RequestError", "has no split 'Train': it has 'train', 'test'"),
    "owner/topics@train[:100]": ("RequestError", "write split: train and max_records_total: 100"),
    "owner/topics@train[10%:]": ("RequestError", "write split: train, and bound the rows with max_records_total"),
    "owner/unknown@train": ("RequestError", "There is no dataset 'owner/unknown' on the Hugging Face Hub"),
    "owner/gated@train": ("RequestError", "is gated: ask for access on its page, and set HF_TOKEN"),
    "owner/levels@train": ("RequestError", "several configurations ('easy', 'hard'): name one of them"),
    "owner/levels:other@train": ("RequestError", "'owner/levels' has no configuration 'other': it has 'easy', 'hard'"),
    "owner/nothing@train": ("RequestError", "holds no data files"),
    "owner/damaged@train": ("RequestError", "train.parquet is not a Parquet file"),
    "owner/cut@train": ("RequestError", "b.parquet is a Parquet file without its end"),
    "owner/drift@train": ("RequestError", "b.parquet has no column 'topic', which"),
    "owner/types@train": ("RequestError", "Column 'id' is string in"),
    "owner/declared_others@train": (
        "RequestError",
        "or from those that its README.md declares",
    ),
    "owner/script@train": ("RequestError", "is a Python script"),
    "owner/drift_lines@train": ("RequestError", "files whose columns differ from each other"),
    "owner/broken_lines@train": ("RequestError", "cannot be read (JSON parse error"),
    "owner/no_lines@train": ("RequestError", "has a file without rows"),
    "owner/cut_gzip@train": ("RequestError", "compressed file or archive that is cut off or damaged"),
    "owner/no_gzip@train": ("RequestError", "compressed file or archive that is cut off or damaged"),
    "owner/damaged_gzip@train": ("RequestError", "compressed file or archive that is cut off or damaged"),
    "owner/cut_zip@train": ("RequestError", "compressed file or archive that is cut off or damaged"),
    "owner/cut_tar@train": ("RequestError", "compressed file or archive that is cut off or damaged"),
    "owner/sounds@train": ("ConfigurationError", "needs the package 'torchcodec' to be read"),
    "owner/arrays@train": ("ConfigurationError", "needs the package 'h5py' to be read"),
    "owner/picture@train": ("RequestError", "'owner/picture' cannot be read"),
    "owner/yaml@train": ("RequestError", "has a README.md whose head is no YAML in line 2"),
    "owner/yaml_file@hard": ("RequestError", "easy.parquet"),
    "owner/yaml_type@train": ("RequestError", "cannot be read (Feature type 'Strng' not found"),
    "not a name@train": ("RequestError", "cannot be read (Repo id must use"),
    " owner/topics@train": ("RequestError", "with blanks around it: write 'owner/topics'"),
    "owner/topics/x@train": ("RequestError", "an id has the form 'owner/name'"),
    "./nowhere@train": ("RequestError", "there is no such folder"),
    "hf://datasets/owner/topics@train": ("RequestError", "write 'owner/topics'"),
    "https://huggingface.co/datasets/owner/topics/tree/main@train": ("RequestError", "write 'owner/topics'"),
    "s3://bucket/topics@train": ("RequestError", "name files on S3 as s3_uri"),
}
LOCAL_REFUSED = {
    "saved_dict@train": ("RequestError", "has no split 'train': it has 'test'"),
    "files@test": ("RequestError", "has no split 'test': it has 'train'"),
    "empty@train": ("RequestError", "'empty'"),
}
READ = (
    *("owner/topics@train", "owner/topics@test", "owner/typed@train", "owner/levels:hard@train", "owner/lines@train"),
    *("files@train", "saved@train", "saved_dict@test"),
    *("owner/widths@train", "owner/far@train", "owner/declared@train"),
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
    """Files follow one another, and the metadata of the features is dropped."""
    answer = answers["owner/topics@train"]
    assert answer["rows"] == [*topics(600).to_pylist(), *topics(5).to_pylist()]
    assert answer["schema"] == {"id": "int32", "topic": "string"}
    assert not answer["metadata"]
    assert answers["owner/topics@test"]["rows"] == topics(3).to_pylist()


def test_types_are_the_features(answers: dict[str, dict[str, Any]]) -> None:
    """Nested columns, large strings and times with a zone stay what they are."""
    answer = answers["owner/typed@train"]
    assert answer["schema"] == {
        "text": "large_string",
        "scores": "list<element: float>",
        "nested": "struct<x: int8>",
        "when": "timestamp[us, tz=UTC]",
        "label": "string",
    }
    assert answer["rows"] == json.loads(json.dumps(TYPED.to_pylist(), default=str))


def test_parquet_files_are_read_as_those_on_s3(answers: dict[str, dict[str, Any]]) -> None:
    """Widths of numbers may differ between files, years after 2262 stay, and declared types are kept."""
    widths = answers["owner/widths@train"]
    assert (widths["schema"]["id"], [row["id"] for row in widths["rows"]]) == ("int64", [0, 2**40])
    assert answers["owner/far@train"]["rows"] == [{"at": "9999-12-31 00:00:00"}]
    assert answers["owner/declared@train"]["schema"] == {"id": "int64", "topic": "large_string"}
    assert answers["owner/declared@train"]["rows"] == topics(2).to_pylist()


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


def test_an_offline_hub_says_so(tmp_path: Path) -> None:
    """Whoever has set HF_HUB_OFFLINE is told of it."""
    [answer] = read(tmp_path, "owner/topics@train", HF_HUB_OFFLINE="1")
    assert answer["error"] == "ConfigurationError"
    assert "check the network and HF_ENDPOINT, and that HF_HUB_OFFLINE is not set" in answer["message"]


def test_local_folders_are_datasets(answers: dict[str, dict[str, Any]]) -> None:
    """A folder of data files, and folders that save_to_disk wrote, are read."""
    assert answers["files@train"]["rows"] == topics(4).to_pylist()
    assert answers["saved@train"]["rows"] == [{"topic": "a"}, {"topic": "b"}]
    assert answers["saved_dict@test"]["rows"] == [{"topic": "c"}]


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The datasets library is an extra, since most tables are on S3."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigurationError, match=r"install 'bedrock-batch-assets\[huggingface\]'"):
        HuggingFaceSource("owner/topics", "train")
