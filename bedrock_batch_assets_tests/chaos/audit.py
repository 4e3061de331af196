"""The account of a batch, from the service's own books and the table: what was paid for, and what came of it.

Nothing is taken from the product's manifests. What was sent is read from the jobs' input files, what was billed from
the stand-in's ledger, what was answered from the files that the service wrote, and what people get from the table.
"""

import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import RUN_KEY_TAG

from bedrock_batch_assets.internals.dagster_internals import (
    BACKFILL_ID_TAG,
    RETRY_NUMBER_TAG,
    RUN_FAILURE_REASON_TAG,
    STEP_FAILURE,
)
from bedrock_batch_assets.local_aws.ledger import canonical
from bedrock_batch_assets.tags import INPUT_EVENT_TAG, TABLE_OF_TAG
from bedrock_batch_assets_tests.chaos.report import Account
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

TEXT_COLUMN = "topic"
ID_COLUMN = "id"
HEADER = (ID_COLUMN, TEXT_COLUMN)
MAY_HAVE_BEEN_PAID = "may have been paid"


@dataclass
class _Books:
    """What the service knows of a batch: sent records, bills by record, answers by job."""

    digests: dict[str, str]
    texts: dict[str, str]
    jobs: list[dict[str, Any]]
    bills: dict[str, list[str]]
    on_demand: Counter[str]
    # Job ARN to record id to text.
    answers: dict[str, dict[str, str]]


def source_rows(seed: int, count: int, empty: frozenset[int]) -> list[tuple[str, str]]:
    """Rows of an input table: id and text, all of them different but for the empty ones."""
    return [(f"{row:04d}", "" if row in empty else f"topic {seed}/{row}.") for row in range(count)]


def csv_of(rows: Sequence[tuple[str, str]]) -> bytes:
    """The rows as a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([HEADER, *rows])
    return text.getvalue().encode()


def audit(
    aws: LocalAws, bucket: str, batch: str, source: Sequence[tuple[str, str]], *, has_table: bool = True
) -> Account:
    """Compare the books with the table, if the batch has come as far as that."""
    books = _read_books(aws, bucket, batch)
    account = Account()
    _check_bills(books, account)
    if has_table:
        _check_rows(books, list(_table(aws, bucket, batch)), source, account)
    return account


def _read_books(aws: LocalAws, bucket: str, batch: str) -> _Books:
    digests: dict[str, str] = {}
    texts: dict[str, str] = {}
    for key, data in sorted(aws.read_outputs(f"s3://{bucket}/batch_inputs_json/{batch}/").items()):
        if not key.endswith(".jsonl"):
            continue
        for line in data.splitlines():
            record = json.loads(line)
            digests[record["recordId"]] = hashlib.sha256(canonical(record["modelInput"])).hexdigest()
            texts[record["recordId"]] = json.dumps(record["modelInput"])
    jobs = [job for job in aws.jobs() if job["name"].startswith(f"{batch}-")]
    outputs = aws.read_outputs(f"s3://{bucket}/batch_outputs_json/{batch}/")
    by_digest = {digest: record for record, digest in digests.items()}
    bills: dict[str, list[str]] = {}
    on_demand: Counter[str] = Counter()
    arns = {job["arn"] for job in jobs}
    for entry in aws.ledger():
        if entry["jobArn"] in arns:
            bills.setdefault(entry["recordId"], []).append(entry["jobArn"])
        elif entry["mode"] == "on-demand" and entry["digest"] in by_digest:
            on_demand[by_digest[entry["digest"]]] += 1
    answers = {job["arn"]: _answers(job, outputs) for job in jobs if job["endTime"] is not None}
    return _Books(digests, texts, jobs, bills, on_demand, answers)


def _answers(job: dict[str, Any], outputs: dict[str, bytes]) -> dict[str, str]:
    """The readable answers of a job by record id."""
    found: dict[str, str] = {}
    folder = job["arn"].rpartition("/")[2]
    for key, data in outputs.items():
        if f"/{folder}/" not in f"/{key}" or not key.endswith(".jsonl.out"):
            continue
        for line in data.splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if content.get("modelOutput") is not None:
                found[content["recordId"]] = _text(content["modelOutput"])
    return found


def _text(output: dict[str, Any]) -> str:
    blocks = output["content"] if "content" in output else output["output"]["message"]["content"]
    return "".join(block.get("text", "") for block in blocks)


def _check_bills(books: _Books, account: Account) -> None:
    names = Counter(job["name"] for job in books.jobs)
    account.wrong += [f"{count} jobs are named {name}" for name, count in names.items() if count > 1]
    order = {job["arn"]: number for number, job in enumerate(books.jobs)}
    by_arn = {job["arn"]: job for job in books.jobs}
    for record in {*books.bills, *books.on_demand}:
        arns = sorted(books.bills.get(record, []), key=lambda arn: order[arn])
        account.billed_twice += [f"{record}: twice in one job" for _ in range(len(arns) - len(set(arns)))]
        for earlier, later in itertools.pairwise(arns):
            if record in books.answers.get(earlier, {}):
                account.billed_twice.append(f"{record}: again, after {by_arn[earlier]['name']} had answered it")
            elif (by_arn[earlier]["endTime"] or float("inf")) > by_arn[later]["submitTime"]:
                account.billed_twice.append(f"{record}: again, while {by_arn[earlier]['name']} was on its way")
        times = books.on_demand[record]
        if times > 1:
            account.billed_twice.append(f"{record}: {times} times on demand")
        if times and any(record in books.answers.get(arn, {}) for arn in arns):
            account.billed_twice.append(f"{record}: on demand, and answered by a job")


def _table(aws: LocalAws, bucket: str, batch: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    parts = aws.read_outputs(f"s3://{bucket}/batch_output_parquet/{batch}/")
    for key in sorted(parts):
        # As readers of a folder do: all that is in it is data.
        yield from pyarrow.parquet.read_table(io.BytesIO(parts[key])).to_pylist()


def _check_rows(
    books: _Books, table: list[dict[str, Any]], source: Sequence[tuple[str, str]], account: Account
) -> None:
    wanted = Counter(identifier for identifier, _ in source)
    found = Counter(row[ID_COLUMN] for row in table)
    account.rows_lost += sorted((wanted - found).elements())
    account.rows_doubled += sorted((found - wanted).elements())
    if account.rows_lost or account.rows_doubled:
        return
    for number, (row, (identifier, text)) in enumerate(zip(table, source, strict=True)):
        if (row[ID_COLUMN], row[TEXT_COLUMN] or "") != (identifier, text):
            account.wrong.append(f"row {number} is {row[ID_COLUMN]!r}: order or columns changed")
            continue
        problem = _status_problem(books, row, f"r{number:010d}", text, account)
        if problem:
            account.wrong.append(f"row {number} is {row['record_status']} ({row['record_error']}): {problem}")


def _status_problem(books: _Books, row: dict[str, Any], record: str, text: str, account: Account) -> str | None:
    status = row["record_status"]
    answers = [given[record] for given in books.answers.values() if record in given]
    paid_on_demand = books.on_demand[record]
    if not text:
        sent = record in books.texts or answers
        return None if status == "skipped" and not sent else "it has no text, and is to be skipped"
    if record in books.texts and text not in books.texts[record]:
        return "another text was sent for it"
    if status in {"ok", "truncated"}:
        if not books.bills.get(record) and not paid_on_demand:
            return "nobody was paid for it"
        if not paid_on_demand and row["response"] not in answers:
            return "its response is none that a job gave for it"
        return None
    if answers:
        return "a job has answered it"
    if MAY_HAVE_BEEN_PAID in (row["record_error"] or ""):
        account.unknown.append(record)
        return None
    return "it was answered on demand" if paid_on_demand else None


def unasked_work(records: Sequence[dg.RunRecord], backfills: Sequence[PartitionBackfill], own: set[str]) -> list[str]:
    """What the sensors started of one batch although nobody asked for it.

    A materialization of the input asks for one backfill; another one may follow where Dagster gave the last one up. A
    run that died asks for one run in its place, unless its backfill was cancelled before that. The newest parts ask for
    one run of the table; another one may follow one that failed.

    Args:
        records: All runs of the batch.
        backfills: All backfills of the batch.
        own: Ids of the backfills that a person started.
    """
    found: list[str] = []
    by_event: dict[str, list[PartitionBackfill]] = {}
    for backfill in backfills:
        if INPUT_EVENT_TAG in backfill.tags and backfill.backfill_id not in own:
            by_event.setdefault(backfill.tags[INPUT_EVENT_TAG], []).append(backfill)
    for event, made in by_event.items():
        given_up = sum(backfill.status is BulkActionStatus.FAILED for backfill in made)
        found += [f"{len(made)} backfills for the input's event {event}"] * (len(made) - 1 - given_up > 0)
    runs = {record.dagster_run.run_id: record for record in records}
    ended = {backfill.backfill_id: backfill for backfill in backfills}
    by_key: dict[str, list[dg.RunRecord]] = {}
    by_table: dict[str, list[dg.RunRecord]] = {}
    for record in records:
        tags = record.dagster_run.tags
        # Dagster's retries have the tags of the run that they retry.
        if RUN_KEY_TAG in tags and RETRY_NUMBER_TAG not in tags:
            by_key.setdefault(tags[RUN_KEY_TAG], []).append(record)
            if TABLE_OF_TAG in tags:
                by_table.setdefault(tags[TABLE_OF_TAG], []).append(record)
    for key, asked in by_key.items():
        found += [f"{len(asked)} runs for the key {key}"] * (len(asked) > 1)
        dead = runs.get(key.removeprefix("again:"))
        if dead is not None:
            found += [
                f"run {record.dagster_run.run_id}: {why}" for record in asked if (why := _unwanted(record, dead, ended))
            ]
    for parts, asked in by_table.items():
        failed = sum(record.dagster_run.status is DagsterRunStatus.FAILURE for record in asked)
        found += [f"{len(asked)} tables of {parts}, of which {failed} failed"] * (len(asked) - 1 - failed > 0)
    return found


def _unwanted(record: dg.RunRecord, dead: dg.RunRecord, backfills: dict[str, PartitionBackfill]) -> str:
    """Why a run in a dead one's place was not wanted; empty if it was."""
    if dead.dagster_run.tags.get(RUN_FAILURE_REASON_TAG) == STEP_FAILURE:
        return "in the place of one whose step failed"
    backfill = backfills.get(dead.dagster_run.tags.get(BACKFILL_ID_TAG, ""))
    if backfill is None or backfill.status is not BulkActionStatus.CANCELED:
        return ""
    made_at = record.create_timestamp.replace(tzinfo=UTC).timestamp()
    is_later = backfill.backfill_end_timestamp is not None and made_at > backfill.backfill_end_timestamp
    return "in the place of one whose backfill was cancelled" if is_later else ""
