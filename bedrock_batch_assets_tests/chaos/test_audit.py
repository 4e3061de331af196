"""The account finds what is wrong: each kind of damage is made, and has to be reported."""

import io
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from bedrock_batch_assets_tests.chaos.audit import HEADER, audit, source_rows, unasked_work
from bedrock_batch_assets_tests.chaos.report import Account
from bedrock_batch_assets_tests.chaos.schedules import HAIKU
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

BATCH = "audited"
ROWS = source_rows(7, 100, frozenset())


class Books:
    """A batch of one job, as the service and the table show it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.role = aws.create_role()
        self.bucket = aws.create_bucket()
        self.arn = self.job("first", range(100))
        outputs = aws.read_outputs(f"s3://{self.bucket}/batch_outputs_json/{BATCH}/")
        (data,) = [data for key, data in outputs.items() if key.endswith(".jsonl.out")]
        lines = [json.loads(line) for line in data.splitlines()]
        answers = {line["recordId"]: line["modelOutput"]["content"][0]["text"] for line in lines}
        self.table: list[dict[str, Any]] = [
            {
                **dict(zip(HEADER, row, strict=True)),
                "record_status": "ok",
                "record_error": None,
                "response": answers[f"r{number:010d}"],
            }
            for number, row in enumerate(ROWS)
        ]

    def job(self, digest: str, rows: range) -> str:
        """Run a job over some rows and return its ARN."""
        records = [{"recordId": f"r{row:010d}", "modelInput": self.body(row)} for row in rows]
        folder = f"s3://{self.bucket}/batch_inputs_json/{BATCH}/{BATCH}-00000/{digest}/"
        self.aws.put_records(self.bucket, f"{folder.partition('data/')[2]}chunk.jsonl", records)
        arn = self.aws.submit(
            folder,
            self.role,
            HAIKU,
            jobName=f"{BATCH}-00000-{digest}",
            outputDataConfig={
                "s3OutputDataConfig": {"s3Uri": f"s3://{self.bucket}/batch_outputs_json/{BATCH}/{BATCH}-00000/"}
            },
        )
        self.aws.wait_for_job(arn)
        return arn

    def body(self, row: int) -> dict[str, Any]:
        """The model input of a row."""
        message = {"role": "user", "content": ROWS[row][1]}
        return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [message]}

    def on_demand(self, row: int) -> None:
        """Answer a row on demand."""
        self.aws.client("bedrock-runtime").invoke_model(modelId=HAIKU, body=json.dumps(self.body(row)))

    def account(self) -> Account:
        """The account of the table as it is now."""
        file = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pylist(self.table), file)
        key = f"batch_output_parquet/{BATCH}/part-00000.parquet"
        self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=file.getvalue())
        return audit(self.aws, self.bucket, BATCH, ROWS)


@pytest.fixture
def books(local_aws: LocalAws) -> Books:
    return Books(local_aws)


def test_nothing_is_wrong(books: Books) -> None:
    """A table that its job answered has nothing wrong with it."""
    assert books.account() == Account()


def test_rows(books: Books) -> None:
    """A row that is not there is lost, one that is there twice is doubled, and two that changed places are told."""
    books.table.append(books.table[5])
    lost = books.table.pop(3)
    account = books.account()
    assert (account.rows_lost, account.rows_doubled) == ([lost["id"]], ["0005"])
    books.table.pop()
    books.table.insert(4, lost)
    assert "order or columns" in books.account().wrong[0]


def test_bills(books: Books) -> None:
    """A record is billed twice if a second job, or an on-demand call, was paid for what a job had answered."""
    books.job("second", range(100))
    assert len(books.account().billed_twice) == 100
    books.on_demand(8)
    assert len(books.account().billed_twice) == 101


def test_on_demand_twice(local_aws: LocalAws, books: Books) -> None:
    """A record that was paid for twice on demand is billed twice."""
    books.on_demand(8)
    books.on_demand(8)
    assert len([text for text in books.account().billed_twice if "2 times on demand" in text]) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"record_status": "missing", "response": None}, "a job has answered it"),
        ({"record_status": "skipped", "response": None}, "a job has answered it"),
        ({"response": "invented"}, "none that a job gave"),
        ({"topic": "another"}, "columns"),
    ],
)
def test_statuses(books: Books, change: dict[str, Any], problem: str) -> None:
    """A status or an answer that the service's books contradict is told."""
    books.table[10] |= change
    (wrong,) = books.account().wrong
    assert problem in wrong


def test_nobody_was_paid(books: Books) -> None:
    """An answer without a bill is told."""
    books.aws.reset()
    books.aws.create_bucket(books.bucket)
    assert "nobody was paid" in books.account().wrong[0]


AGAIN = {"dagster/run_key": "again:dead", "bedrock/asked_again": "1"}
TABLE = {"dagster/run_key": "table", "bedrock/table_of": "1@0.000:7"}


class Asked:
    """Runs and backfills of one batch."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.own: set[str] = set()

    def backfill(self, name: str, status: str, event: str = "1@0.000", ended_at: float | None = None) -> None:
        """A backfill as the sensor asks for it."""
        backfill: Any = PartitionBackfill(
            backfill_id=name,
            status=BulkActionStatus(status),
            from_failure=False,
            tags={"bedrock/batch": BATCH, "bedrock/input_event": event},
            backfill_timestamp=0.0,
            asset_selection=[],
            backfill_end_timestamp=ended_at,
        )
        self.instance.add_backfill(backfill)

    def run(self, status: str, tags: dict[str, str], run_id: str | None = None) -> None:
        """A run with these tags."""
        run = dg.DagsterRun(job_name="__ASSET_JOB", run_id=run_id, status=dg.DagsterRunStatus(status), tags=tags)
        self.instance.run_storage.add_run(run)

    def unasked(self) -> list[str]:
        """What the account says."""
        return unasked_work(self.instance.get_run_records(), self.instance.get_backfills(), self.own)


@pytest.fixture
def asked() -> Iterator[Asked]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Asked(instance)


def test_a_second_backfill_for_one_input_is_unasked(asked: Asked) -> None:
    """One may follow one that Dagster gave up, or that a person started; another input asks for one of its own."""
    asked.backfill("first", "FAILED")
    asked.backfill("second", "CANCELED")
    asked.backfill("other input", "COMPLETED_SUCCESS", event="9@0.000")
    asked.backfill("person", "COMPLETED_SUCCESS")
    asked.own.add("person")
    assert asked.unasked() == []
    asked.backfill("third", "COMPLETED_SUCCESS")
    assert asked.unasked() == ["3 backfills for the input's event 1@0.000"]


def test_a_run_in_a_dead_ones_place_is_asked_for_once(asked: Asked) -> None:
    """Dagster's own retry of it does not count; under another location name the same key makes a second run."""
    asked.run("FAILURE", {}, "dead")
    asked.run("FAILURE", AGAIN)
    asked.run("SUCCESS", {**AGAIN, "dagster/retry_number": "1"})
    assert asked.unasked() == []
    asked.run("SUCCESS", AGAIN)
    assert asked.unasked() == ["2 runs for the key again:dead"]


@pytest.mark.parametrize(
    ("tags", "status", "found"),
    [
        ({"dagster/failure_reason": "STEP_FAILURE"}, "COMPLETED_FAILED", "step failed"),
        ({}, "CANCELED", "backfill was cancelled"),
        ({}, "COMPLETED_FAILED", ""),
    ],
)
def test_not_every_dead_run_is_to_be_asked_for(asked: Asked, tags: dict[str, str], status: str, found: str) -> None:
    """A step that failed, and a backfill that was cancelled before, ask for nothing."""
    asked.backfill("one", status, ended_at=1.0)
    asked.run("FAILURE", {**tags, "dagster/backfill": "one"}, "dead")
    asked.run("SUCCESS", AGAIN)
    assert [found in text for text in asked.unasked()] == ([True] if found else [])


def test_a_second_table_of_the_same_parts_is_unasked(asked: Asked) -> None:
    """One may follow one that failed, and none one that a person terminated."""
    asked.run("FAILURE", TABLE)
    asked.run("CANCELED", {**TABLE, "dagster/run_key": "table:again"})
    assert asked.unasked() == []
    asked.run("SUCCESS", {**TABLE, "dagster/run_key": "table:and again"})
    assert asked.unasked() == ["3 tables of 1@0.000:7, of which 1 failed"]
