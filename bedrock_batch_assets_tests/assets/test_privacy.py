"""With `preview: false` nothing of rows, prompts and answers gets into Dagster's database."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from bedrock_batch_assets.assets.pilot import pilot
from bedrock_batch_assets.prompt_templates import prompt_id_to_template
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, TITAN, Bench

# In a column that the prompt has, in one that it has not, in the prompt, and what answers of the stand-in begin with.
SECRETS = ("zebraquartz", "violinharbour", "lanternmeadow")


@pytest.fixture
def bench(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setitem(prompt_id_to_template, "secret", "lanternmeadow: what is {topic}?")
    # Some rows fail, since pages show examples of those.
    local_aws.put_settings({"record_faults": {"error": 0.1, "truncate": 0.1, "permanent": True}})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def everything(bench: Bench) -> str:
    """All that is in Dagster's database: events, logs, config and tags of runs."""
    texts = []
    for run in bench.instance.get_runs():
        texts.append(serialize_value(run))
        texts += [serialize_value(entry) for entry in bench.instance.all_logs(run.run_id)]
    return "\n".join(texts)


def work(bench: Bench, model: str, **request: object) -> None:
    """A batch with failures, its table, and a pilot."""
    rows = [[f"zebraquartz {number}", f"zebraquartz {number}", "violinharbour"] for number in range(120)]
    # A row that is skipped.
    rows.append(["", "", "violinharbour"])
    uri = bench.put_csv("t.csv", ["topic", "input_text", "other"], rows)
    given = {"s3_uri": uri, "model_id": model, "prompt_id": "secret" if model == HAIKU else None, **request}
    given = {name: value for name, value in given.items() if value is not None}
    bench.run("demo", **given)
    bench.materialize([pilot], "demo", {"ops": {"pilot": {"config": {**given, "rows": 5}}}})


@pytest.mark.parametrize("model", [HAIKU, TITAN])
def test_preview_false_keeps_values_out_of_the_database(bench: Bench, model: str) -> None:
    """Of no row, prompt or answer there is a trace in events, logs and runs; the table itself is whole."""
    work(bench, model, preview=False)
    text = everything(bench)
    assert [secret for secret in SECRETS if secret in text] == []
    assert len(bench.read_table("demo")) == 121
    answer = bench.read_table("demo")[0].get("response")
    assert answer is None or str(answer)[:40] not in text


def test_the_environment_does_so_for_all_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """BEDROCK_BATCH_PREVIEW=false counts, whatever a request says."""
    monkeypatch.setenv("BEDROCK_BATCH_PREVIEW", "false")
    work(bench, HAIKU, preview=True)
    text = everything(bench)
    assert [secret for secret in SECRETS if secret in text] == []


def test_by_default_people_see_what_they_asked(bench: Bench) -> None:
    """Otherwise rows, prompt and answers are shown: these tests find them if they are there."""
    work(bench, HAIKU)
    text = everything(bench)
    assert all(secret in text for secret in SECRETS)


def test_a_setting_that_is_neither_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable must not show what somebody wanted to hide."""
    monkeypatch.setenv("BEDROCK_BATCH_PREVIEW", "no")
    work(bench, HAIKU)
    assert "BEDROCK_BATCH_PREVIEW is 'no': it must be true or false" in everything(bench)
    assert bench.storage.find_batch_manifest("demo") is None
