"""A pilot: some rows asked on demand, what they show, and what the whole batch will cost by them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest

from bedrock_batch_assets.assets.pilot import pilot
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.pilots.pilot import PilotReport
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

NOVA = "amazon.nova-lite-v1:0"


@pytest.fixture
def bench(local_aws: LocalAws, tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "prices.json"
    price = {"batch": {"input": 1, "output": 10}, "on_demand": {"input": 2, "output": 20}}
    models = {HAIKU: price, NOVA: price, TITAN: {"batch": {"input": 4}, "on_demand": {"input": 8}}}
    path.write_text(json.dumps({"as_of": "2026-11-01", "source": "made up", "models": models}))
    with dg.DagsterInstance.ephemeral() as instance:
        found = Bench.create(local_aws, instance)
        found.prices = Prices(path=str(path))
        yield found


def topics(bench: Bench, count: int) -> str:
    return bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(count)])


def run(bench: Bench, batch: str, **config: object) -> dg.ExecuteInProcessResult:
    bench.instance.add_dynamic_partitions("batches", [batch])
    given = {"model_id": HAIKU, "prompt_id": "joke_about_topic", **config}
    return bench.materialize([pilot], batch, {"ops": {"pilot": {"config": given}}})


def report(bench: Bench, batch: str) -> PilotReport:
    return msgspec.json.decode(
        bench.storage.objects.get_bytes(bench.storage.layout.pilot_report(batch)), type=PilotReport
    )


def test_a_pilot_asks_for_its_rows_alone_and_starts_nothing(bench: Bench) -> None:
    """Twenty of 500 rows are billed, on demand; no input, chunk or job is there; the report has prompts and answers."""
    assert run(bench, "jokes", s3_uri=topics(bench, 500)).success
    summary = bench.aws.ledger_summary()
    assert (summary["records"], summary["onDemandRecords"]) == (20, 20)
    assert bench.storage.find_batch_manifest("jokes") is None
    assert bench.chunks("jokes") == []
    assert list(bench.jobs.list()) == []
    found = report(bench, "jokes")
    assert (len(found.rows), found.sent, found.row_count, found.records) == (20, 20, 500, 500)
    for row in found.rows:
        assert row.prompt == f"Tell me a joke about topic {row.row - 1} in less than 50 words."
        assert row.answer
    assert max(row.row for row in found.rows) > 20, "the first rows only"


def test_no_record_is_paid_for_twice_by_pilots(bench: Bench) -> None:
    """The same pilot again costs nothing; a larger one, of another batch with other rows around, only what is new."""
    uri = topics(bench, 100)
    run(bench, "jokes", s3_uri=uri, sample="first", rows=10)
    run(bench, "jokes", s3_uri=uri, sample="first", rows=10)
    assert report(bench, "jokes").sent == 0
    assert report(bench, "jokes").cost_usd == 0
    rows = [["new"], *([f"topic {index}"] for index in range(14))]
    run(bench, "others", s3_uri=bench.put_csv("inputs/o.csv", ["topic"], rows), sample="first", rows=15)
    assert report(bench, "others").sent == 5
    assert bench.aws.ledger_summary()["billedMoreThanOnce"] == {}
    assert bench.aws.ledger_summary()["records"] == 15


def test_a_pilot_that_died_pays_for_nothing_again(bench: Bench) -> None:
    """A record that a dead process claimed may have been paid for: it is not sent, and its row says so."""
    uri = topics(bench, 30)
    run(bench, "jokes", s3_uri=uri, sample="first", rows=3)
    claims = [info.key for info in bench.storage.objects.list("batch_pilots/answers/") if "/answers/" in info.key[21:]]
    bench.storage.objects.delete(claims[:1])
    run(bench, "jokes", s3_uri=uri, sample="first", rows=3)
    found = report(bench, "jokes")
    (lost,) = (row for row in found.rows if row.record_status == "error")
    assert "may have been paid for" in str(lost.record_error)
    assert bench.aws.ledger_summary()["records"] == 3


def test_a_refused_record_costs_nothing_and_is_asked_again(bench: Bench) -> None:
    """What the service refuses is the row's error, is not kept, and is answered if the service takes it later."""
    uri = topics(bench, 30)
    fault = {"operation": "InvokeModel", "code": "ModelErrorException", "status": 424, "count": 1}
    bench.aws.put_settings({"api_faults": [fault]})
    run(bench, "jokes", s3_uri=uri, sample="first", rows=1)
    assert report(bench, "jokes").statuses() == {"error": 1}
    run(bench, "jokes", s3_uri=uri, sample="first", rows=1)
    assert report(bench, "jokes").statuses() == {"ok": 1}
    assert bench.aws.ledger_summary()["records"] == 1


def test_the_estimate_holds_for_the_batch_and_its_range_covers_it(bench: Bench) -> None:
    """The whole batch costs what the pilot said, within its range, and less than the bound of max_tokens."""
    uri = topics(bench, 300)
    run(bench, "jokes", s3_uri=uri, rows=40)
    found = report(bench, "jokes")
    assert found.estimate_usd is not None
    assert found.at_most_usd is not None
    usd, low, high = found.estimate_usd
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    total = bench.storage.table_manifest("jokes").total
    # The estimate is of all records, the pilot's among them, which the batch does not pay for again.
    paid = (total.input_tokens * 1 + total.output_tokens * 10) / 1e6
    assert low <= paid <= high
    assert low < usd < high < found.at_most_usd
    assert usd == pytest.approx(paid, rel=0.2)


def test_what_a_pilot_cost_is_by_the_tokens_and_the_tier(bench: Bench) -> None:
    """Claude has no flex tier and is billed on demand; Nova has one, at the price of a batch."""
    uri = topics(bench, 30)
    for model, (input_price, output_price) in ((HAIKU, (2, 20)), (NOVA, (1, 10))):
        run(bench, "jokes", s3_uri=uri, model_id=model)
        entries = [entry for entry in bench.aws.ledger() if entry["modelId"] == model]
        expected = sum(entry["inputTokens"] * input_price + entry["outputTokens"] * output_price for entry in entries)
        assert report(bench, "jokes").cost_usd == pytest.approx(expected / 1e6)


def refusal(result: dg.ExecuteInProcessResult, node: str) -> str:
    failure = result.failure_data_for_node(node)
    assert failure is not None
    assert failure.user_failure_data is not None
    return str(failure.user_failure_data.description)


def test_a_batch_pays_for_no_record_of_its_pilot(bench: Bench) -> None:
    """What the pilot was answered is reused, by this batch and by others; a record that it was refused is asked for."""
    uri = topics(bench, 300)
    run(bench, "jokes", s3_uri=uri, rows=30)
    paid = len(bench.aws.ledger())
    bench.run("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    assert (paid, len(bench.aws.ledger())) == (30, 300)
    table = bench.read_table("jokes")
    assert Counter(row["answered_by"] for row in table) == {"job": 270, "reused": 30}
    assert all(str(row["topic"]) in str(row["response"]) for row in table)


def test_a_limit_is_compared_with_what_the_pilot_measured(bench: Bench) -> None:
    """Refused by the bound of max_tokens, and taken after a pilot of the same recipe; the page says which was used."""
    uri = topics(bench, 300)
    request: dict[str, Any] = {"s3_uri": uri, "model_id": HAIKU, "prompt_id": "joke_about_topic"}
    message = refusal(bench.input("jokes", max_cost_usd=1.0, **request), "input_dataset")
    assert "if every answer is as long as max_tokens" in message
    assert "run a pilot" in message
    run(bench, "tried", s3_uri=uri, rows=30)
    assert bench.input("jokes", max_cost_usd=1.0, **request).success
    record = bench.instance.fetch_materializations(dg.AssetKey("input_dataset"), limit=1).records[0]
    assert record.asset_materialization is not None
    used = record.asset_materialization.metadata["max_cost_usd_is_compared_with"].value
    assert "30 answers of the pilot of batch tried" in str(used)
    message = refusal(bench.input("jokes", max_cost_usd=0.01, **request), "input_dataset")
    assert "by 30 answers of the pilot of batch tried" in message


@pytest.mark.parametrize(
    "change", [{"rows": 9}, {"inference_parameters": {"max_tokens": 900}}, {"prompt_id": "sentiment"}]
)
def test_a_pilot_of_something_else_or_of_few_rows_is_no_bound(bench: Bench, change: dict[str, Any]) -> None:
    """Other parameters, another prompt, or fewer than ten answers: the limit is compared with max_tokens as before."""
    rows = [[f"topic {index}", f"text {index}"] for index in range(300)]
    uri = bench.put_csv("inputs/t.csv", ["topic", "text"], rows)
    run(bench, "tried", s3_uri=uri, **change)
    result = bench.input("jokes", max_cost_usd=1.0, s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    assert "if every answer is as long as max_tokens" in refusal(result, "input_dataset")


def test_a_small_pilot_does_not_replace_a_large_one(bench: Bench) -> None:
    """What 30 answers measured is not forgotten for what 10 say."""
    uri = topics(bench, 300)
    run(bench, "large", s3_uri=uri, rows=30)
    run(bench, "small", s3_uri=uri, rows=10)
    bench.input("jokes", s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic")
    record = bench.instance.fetch_materializations(dg.AssetKey("input_dataset"), limit=1).records[0]
    assert record.asset_materialization is not None
    assert "batch large" in str(record.asset_materialization.metadata["measured_by"].value)


def test_a_pilot_of_embeddings_shows_vectors_and_lengths(bench: Bench) -> None:
    """Each row says how long its vector is; texts that the model refuses as too long are errors of their rows."""
    rows = [[f"text {index}"] for index in range(9)] + [["long " * 20_000]]
    uri = bench.put_csv("inputs/e.csv", ["input_text"], rows)
    assert run(bench, "vectors", s3_uri=uri, model_id=TITAN, prompt_id=None).success
    found = report(bench, "vectors")
    assert found.statuses() == {"ok": 9, "error": 1}
    assert str(found.rows[0].answer).startswith("1,024 numbers")
    assert "50000" in str(found.rows[-1].record_error)
    assert found.lengths == (6, 6, 100_000)


def test_what_a_batch_is_refused_for_a_pilot_is_too(bench: Bench) -> None:
    """A prompt without its column, and a number of rows out of range, are one sentence, before anything is sent."""
    uri = bench.put_csv("inputs/t.csv", ["title"], [["a"]])
    assert "topic" in refusal(run(bench, "jokes", s3_uri=uri), "pilot")
    assert "rows is 501" in refusal(run(bench, "jokes", s3_uri=topics(bench, 3), rows=501), "pilot")
    assert bench.aws.ledger_summary()["records"] == 0


def test_truncated_answers_and_skipped_rows(bench: Bench) -> None:
    """An answer at the token limit says so, and a row that a batch does not send is never chosen."""
    rows = [["", "x"], *([f"topic {index}", "x"] for index in range(5)), ["", "x"]]
    uri = bench.put_csv("inputs/t.csv", ["topic", "other"], rows)
    run(bench, "jokes", s3_uri=uri, inference_parameters={"max_tokens": 3})
    found = report(bench, "jokes")
    assert [row.row for row in found.rows] == [2, 3, 4, 5, 6]
    assert found.statuses() == {"truncated": 5}
    assert (found.row_count, found.records) == (7, 5)
