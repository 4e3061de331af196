"""One platform for this folder, and the course of events on it, each step of it a fixture.

Starting a run costs seconds of CPU and the backfill daemon looks every 30 s, so things happen side by side: the
fixtures do them and wait, in the order in which they depend on each other, and the tests look at what came of them.
Whichever test asks first sets off what it needs; no test changes anything itself.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bedrock_batch_assets.client.webserver import Run
from bedrock_batch_assets.local.local_platform import LocalPlatform
from bedrock_batch_assets.tags import BATCH_TAG, JOB_ARN_TAG, MODEL_TAG, PARTITION_TAG
from bedrock_batch_assets_tests.end_to_end.scenario import (
    AGAIN,
    ALL_ASSETS,
    CHUNK_ASSETS,
    HAIKU,
    HUNDREDS,
    HUNDREDS_CHUNKS,
    HUNDREDS_PER_JOB,
    LONG,
    LONG_CHUNKS,
    LONG_PER_JOB,
    MODEL_LIMIT,
    NO_COLUMN,
    SECONDS,
    SHARED,
    SONNET,
    UNFILLED,
    UNTIL_CHANGED,
    Again,
    AskedAgain,
    Finished,
    Interrupted,
    Launched,
    Resumed,
    billed,
    jobs_of,
    wait_for_table,
)
from bedrock_batch_assets_tests.end_to_end.ui import Ui
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

# On two idle cores it takes less than four minutes.
SECONDS_FOR_ALL = 1800.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the time of the whole course of events, since it may be the one that sets it off."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS_FOR_ALL))


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Local AWS and `dagster dev`, with a limit of three jobs in flight per model."""
    limits = [
        {"key": MODEL_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": MODEL_LIMIT},
        {"key": PARTITION_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
    ]
    with LocalPlatform(
        tmp_path_factory.mktemp("platform"),
        dagster_yaml={"concurrency": {"runs": {"tag_concurrency_limits": limits}}},
        aws_settings={"seconds": SECONDS},
        environment={
            # Compiled once for all processes, wherever the environment says not to keep what is compiled: importing
            # Dagster takes 5 s of CPU without and 1.8 s with it.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode")),
            # Starting a run counts as failed after that; the default of 60 s is too short for a busy machine.
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
        },
    ) as running:
        yield running


@pytest.fixture(scope="package")
def aws(platform: LocalPlatform) -> LocalAws:
    """The platform's local AWS."""
    return LocalAws(platform.aws_url)


@pytest.fixture(scope="package")
def ui(platform: LocalPlatform) -> Ui:
    """A person at the platform's UI."""
    return Ui(platform.webserver_url, platform.dagster.check)


@pytest.fixture(scope="package")
def launched(platform: LocalPlatform, ui: Ui, aws: LocalAws) -> Launched:
    """A person adds four batches and materializes their input, one of them without filling in the request."""
    for batch in (HUNDREDS, LONG, NO_COLUMN, UNFILLED):
        ui.add_partition(batch)

    def launch(batch: str, column: str, rows: int, **request: object) -> str:
        text = f"id,{column}\n" + "".join(f"{number},{batch} topic {number}\n" for number in range(rows))
        aws.client("s3").put_object(Bucket=platform.bucket, Key=f"inputs/{batch}.csv", Body=text.encode())
        uri = f"s3://{platform.bucket}/inputs/{batch}.csv"
        return ui.launch_input(batch, {"s3_uri": uri, "prompt_id": "joke_about_topic", **request})

    return Launched(
        hundreds=launch(
            HUNDREDS,
            "topic",
            HUNDREDS_PER_JOB * len(HUNDREDS_CHUNKS),
            model_id=HAIKU,
            max_records_per_job=HUNDREDS_PER_JOB,
        ),
        long=launch(LONG, "topic", LONG_PER_JOB * len(LONG_CHUNKS), model_id=SONNET, max_records_per_job=LONG_PER_JOB),
        no_column=launch(NO_COLUMN, "subject", 200, model_id=HAIKU),
        unfilled=ui.launch_backfill(ALL_ASSETS, [UNFILLED]),
    )


@pytest.fixture(scope="package")
def shared(ui: Ui, launched: Launched) -> str:
    """A person backfills some chunks as soon as they are there, when the sensor backfills all; the backfill's id."""
    ui.wait_for_run(launched.hundreds)
    return ui.launch_backfill(CHUNK_ASSETS, SHARED)


@pytest.fixture(scope="package")
def interrupted(ui: Ui, aws: LocalAws, launched: Launched, shared: str) -> Interrupted:
    """A person sees both long jobs in progress, terminates the run of one and cancels the backfill of both."""

    def run_with_job(chunk: str) -> Run:
        return ui.wait(
            f"a run of {chunk} that has a job",
            lambda: ui.runs({"dagster/partition": chunk}),
            lambda found: bool(found) and JOB_ARN_TAG in found[0].tags,
        )[0]

    runs = {chunk: run_with_job(chunk) for chunk in LONG_CHUNKS}
    ui.wait(
        "an observation of each job's progress",
        lambda: ui.observations("batch_job_outputs", LONG_CHUNKS),
        lambda seen: {chunk for chunk, values in seen if values.get("records_processed", 0) > 0} == set(LONG_CHUNKS),
    )
    # Jobs that are stopped stay Stopping, as they do for minutes at the service.
    aws.put_settings({"seconds": {"Stopping": UNTIL_CHANGED}})
    first = runs[LONG_CHUNKS[0]]
    assert ui.web.terminate_runs([first.id]) == {}
    ui.web.cancel_backfill(first.tags["dagster/backfill"])
    terminated = ui.wait_for_run(first.id)
    cancelled = ui.wait_for_backfill(first.tags["dagster/backfill"])
    by_arn = {job["arn"]: job for job in aws.jobs()}
    jobs = {chunk: by_arn[run.tags[JOB_ARN_TAG]] for chunk, run in runs.items()}
    return Interrupted(
        terminated=terminated,
        cancelled=cancelled,
        jobs=jobs,
        ledger=billed(aws, LONG),
        observations=ui.observations("batch_job_outputs", LONG_CHUNKS),
        states={asset: ui.partition_states(asset).of(LONG) for asset in CHUNK_ASSETS},
    )


@pytest.fixture(scope="package")
def finished(ui: Ui, aws: LocalAws, shared: str, interrupted: Interrupted) -> Finished:
    """The twelve chunks are in, and their table."""
    # The long jobs last for minutes only, so they were interrupted before.
    of_sensor = ui.wait(
        "the sensor's backfill",
        lambda: [item for item in ui.web.backfills() if item.tags[BATCH_TAG] == HUNDREDS],
        bool,
    )
    pages = [ui.wait_for_backfill(backfill) for backfill in (of_sensor[0].id, shared)]
    table = wait_for_table(ui, HUNDREDS, after=max(run.ended_at or 0.0 for page in pages for run in page.runs))
    return Finished(
        of_sensor=pages[0],
        of_person=pages[1],
        table=table,
        max_in_flight=aws.max_in_flight()[HAIKU],
        jobs=jobs_of(aws, HUNDREDS),
        ledger=billed(aws, HUNDREDS),
    )


@pytest.fixture(scope="package")
def asked_again(ui: Ui, aws: LocalAws, interrupted: Interrupted, finished: Finished) -> AskedAgain:
    """A person backfills three chunks of the finished batch again, and materializes both interrupted chunks.

    One of these while its job is still Stopping, the other when its job has stopped.
    """
    backfill = ui.launch_backfill(CHUNK_ASSETS, AGAIN)
    terminated = ui.launch(CHUNK_ASSETS, LONG_CHUNKS[0])
    ui.wait(
        "the run's attaching to the job that is stopping",
        lambda: ui.web.run(terminated),
        lambda run: JOB_ARN_TAG in run.tags or run.status in {"FAILURE", "SUCCESS"},
    )
    aws.put_settings({"seconds": {"Stopping": 0.1, "per_record": 0.0}})
    stopped = interrupted.jobs[LONG_CHUNKS[1]]["arn"]
    ui.wait(
        "the end of the other job",
        lambda: {job["arn"]: job["status"] for job in aws.jobs()}[stopped],
        lambda status: status == "Stopped",
    )
    return AskedAgain(backfill, terminated, ui.launch(CHUNK_ASSETS, LONG_CHUNKS[1]))


@pytest.fixture(scope="package")
def again(ui: Ui, asked_again: AskedAgain) -> Again:
    """The three chunks are in again, and the table."""
    page = ui.wait_for_backfill(asked_again.backfill)
    return Again(page, wait_for_table(ui, HUNDREDS, after=max(run.ended_at or 0.0 for run in page.runs)))


@pytest.fixture(scope="package")
def resumed(ui: Ui, asked_again: AskedAgain) -> Resumed:
    """The interrupted chunks are in, and their table."""
    terminated, cancelled = (
        ui.wait_for_run(run) for run in (asked_again.terminated_chunk, asked_again.cancelled_chunk)
    )
    table = wait_for_table(ui, LONG, after=max(terminated.ended_at or 0.0, cancelled.ended_at or 0.0))
    return Resumed(terminated, cancelled, table)
