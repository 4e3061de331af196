"""Every distinct record is paid for once, whatever becomes of the table: by the stand-in's own ledger."""

import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg
import msgspec
import pyarrow.parquet as pq
import pytest

from bedrock_batch_assets.chunks.joined_chunk import keep_answers_alone
from bedrock_batch_assets.client.deletion import stored_data
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs
from bedrock_batch_assets.sensors.batch_progress import pending_chunks
from bedrock_batch_assets.storage.objects import ObjectStore
from bedrock_batch_assets.storage.shared_answers import answers_used_by_others
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

ROWS = 400
TOPICS = [f"topic {number}" for number in range(ROWS)]


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def paid(bench: Bench, batch: str, topics: Sequence[str], **changes: Any) -> int:
    """Run a batch over a table to its end, check every row of the result, and return what it paid for."""
    before = len(bench.aws.ledger())
    ids = [f"{number:06d}" for number in range(len(topics))]
    rows = [list(row) for row in zip(topics, ids, strict=True)]
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 200} | changes
    column = "input_text" if request["prompt_id"] is None else "topic"
    bench.input(batch, s3_uri=bench.put_csv(f"{batch}.csv", [column, "id"], rows), **request)
    for key in pending_chunks(bench.instance, bench.storage.batch_manifest(batch)):
        bench.chunk(key)
    bench.table(batch)
    if request.get("output_format") != "csv":
        table = bench.read_table(batch)
        assert [(row[column], row["id"]) for row in table] == list(zip(topics, ids, strict=True))
        for row in table:
            assert row["record_status"] == ("ok" if row[column] else "skipped")
            if request["prompt_id"] == "joke_about_topic" and row[column]:
                assert str(row[column]).lower() in str(row["response"]).lower()
    return len(bench.aws.ledger()) - before


def changed(topics: Sequence[str], places: Sequence[int]) -> list[str]:
    return [f"{topic} changed" if place in places else topic for place, topic in enumerate(topics)]


SHUFFLED = random.Random(7).sample(TOPICS, ROWS)


def test_other_batches_cost_what_is_new(bench: Bench) -> None:
    """New records alone are paid for; every row has the answer to its own text. `paid_once` does it for one batch."""
    assert paid(bench, "jokes", TOPICS) == ROWS
    assert paid(bench, "shuffled", SHUFFLED) == 0
    assert paid(bench, "inserted", ["a new topic", *TOPICS]) == 1
    assert paid(bench, "spread", changed(TOPICS, range(0, ROWS, ROWS // 10))) == 10


def test_rows_with_the_same_record_are_paid_for_once(bench: Bench) -> None:
    """40 % repeated prompts cost nothing, within a table and afterwards; a row is reused unless it is the first."""
    topics = [TOPICS[number % 240] for number in range(ROWS)]
    assert paid(bench, "jokes", topics) == 240
    answered_by = [row["answered_by"] for row in bench.read_table("jokes")]
    assert answered_by == ["job"] * 240 + ["reused"] * 160
    assert paid(bench, "jokes", topics) == 0


def test_each_repetition_is_asked_for_if_that_is_wanted(bench: Bench) -> None:
    """`duplicates: each` samples: every row has an answer of its own, which a later input finds again."""
    topics = ["one topic"] * 300
    assert paid(bench, "jokes", topics, duplicates="each") == 300
    assert paid(bench, "jokes", topics, duplicates="each") == 0
    assert paid(bench, "jokes", [*topics, "one topic"], duplicates="each") == 1


def test_all_is_paid_again_on_purpose_and_once(bench: Bench) -> None:
    """`reuse: false` asks for everything anew, and what comes after it uses the newest answers."""
    assert paid(bench, "jokes", TOPICS) == ROWS
    assert paid(bench, "jokes", TOPICS, reuse=False) == ROWS
    assert paid(bench, "jokes", TOPICS) == 0


def test_another_prompt_or_parameter_makes_other_records(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are paid for by themselves, and going back to the first costs nothing."""
    from bedrock_batch_assets import prompt_templates

    monkeypatch.setitem(prompt_templates.prompt_id_to_template, "sentiment_of_topic", "Sentiment: {topic}")
    assert paid(bench, "jokes", TOPICS) == ROWS
    assert paid(bench, "jokes", TOPICS, inference_parameters={"max_tokens": 77}) == ROWS
    assert paid(bench, "jokes", TOPICS, prompt_id="sentiment_of_topic") == ROWS
    assert paid(bench, "jokes", [*TOPICS, "new"]) == 1


@pytest.mark.parametrize("settings", [{"prompt_id": None, "model_id": TITAN}, {"output_format": "csv"}], ids=str)
def test_vectors_and_csv_files_are_reused_too(bench: Bench, settings: dict[str, Any]) -> None:
    """An embedding table keeps each text's vector in any order; a table as CSV is made of the same answers."""
    assert paid(bench, "one", TOPICS, **settings) == ROWS
    vectors = {} if "output_format" in settings else {r["input_text"]: r["embedding"] for r in bench.read_table("one")}
    assert paid(bench, "two", SHUFFLED, **settings) == 0
    if vectors:
        assert all(row["embedding"] == vectors[row["input_text"]] for row in bench.read_table("two"))


def test_skipped_rows_stay_where_they_are(bench: Bench) -> None:
    """Rows without a record come out among reused ones, each with its reason."""
    assert paid(bench, "jokes", TOPICS) == ROWS
    with_gaps = changed(TOPICS, [])
    for place in (0, 199, 200, 399):
        with_gaps[place] = ""
    assert paid(bench, "jokes", with_gaps) == 0
    skipped = [row for row in bench.read_table("jokes") if row["record_status"] == "skipped"]
    assert len(skipped) == 4
    assert all("topic" in str(row["record_error"]) and row["answered_by"] is None for row in skipped)


def test_errors_are_asked_for_again(bench: Bench) -> None:
    """A record without an answer is asked for by the next input, and only that; then all is there."""
    bench.jobs = BedrockBatchJobs(role_arn=bench.jobs.role_arn, max_poll_seconds=0.05, repair_waves=0)
    bench.aws.put_settings({"seed": 3, "record_faults": {"error": 0.1, "missing": 0.05, "corrupt": 0.02}})
    uri = bench.put_csv("jokes.csv", ["topic"], [[topic] for topic in TOPICS])
    request = {"s3_uri": uri, "model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 200}
    bench.run("jokes", **request)
    bad = sum(row["record_status"] != "ok" for row in bench.read_table("jokes"))
    assert 0 < bad < ROWS
    before = len(bench.aws.ledger())
    bench.aws.put_settings({"record_faults": {"error": 0.0, "missing": 0.0, "corrupt": 0.0}})
    bench.run("jokes", **request)
    table = bench.read_table("jokes")
    assert [row["topic"] for row in table] == TOPICS
    assert all(row["record_status"] == "ok" for row in table)
    assert len(bench.aws.ledger()) - before == bad


def test_an_append_writes_the_last_parts_alone(bench: Bench) -> None:
    """Parts whose rows and answers are as before are the same objects."""
    topics = [f"topic {number}" for number in range(600)]
    paid(bench, "jokes", topics)
    folder = bench.storage.layout.results_folder("jokes")
    before = {info.key: info for info in bench.storage.objects.list(folder)}
    paid(bench, "jokes", [*topics, "a new topic"])
    after = {info.key: info for info in bench.storage.objects.list(folder)}
    changed = [key.removeprefix(folder) for key in sorted(after) if after[key] != before.get(key)]
    assert changed == ["part-00002.parquet", "part-00003.parquet"]


def test_a_batch_with_nothing_new_runs_no_chunk(bench: Bench) -> None:
    """Its table follows from its input at once, and the input says what is reused before anything is sent."""
    paid(bench, "jokes", TOPICS)
    paid(bench, "another", TOPICS)
    assert bench.chunks("another") == []
    event = bench.instance.get_latest_materialization_event(dg.AssetKey("input_dataset"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["records"].value == "400 of 400 reused; 0 to pay"
    assert {row["answered_by"] for row in bench.read_table("another")} == {"reused"}


def test_answers_that_others_use_outlive_their_batch(bench: Bench) -> None:
    """Deleting a batch's data leaves these answers without the rows, and the other table can be made of them again."""
    paid(bench, "jokes", TOPICS[:300])
    assert paid(bench, "another", TOPICS[:350], max_records_per_job=100) == 50
    before = bench.read_table("another")
    kept = answers_used_by_others(bench.storage, "jokes")
    assert set(map(tuple, kept.values())) == {("another",)}
    for item in stored_data(bench.storage, "jokes", kept):
        bench.storage.objects.delete(item.keys)
    for key in kept:
        keep_answers_alone(bench.storage, key)
    left = [info.key for info in bench.storage.objects.list() if "/jokes/" in info.key]
    assert sorted(key for key in left if "/claims/" not in key) == sorted(kept)
    columns = pq.read_schema(io.BytesIO(bench.storage.objects.get_bytes(min(kept)))).names
    assert "topic" not in columns
    assert "id" not in columns
    bench.storage.objects.delete_prefix(bench.storage.layout.results_folder("another"))
    assert bench.table("another").success
    assert bench.read_table("another") == before
    assert paid(bench, "third", TOPICS[:300]) == 0


def test_answers_that_are_gone_are_asked_for_again(bench: Bench) -> None:
    """If what a table was to reuse is not there any more, it says so, and the next input asks for it."""
    paid(bench, "jokes", TOPICS)
    uri = bench.put_csv("another.csv", ["topic"], [[topic] for topic in TOPICS])
    request = {"s3_uri": uri, "model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 200}
    assert bench.input("another", **request).success
    bench.storage.objects.delete_prefix(bench.storage.layout.state_folder("jokes"))
    refused = bench.table("another")
    assert "jokes-00000" in str(refused.failure_data_for_node("result_table"))
    assert "Materialize input_dataset again" in str(refused.failure_data_for_node("result_table"))
    assert paid(bench, "another", TOPICS) == ROWS


def test_a_batch_of_an_earlier_version_goes_on(bench: Bench) -> None:
    """Its table can be built again as it is, and its answers are reused."""
    paid(bench, "jokes", TOPICS)
    layout, objects = bench.storage.layout, bench.storage.objects
    manifest = bench.storage.batch_manifest("jokes")
    chunks = [msgspec.structs.replace(entry, index=-1) for entry in manifest.chunks]
    former = msgspec.structs.replace(manifest, chunks=chunks, recipe="", parts=[], sources=[], next_chunk=0, to_pay=0)
    bench.storage.write_manifest(layout.batch_manifest("jokes"), former)
    objects.delete_prefix(layout.staged_folder("jokes"))
    objects.delete_prefix(layout.all_claims_folder)
    assert bench.table("jokes").success
    assert len(bench.read_table("jokes")) == ROWS
    assert paid(bench, "jokes", ["first", *TOPICS[:300]]) == 1
    assert paid(bench, "another", TOPICS) == 0


@pytest.mark.parametrize("reuse", [True, False])
def test_an_input_that_is_killed_anywhere_costs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    """Before any of its writes to S3: what comes of all tries pays once, and every row comes out right."""
    topics = TOPICS[:6]
    paid(bench, "jokes", topics)
    left = [0]

    def until_killed(write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise KeyError("killed")
            left[0] -= 1
            return write(*arguments, **named)

        return written

    topics = ["a new topic", *topics, topics[0]]
    uri = bench.put_csv("jokes.csv", ["topic", "id"], [[topic, f"{row:06d}"] for row, topic in enumerate(topics)])
    request = {"s3_uri": uri, "model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 200}
    for kill_at in range(12):
        left[0] = kill_at
        with monkeypatch.context() as patch:
            for name in ("upload_file", "put_bytes"):
                patch.setattr(ObjectStore, name, until_killed(getattr(ObjectStore, name)))
            if bench.input("jokes", **request, reuse=reuse).success:
                break
    assert 3 <= kill_at < 11
    assert paid(bench, "jokes", topics) == (1 if reuse else len(set(topics)))
