"""A newcomer's way through the UI: a wrong prompt, a pilot, a batch, its result, as a person reads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bedrock_batch_assets_tests.browser.person import Person, find_chromium, person_at
from bedrock_batch_assets_tests.browser.platform import platform_with_table, request

pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
    pytest.mark.timeout(900),
]
ROWS = 400


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    folder = tmp_path_factory.mktemp("browser")
    with (
        platform_with_table(Path(folder), rows=ROWS, job_seconds=12.0, faults=0.02) as platform,
        person_at(platform.webserver_url) as found,
    ):
        yield found


def test_a_newcomer_gets_from_a_wrong_prompt_to_a_result(person: Person) -> None:
    """A wrong prompt is red and cannot be launched; the pilot shows answers and a price; the result, where it is."""
    person.open_launchpad("pilot", "first", is_new=True)
    person.fill_in(request("pilot", "joke_abuot_topic"))
    assert "prompt_id" in person.errors()
    assert "joke_abuot_topic" in person.errors()
    assert person.page.get_by_role("dialog").get_by_role("button", name="Materialize").last.is_disabled()

    person.fill_in(request("pilot"))
    person.materialize()
    text = person.read("/assets/pilot?view=partitions&partition=first", "what_it_says")
    assert f"20 of {ROWS} records" in text
    assert "Tell me a joke about" in text
    assert "the whole batch" in text
    assert "USD, probably" in text

    person.open_launchpad("input_dataset", "first", is_new=False)
    person.fill_in(request("input_dataset"))
    person.materialize()
    text = person.read("/assets/input_dataset?view=partitions&partition=first", "jobs in flight")
    assert f"of {ROWS}" in text
    assert "its backfill" in text

    text = person.read("/assets/result_table?view=partitions&partition=first", "read_result(")
    assert f"{ROWS} rows in s3://bedrock-batch-local/batch_output_parquet/first/" in text
    assert 'read_result("first")' in text
    assert "its backfill" in text
    assert "errors_by_reason" in text
    assert "USD" in text
    assert "rows_accounted_for" in person.read("/assets/result_table?view=checks", "rows_accounted_for")


def test_a_refused_request_is_one_line(person: Person) -> None:
    """The run of a table that is not there shows the sentence, and no stack trace."""
    person.open_launchpad("input_dataset", "refused", is_new=True)
    person.fill_in(request("input_dataset").replace("topics.csv", "nothing.csv"))
    run = person.materialize()
    text = person.read(f"/runs/{run}", "RUN_FAILURE")
    assert "inputs/nothing.csv does not exist" in text
    assert "Stack Trace" not in text
