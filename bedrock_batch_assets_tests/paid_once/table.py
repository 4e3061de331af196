"""A table of many rows, asked for again and again while it changes: the records paid for each time."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.dataset
import pyarrow.fs

from bedrock_batch_assets_tests.dagster_in_process import InProcessDagster
from bedrock_batch_assets_tests.resources_on_local_aws import BUCKET

_PER_JOB = 1_000


@dataclass(frozen=True)
class Step:
    """One input: what has become of the table, the batch that asks, and how many records it has to pay for."""

    what: str
    batch: str
    topics: Sequence[str]
    expected: int


@dataclass(frozen=True)
class Paid:
    """What a step paid for, and whether each row of its result has the answer to its own text."""

    step: Step
    records: int
    rows_are_right: bool


def steps(rows: int) -> list[Step]:
    """The table of docs/cost.md. Each step is compared with what all earlier ones have paid for."""
    topics = [f"the {number}th topic" for number in range(rows)]
    changed = [f"{topic}, changed" if number == rows // 3 else topic for number, topic in enumerate(topics)]
    spread = [f"{topic}, anew" if number % (rows // 10) == 7 else topic for number, topic in enumerate(topics)]
    shuffled = random.Random(16).sample(topics, rows)
    half = rows // 2
    repeated = [f"the {number % (rows * 6 // 10)}th thing" for number in range(rows)]
    return [
        Step("new", "demo", topics, rows),
        Step("unchanged", "demo", topics, 0),
        Step("one row appended", "demo", [*topics, "one more"], 1),
        Step("one row changed", "demo", changed, 1),
        Step("one row inserted at the top", "demo", ["quite another", *topics], 1),
        Step("ten rows changed, here and there", "demo", spread, 10),
        Step("one row removed", "demo", topics[:half] + topics[half + 1 :], 0),
        Step("another order", "demo", shuffled, 0),
        Step("another batch", "other", topics, 0),
        Step("new, 40 % of its rows repeat others", "repeated", repeated, rows * 6 // 10),
    ]


def run(platform: InProcessDagster, rows: int) -> Iterator[Paid]:
    """Ask for the table at each of its steps: input, sensors, backfill, queue, runs, result table."""
    for step in steps(rows):
        before = len(platform.aws.ledger())
        uri = platform.put_csv(f"{step.batch}.csv", [f'"{topic}"' for topic in step.topics])
        platform.read_input(step.batch, 1, s3_uri=uri, max_records_per_job=_PER_JOB)
        platform.settle()
        yield Paid(step, len(platform.aws.ledger()) - before, _is_right(platform, step))


def _is_right(platform: InProcessDagster, step: Step) -> bool:
    """Every row came out once, in order, with an answer that is about its text."""
    aws = platform.aws
    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=aws.endpoint_url, access_key="local", secret_key="local", region=aws.region
    )
    folder = platform.storage.layout.results_folder(step.batch)
    table = pyarrow.dataset.dataset(f"{BUCKET}/{folder}", filesystem=s3, ignore_prefixes=[]).to_table()
    return table.column("topic").to_pylist() == list(step.topics) and all(
        topic in response.lower()
        for topic, response in zip(step.topics, table.column("response").to_pylist(), strict=True)
    )
