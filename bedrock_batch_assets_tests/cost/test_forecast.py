"""Cost before and after: what is estimated, what is refused, what is told, through the assets themselves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.processors.converse import ConverseProcessor
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

NOVA = "amazon.nova-lite-v1:0"


@pytest.fixture
def bench(local_aws: LocalAws, tmp_path: Path) -> Iterator[Bench]:
    """A bench whose prices are whole dollars a million tokens: input 1 and output 10 in a batch, double on demand."""
    path = tmp_path / "prices.json"
    price = {"batch": {"input": 1, "output": 10}, "on_demand": {"input": 2, "output": 20}}
    models = {HAIKU: price, TITAN: {"batch": {"input": 4}}, NOVA: {"batch": {"input": 1, "output": 10}}}
    path.write_text(json.dumps({"as_of": "2026-11-01", "source": "made up", "models": models}))
    with dg.DagsterInstance.ephemeral() as instance:
        found = Bench.create(local_aws, instance)
        found.prices = Prices(path=str(path))
        yield found


def metadata(bench: Bench, asset: str, partition: str) -> dict[str, Any]:
    """The values of the latest materialization's metadata."""
    record = bench.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records[0]
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def topics(bench: Bench, count: int) -> str:
    return bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(count)])


def refusal(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    failure = result.failure_data_for_node("input_dataset")
    assert failure is not None
    assert failure.user_failure_data is not None
    return str(failure.user_failure_data.description)


def test_the_estimate_is_there_before_anything_is_asked_for(bench: Bench) -> None:
    """Input tokens at the batch's price, and every answer at max_tokens as the bound, labelled as one."""
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "inference_parameters": {"max_tokens": 300}}
    assert bench.input("jokes", s3_uri=topics(bench, 200), **request).success
    found = metadata(bench, "input_dataset", "jokes")
    input_usd = found["estimated_input_tokens"] / 1e6
    assert found["max_output_tokens"] == 200 * 300
    assert found["estimated_input_cost_usd"] == pytest.approx(input_usd, abs=1e-6)
    assert found["estimated_cost_at_most_usd"] == pytest.approx(input_usd + 200 * 300 * 10 / 1e6, abs=1e-6)
    assert "2026-11-01" in found["prices"]


def test_a_batch_that_may_cost_too_much_is_refused_before_anything_is_stored(bench: Bench) -> None:
    """Over the limit: an error with the numbers, no chunk, no object, no job. At the limit it goes."""
    request = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "inference_parameters": {"max_tokens": 300}}
    uri = topics(bench, 200)
    message = refusal(bench.input("jokes", s3_uri=uri, max_cost_usd=0.5, **request))
    assert "max_cost_usd is 0.50" in message
    assert "may cost up to 0.6" in message
    assert bench.chunks("jokes") == []
    assert list(bench.storage.objects.list("batch_inputs")) == []
    assert bench.input("jokes", s3_uri=uri, max_cost_usd=1, **request).success
    assert bench.chunks("jokes") == ["jokes-00000"]


def test_a_batch_too_small_for_a_job_is_estimated_at_the_on_demand_price(bench: Bench) -> None:
    """Forty records go on demand, which costs the double; without such a price the limit cannot be checked."""
    uri = topics(bench, 40)
    request = {"prompt_id": "joke_about_topic", "inference_parameters": {"max_tokens": 300}}
    assert bench.input("small", s3_uri=uri, model_id=HAIKU, **request).success
    found = metadata(bench, "input_dataset", "small")
    assert found["estimated_cost_at_most_usd"] == pytest.approx(
        found["estimated_input_tokens"] * 2 / 1e6 + 40 * 300 * 20 / 1e6, abs=1e-6
    )
    assert "on_demand" in refusal(bench.input("small", s3_uri=uri, model_id=NOVA, max_cost_usd=9.0, **request))


def test_a_limit_that_nobody_can_check_is_refused(bench: Bench) -> None:
    """No table, no price for the model, or answers without a bound: each is a clear error and not a batch."""
    request: dict[str, Any] = {"s3_uri": topics(bench, 200), "prompt_id": "joke_about_topic", "max_cost_usd": 100.0}
    bench.processors = Processors(converse=ConverseProcessor(max_tokens=None))
    assert "max_tokens" in refusal(bench.input("jokes", **request, model_id=NOVA))
    assert "amazon.nova-pro-v1:0" in refusal(bench.input("jokes", **request, model_id="amazon.nova-pro-v1:0"))
    bench.prices = Prices()
    assert "BEDROCK_BATCH_PRICES" in refusal(bench.input("jokes", **request, model_id=HAIKU))
    # Without a price the input is not even looked for.
    request["s3_uri"] = "s3://data/missing.csv"
    assert "BEDROCK_BATCH_PRICES" in refusal(bench.input("jokes", **request, model_id=HAIKU))


def test_the_table_tells_what_batch_and_on_demand_tokens_cost(bench: Bench) -> None:
    """Of 150 records 100 are a job and 50 go on demand: each at its own price, and the cost is the sum."""
    bench.run("jokes", s3_uri=topics(bench, 150), model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100)
    found = metadata(bench, "result_table", "jokes")
    cost = 0.0
    for kind, price in (("batch", (1, 10)), ("on_demand", (2, 20))):
        used = (found[f"{kind}_input_tokens"], found[f"{kind}_output_tokens"])
        assert min(used) > 0
        assert found[f"{kind}_cost_usd"] == pytest.approx((used[0] * price[0] + used[1] * price[1]) / 1e6, abs=1e-6)
        cost += found[f"{kind}_cost_usd"]
    assert found["cost_usd"] == pytest.approx(cost, abs=2e-6)
    for name in ("input_tokens", "output_tokens"):
        assert found[f"batch_{name}"] + found[f"on_demand_{name}"] == found[name]


def test_answers_that_were_replaced_were_paid_for_too(bench: Bench) -> None:
    """The cost is of the tokens that the service's ledger has billed, repair waves and lost lines included."""
    bench.aws.put_settings({"record_faults": {"error": 0.3, "corrupt": 0.2, "error_code": 500}, "seed": 3})
    bench.run("flaky", s3_uri=topics(bench, 300), model_id=HAIKU, prompt_id="joke_about_topic")
    found = metadata(bench, "result_table", "flaky")
    billed = bench.aws.ledger_summary()
    assert found["batch_input_tokens"] + found["on_demand_input_tokens"] == billed["inputTokens"]
    assert found["batch_output_tokens"] + found["on_demand_output_tokens"] == billed["outputTokens"]
    assert found["batch_output_tokens"] > found["output_tokens"] - found["on_demand_output_tokens"]


def test_an_embedding_batch_costs_its_input_alone(bench: Bench) -> None:
    """There are no output tokens to bound, so the estimate is the whole cost."""
    uri = bench.put_csv("e.csv", ["input_text"], [[f"word {index}"] for index in range(110)])
    assert bench.input("vectors", s3_uri=uri, model_id=TITAN, max_cost_usd=5.0).success
    found = metadata(bench, "input_dataset", "vectors")
    assert found["max_output_tokens"] == 0
    assert found["estimated_cost_at_most_usd"] == found["estimated_input_cost_usd"]


def test_prices_that_are_not_known_lose_no_table(bench: Bench, tmp_path: Path) -> None:
    """A table is built whatever is known of its cost; the metadata says why it is not."""
    bench.run("jokes", s3_uri=topics(bench, 120), model_id=HAIKU, prompt_id="joke_about_topic")
    for path, why in (("", "BEDROCK_BATCH_PRICES"), (str(tmp_path / "gone.json"), "gone.json")):
        bench.prices = Prices(path=path)
        assert bench.table("jokes").success
        assert why in metadata(bench, "result_table", "jokes")["cost"]
