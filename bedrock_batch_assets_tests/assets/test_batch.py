"""A batch through its five assets, in one process, against the local AWS stand-in."""

import io
import random
from collections.abc import Iterator

import dagster as dg
import msgspec
import pyarrow as pa
import pytest

from bedrock_batch_assets.assets.result_parts import result_parts
from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.records.joining import OutputJoin
from bedrock_batch_assets.records.rendering import RecordRenderer
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def nasty_rows(count: int) -> list[list[str]]:
    """Rows as real tweets are: newlines, quotes, emoji, right-to-left text, separators, leading zeros, empties."""
    generator = random.Random(7)
    pieces = [
        *["Ringe çıkmadan 😃", 'she said ""hi""', '"', "a,b;c", "line\nbreak", "two\n\nbreaks", "\ttab", "مرحبا"],
        *["日本語", "👩\u200d👩\u200d👧", "\u2028", "\u0085", "\\n", "{topic}", "%s", "</text>", "'", "007", "NA"],
        *["null", "  spaces  ", "é", "e\u0301", "\ufeff"],
    ]
    return [
        [
            " ".join(generator.choices(pieces, k=generator.randint(1, 6))) if generator.random() > 0.05 else "",
            f"{index:06d}",
            generator.choice(["", "True", "1e5", "-0", "2017-08-27 00:05:34"]),
        ]
        for index in range(count)
    ]


def test_every_row_comes_out_once_in_order_with_its_columns_unchanged(bench: Bench) -> None:
    """1,150 rows of every kind of text come out in input order, byte for byte, each with a status."""
    rows = nasty_rows(1_150)
    uri = bench.put_csv("inputs/tweets.csv", ["text", "id", "created at"], rows)
    bench.run("tweets", s3_uri=uri, model_id=HAIKU, prompt_id="sentiment")
    # Many rows have the same text, so there are fewer records than a job may have.
    assert bench.chunks("tweets") == ["tweets-00000"]
    table = bench.read_table("tweets")
    assert [[row["text"], row["id"], row["created at"]] for row in table] == rows
    for row, source in zip(table, rows, strict=True):
        assert row["record_status"] == ("ok" if source[0].strip() else "skipped")
        assert (row["response"] is None) == (not source[0].strip())


@pytest.mark.parametrize("empty_row", [None, 150])
def test_rows_are_decoded_only_to_find_skipped_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, empty_row: int | None
) -> None:
    """A chunk of whole row groups goes from the stored table into its part as it is; prompts are read if need be."""
    rows = [[f"topic {index}" if index != empty_row else " ", f"{index:06d}"] for index in range(1_200)]
    uri = bench.put_csv("inputs/t.csv", ["topic", "id"], rows)
    read: list[tuple[str, ...]] = []
    skipped_rows = RecordRenderer.skipped_rows

    def noting(self: RecordRenderer, batch: pa.RecordBatch, first_row: int) -> list[tuple[int, str]]:
        read.append(tuple(batch.schema.names))
        return skipped_rows(self, batch, first_row)

    monkeypatch.setattr(OutputJoin, "join", None)
    monkeypatch.setattr(RecordRenderer, "skipped_rows", noting)
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=1_200)
    assert read == ([] if empty_row is None else [("topic",)])
    table = bench.read_table("jokes")
    assert [[row["topic"], row["id"]] for row in table] == rows
    assert [row["record_status"] for row in table] == [
        "skipped" if index == empty_row else "ok" for index in range(1_200)
    ]


def test_what_is_known_of_another_rendering_says_nothing_of_skipped_rows(bench: Bench) -> None:
    """If the records of the chunk are not those that the answers are of, every row is looked at."""
    rows = [[f"topic {index}" if index else ""] for index in range(1_000)]
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 1_000}
    bench.run("jokes", s3_uri=bench.put_csv("inputs/t.csv", ["topic"], rows), **request)
    key = bench.storage.layout.chunk_manifest("jokes-00000")
    manifest = bench.storage.chunk_manifest("jokes-00000")
    for other in (
        msgspec.structs.replace(manifest, digest="another", skipped=0),
        msgspec.structs.replace(manifest, version="another", skipped=0),
        None,
    ):
        if other is None:
            bench.storage.objects.delete([key])
        else:
            bench.storage.write_manifest(key, other)
        assert bench.materialize([result_parts], "jokes-00000").success
        summary = bench.storage.part_summary(
            bench.storage.layout.staged_part("jokes", 0, manifest.version, OutputFormat.parquet)
        )
        assert summary is not None
        assert (summary.ok, summary.skipped, summary.missing) == (999, 1, 0)


def test_every_record_is_paid_once_and_asking_again_pays_nothing(bench: Bench) -> None:
    """Materializing the chunks a second and a third time finds the same jobs: the ledger does not grow."""
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(250)])
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=130)
    first = bench.billed()
    assert len(first) == len({record for _, record in first}) == 250
    for _ in range(2):
        for key in bench.chunks("jokes"):
            assert bench.chunk(key).success
    assert bench.billed() == first


def test_resubmit_pays_again_and_a_later_run_finds_what_it_paid_for(bench: Bench) -> None:
    """Only `resubmit: true` makes a second job; the run after it collects that one and pays nothing."""
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(120)])
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    assert bench.chunk("jokes-00000", resubmit=True).success
    assert len(bench.aws.jobs()) == 2
    assert len(bench.billed()) == 240
    assert bench.chunk("jokes-00000").success
    assert len(bench.billed()) == 240
    outputs = bench.storage.outputs_manifest("jokes-00000").outputs
    assert [output.name[-3:] for output in outputs] == ["-w1"]


def test_embeddings_come_out_as_vectors_beside_their_rows(bench: Bench) -> None:
    """An embedding batch needs no prompt and gives float lists of the dimension asked for, in row order."""
    uri = bench.put_csv("inputs/e.csv", ["input_text", "id"], [[f"word {index}", str(index)] for index in range(110)])
    parameters = {"dimensions": 256}
    bench.run("vectors", s3_uri=uri, model_id=TITAN, prompt_id=None, inference_parameters=parameters)
    table = bench.read_table("vectors")
    assert [row["id"] for row in table] == [str(index) for index in range(110)]
    assert {len(row["embedding"]) for row in table} == {256}  # type: ignore[arg-type]


def test_csv_output_holds_the_input_text_and_embeddings_as_json_lists(bench: Bench) -> None:
    """With output_format csv the parts are CSV files whose embeddings parse as JSON lists."""
    import csv
    import json

    uri = bench.put_csv("inputs/e.csv", ["input_text", "id"], [['a "quoted"\nword', f"{i:03d}"] for i in range(100)])
    bench.run("vectors", s3_uri=uri, model_id=TITAN, output_format="csv", inference_parameters={"dimensions": 256})
    data = bench.storage.objects.get_bytes("batch_output_parquet/vectors/part-00000.csv").decode()
    rows = list(csv.DictReader(io.StringIO(data)))
    assert [(row["input_text"], row["id"]) for row in rows] == [('a "quoted"\nword', f"{i:03d}") for i in range(100)]
    assert {len(json.loads(row["embedding"])) for row in rows} == {256}


def test_a_batch_too_small_for_a_job_is_answered_on_demand(bench: Bench) -> None:
    """Under 100 records no job is made, every row is answered, and each record is billed once, on demand."""
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(40)])
    bench.run("small", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    assert bench.aws.jobs() == []
    assert {row["record_status"] for row in bench.read_table("small")} == {"ok"}
    summary = bench.aws.ledger_summary()
    assert (summary["records"], summary["onDemandRecords"]) == (40, 40)
    assert bench.chunk("small-00000").success
    assert bench.aws.ledger_summary()["records"] == 40


def test_records_that_failed_for_the_moment_are_asked_for_again(bench: Bench) -> None:
    """Retryable errors and missing lines are sent again in waves until every row has its answer."""
    bench.aws.put_settings({"record_faults": {"error": 0.3, "missing": 0.2, "error_code": 500}, "seed": 3})
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(300)])
    bench.run("flaky", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    outputs = bench.storage.outputs_manifest("flaky-00000").outputs
    assert len(outputs) == 3
    table = bench.read_table("flaky")
    assert len(table) == 300
    answered = sum(row["record_status"] == "ok" for row in table)
    assert answered > 250
    assert all(row["record_error"] for row in table if row["record_status"] != "ok")


def test_a_failed_job_is_a_clear_error_and_asking_again_makes_a_new_one(bench: Bench) -> None:
    """A job that fails validation fails the run with the service's message; the next run makes the next wave."""
    bench.aws.put_settings({"job_endings": [{"status": "Failed", "count": 1, "message": "no such luck"}]})
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(120)])
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    failed = bench.chunk("jokes-00000")
    assert not failed.success
    assert "no such luck" in str(failed.failure_data_for_node("batch_job_outputs"))
    assert bench.chunk("jokes-00000").success
    assert bench.table("jokes").success
    assert len(bench.billed()) == 120


def test_a_table_is_not_made_of_parts_of_an_earlier_input(bench: Bench) -> None:
    """After the input changed, the table is refused until the new chunk is there; what did not change costs nothing."""
    rows = [[f"topic {index}"] for index in range(200)]
    bench.run(
        "jokes", s3_uri=bench.put_csv("a.csv", ["topic"], rows), model_id=HAIKU, prompt_id="joke_about_topic",
        max_records_per_job=100,
    )  # fmt: skip
    former = bench.read_table("jokes")
    rows[150] = ["another topic"]
    changed = bench.put_csv("b.csv", ["topic"], rows)
    bench.input("jokes", s3_uri=changed, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100)
    refused = bench.table("jokes")
    assert not refused.success
    assert "jokes-00002" in str(refused.failure_data_for_node("result_table"))
    assert bench.chunk("jokes-00002").success
    assert bench.read_table("jokes") == former
    assert bench.table("jokes").success
    assert [row["topic"] for row in bench.read_table("jokes")] == [row[0] for row in rows]
    assert list(bench.storage.objects.list(bench.storage.layout.joined_folder("jokes"))) == []
    assert len(bench.aws.ledger()) == 201


def test_fewer_rows_leave_no_surplus_chunks_and_no_surplus_parts(bench: Bench) -> None:
    """A smaller input takes away the chunk partitions and the parts that it no longer has."""
    rows = [[f"topic {index}"] for index in range(300)]
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "max_records_per_job": 100}
    bench.run("jokes", s3_uri=bench.put_csv("a.csv", ["topic"], rows), **request)
    bench.run("jokes", s3_uri=bench.put_csv("b.csv", ["topic"], rows[:200]), **request)
    assert bench.chunks("jokes") == ["jokes-00000", "jokes-00001"]
    assert [row["topic"] for row in bench.read_table("jokes")] == [row[0] for row in rows[:200]]


def test_a_job_that_was_stopping_is_followed_by_one_for_the_rest(bench: Bench) -> None:
    """Asked again while the job is Stopping, the chunk waits for its end and then asks for the records left over."""
    bench.aws.put_settings({"seconds": {"InProgress": 60, "Stopping": 1}})
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(250)])
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    arn = _submit_first_wave(bench, "jokes-00000")
    bench.aws.wait_for_status("InProgress")
    assert bench.jobs.stop(arn)
    bench.aws.put_settings({"seconds": {"InProgress": 0.05}})
    assert bench.chunk("jokes-00000").success
    assert bench.table("jokes").success
    assert {row["record_status"] for row in bench.read_table("jokes")} == {"ok"}
    assert len({record for _, record in bench.billed()}) == len(bench.aws.ledger()) == 250


def _submit_first_wave(bench: Bench, chunk: str) -> str:
    """Render the chunk and ask for its job, as a run does that dies right after Create; returns its ARN."""
    from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
    from bedrock_batch_assets.jobs.naming import JobName

    assert dg.materialize(
        [jsonl_chunks],
        partition_key=chunk,
        instance=bench.instance,
        resources={"storage": bench.storage, "processors": bench.processors},
    ).success
    records = bench.storage.chunk_manifest(chunk)
    assert records.key is not None
    name = JobName(chunk, records.digest)
    return bench.jobs.create(
        name,
        model_id=HAIKU,
        invocation_type="InvokeModel",
        input_uri=bench.storage.uri(records.key.rpartition("/")[0] + "/"),
        output_uri=bench.storage.uri(bench.storage.layout.chunk_outputs_folder(chunk)),
    )
