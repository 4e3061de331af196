"""What a batch's input says of its chunks: which of them another input, or another request, makes anew."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from bedrock_batch_assets import prompt_templates
from bedrock_batch_assets.sensors.batch_progress import pending_chunks
from bedrock_batch_assets.storage.manifests import ChunkEntry
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


ROWS = [[f"topic {index}"] for index in range(300)]
REQUEST: dict[str, Any] = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 100}


def ingest(bench: Bench, rows: list[list[str]], **changes: Any) -> list[ChunkEntry]:
    """Materialize the input and return its chunks."""
    assert bench.input("jokes", s3_uri=bench.put_csv("t.csv", ["topic"], rows), **REQUEST | changes).success
    return bench.storage.batch_manifest("jokes").chunks


def versions(entries: list[ChunkEntry]) -> list[tuple[int, str]]:
    """What says that chunks are the same, wherever their rows are kept."""
    return [(entry.index, entry.version) for entry in entries]


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "anthropic.claude-3-sonnet-20240229-v1:0"},
        {"inference_parameters": {"max_tokens": 77}},
        {"prompt_id": "another"},
    ],
    ids=["model", "parameters", "prompt"],
)
def test_all_that_an_answer_depends_on_is_in_the_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Another model, parameter or prompt makes every chunk anew; the same request again makes none."""
    monkeypatch.setitem(prompt_templates.prompt_id_to_template, "another", "Tell me of {topic}.")
    before = ingest(bench, ROWS)
    assert ingest(bench, ROWS) == before
    after = ingest(bench, ROWS, **change)
    assert not {entry.version for entry in before} & {entry.version for entry in after}


def test_rows_that_did_not_change_keep_their_chunks(bench: Bench) -> None:
    """New rows at the end, and a changed one, leave every chunk as it is, and get chunks of their own."""
    before = ingest(bench, ROWS[:250])
    changed = [*ROWS[:120], ["another topic"], *ROWS[121:]]
    after = ingest(bench, changed)
    assert versions(after)[:3] == versions(before)
    assert [entry.row_count for entry in after[3:]] == [51]
    appended = ingest(bench, [*changed, *[[f"new {index}"] for index in range(150)]])
    assert versions(appended)[: len(after)] == versions(after)
    assert [entry.row_count for entry in appended[len(after) :]] == [100, 50]


def test_new_rows_do_not_move_the_boundaries_of_old_chunks(bench: Bench) -> None:
    """Chunks that were balanced over 250 rows stay as they are with 400: new rows get one of their own."""
    before = ingest(bench, ROWS[:250], max_records_per_job=150)
    assert [entry.row_count for entry in before] == [125, 125]
    after = ingest(bench, [*ROWS, *[[f"new {index}"] for index in range(100)]], max_records_per_job=150)
    assert versions(after[:2]) == versions(before)
    assert [entry.row_count for entry in after] == [125, 125, 150]
    parts = bench.storage.batch_manifest("jokes").parts
    assert [(part.first_row, part.row_count) for part in parts] == [(0, 125), (125, 125), (250, 150)]


def test_a_row_that_moves_makes_no_chunk_anew(bench: Bench) -> None:
    """The same records at other places are those of the same chunks; only the table's parts are others."""
    before = ingest(bench, ROWS)
    parts = bench.storage.batch_manifest("jokes").parts
    after = ingest(bench, [*ROWS[100:], *ROWS[:100]])
    assert versions(after) == versions(before)
    assert not {part.version for part in parts} & {part.version for part in bench.storage.batch_manifest("jokes").parts}


def test_a_run_in_flight_keeps_its_rows(bench: Bench) -> None:
    """Another input is stored beside the rows that runs of the earlier one still read."""
    ingest(bench, ROWS)
    first = bench.storage.batch_manifest("jokes").rows_key
    ingest(bench, ROWS[:200])
    assert bench.storage.batch_manifest("jokes").rows_key != first
    assert bench.storage.objects.exists(first)


def test_another_model_makes_another_job_of_the_same_records(bench: Bench) -> None:
    """The content digest, which the job is found by, tells models apart if the rendered records are the same."""
    from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks

    digests = []
    for model in (HAIKU, "anthropic.claude-3-sonnet-20240229-v1:0"):
        ingest(bench, ROWS, model_id=model)
        first = bench.chunks("jokes")[0]
        assert bench.materialize([jsonl_chunks], first).success
        digests.append(bench.storage.chunk_manifest(first).digest)
    assert len(set(digests)) == 2


def test_rows_that_go_and_come_back_cost_nothing(bench: Bench) -> None:
    """A chunk whose rows were taken out of the table is found when they are back, and no run is needed for it."""
    ingest(bench, ROWS)
    bench.run("jokes", s3_uri=bench.put_csv("t.csv", ["topic"], ROWS), **REQUEST)
    bench.run("jokes", s3_uri=bench.put_csv("t.csv", ["topic"], ROWS[:200]), **REQUEST)
    paid = bench.billed()
    ingest(bench, ROWS)
    assert pending_chunks(bench.instance, bench.storage.batch_manifest("jokes")) == []
    assert bench.table("jokes").success
    assert len(bench.read_table("jokes")) == 300
    assert bench.billed() == paid


@pytest.mark.parametrize("key", ["../other", "a/b", "a..b", "-a"])
def test_a_name_that_leaves_its_folder_is_refused(bench: Bench, key: str) -> None:
    """A partition that the UI takes and S3 or Bedrock cannot hold is one clear error, and nothing is written for it."""
    uri = bench.put_csv("t.csv", ["topic"], ROWS)
    before = [info.key for info in bench.storage.objects.list()]
    refused = bench.input(key, s3_uri=uri, **REQUEST)
    assert "cannot be used" in str(refused.failure_data_for_node("input_dataset"))
    assert [info.key for info in bench.storage.objects.list()] == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_id": f"bedrock/{HAIKU}"}, f"set it to '{HAIKU}'"),
        ({"model_id": f"{HAIKU} "}, f"set it to '{HAIKU}'"),
        ({"model_id": "us.deepseek.v3.2"}, "set it to 'deepseek.v3.2'"),
        ({"model_id": "us.qwen.qwen3-32b-v1:0"}, "set it to 'qwen.qwen3-32b-v1:0'"),
        (
            {
                "model_id": "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl",
                "processor": "converse",
            },
            "Provisioned Throughput",
        ),
        ({"prompt_id": "with_json"}, "double the braces"),
    ],
)
def test_a_request_that_the_service_would_refuse_costs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    """The error comes before the input is read: no chunk is made, and AWS is not called at all."""
    monkeypatch.setitem(prompt_templates.prompt_id_to_template, "with_json", 'Answer {"a.b": 1} about {topic}')
    uri = bench.put_csv("t.csv", ["topic"], ROWS)
    before = bench.aws.calls()
    refused = bench.input("jokes", s3_uri=uri, **REQUEST | change)
    assert words in str(refused.failure_data_for_node("input_dataset"))
    assert bench.chunks("jokes") == []
    assert bench.aws.calls() == before
