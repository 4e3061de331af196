"""The demo: two batches on this machine, from a CSV file to joined tables, without an AWS account.

`make demo`, or `bedrock-batch demo [--keep]`. Everything happens in a folder of its own, on free
ports of the loopback address, and nothing keeps running afterwards.
"""

import contextlib
import io
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bedrock_batch_assets.errors import BatchError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from bedrock_batch_assets.client.batch_status import BatchStatus
    from bedrock_batch_assets.client.batches import Batches
    from bedrock_batch_assets.client.progress import BatchProgress
    from bedrock_batch_assets.local.local_platform import LocalPlatform

EXAMPLE_KEY = "inputs/topics.csv"
# A batch has two jobs: a run costs about one CPU-second, and more runs would only take longer on a small machine.
RECORDS_PER_JOB = 130
SHOWN_ROWS = 4
SHOWN_NUMBERS = 3


@dataclass(frozen=True)
class Example:
    """One batch of the demo."""

    batch: str
    model_id: str
    prompt_id: str | None
    shown_columns: tuple[str, ...]

    def request(self, bucket: str) -> dict[str, Any]:
        """The request, as a person would write it for `bedrock-batch launch`."""
        return {
            "job_name_prefix": self.batch,
            "s3_uri": f"s3://{bucket}/{EXAMPLE_KEY}",
            "model_id": self.model_id,
            "prompt_id": self.prompt_id,
            "max_records_per_job": RECORDS_PER_JOB,
        }


EXAMPLES = (
    Example(
        "demo-jokes",
        "anthropic.claude-3-haiku-20240307-v1:0",
        "joke_about_topic",
        ("topic", "response", "record_status"),
    ),
    Example("demo-embeddings", "amazon.titan-embed-text-v2:0", None, ("input_text", "embedding", "record_status")),
)


@click.command("demo", short_help="Run two example batches on this machine, without AWS.")
@click.option("--keep", is_flag=True, help="Leave Dagster up afterwards, until Ctrl-C.")
def main(keep: bool) -> None:
    """Run two example batches on this machine, from a CSV file to joined tables; no AWS account is needed.

    Exits with 0 if both tables are there, with 1 and the cause if not, and with 130 on Ctrl-C.
    """
    from rich.console import Console

    console = Console()
    # SIGTERM ends the demo as Ctrl-C does, so that nothing is left behind. A shell that starts it in the background
    # has SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="bedrock-batch-demo-") as folder:
            _demo(console, Path(folder), keep=keep)
    except BatchError as error:
        click.echo(f"The demo failed: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Interrupted; everything that the demo started has ended.", err=True)
        sys.exit(130)


def upload_example(bucket: str) -> None:
    """Put the example table into the bucket; AWS is found in the environment."""
    import boto3

    table = resources.files("bedrock_batch_assets").joinpath("examples", "topics.csv").read_bytes()
    boto3.client("s3").put_object(Bucket=bucket, Key=EXAMPLE_KEY, Body=table)


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    # Once is enough: a second one must not cut the ending short, which takes half a minute at most.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _demo(console: "Console", folder: Path, *, keep: bool) -> None:
    from bedrock_batch_assets.local.local_platform import LocalPlatform, require_local_aws

    require_local_aws()
    started = time.monotonic()
    console.print("Starting local AWS (S3 and Bedrock on this machine) and Dagster …", highlight=False)
    with LocalPlatform(folder) as platform:
        # boto3 in this process looks there as well.
        os.environ.clear()
        os.environ.update(platform.environment)
        console.print(
            f"Dagster: {platform.webserver_url}   local AWS: {platform.aws_url}   "
            f"({time.monotonic() - started:.0f} s)\n",
            highlight=False,
            soft_wrap=True,
        )
        _run_batches(console, platform)
        console.print(f"Done in {time.monotonic() - started:.0f} s.", highlight=False)
        if keep:
            console.print(
                f"Dagster stays up at {platform.webserver_url}, with these batches in it. Ctrl-C ends it.",
                highlight=False,
                soft_wrap=True,
            )
            _wait_for_ctrl_c()


def _run_batches(console: "Console", platform: "LocalPlatform") -> None:
    from bedrock_batch_assets.client.batches import BatchFailedError
    from bedrock_batch_assets.client.environment import batches_from_environment
    from bedrock_batch_assets.client.progress import BatchProgress
    from bedrock_batch_assets.client.tables import cost_in_words

    upload_example(platform.bucket)
    ended = threading.Event()

    def sleep(seconds: float) -> None:
        if ended.wait(seconds):
            raise BatchFailedError("Given up, since the other batch failed.")

    batches = batches_from_environment(platform.webserver_url, sleep=sleep)
    names = [example.batch for example in EXAMPLES]
    with _explained(platform), BatchProgress(console, names) as progress, ThreadPoolExecutor(len(EXAMPLES)) as pool:
        futures = [pool.submit(_run_batch, example, batches, platform.bucket, progress) for example in EXAMPLES]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            ended.set()
        statuses = [future.result() for future in futures]
    for example, status in zip(EXAMPLES, statuses, strict=True):
        console.print(_result(batches, example, status))
        console.print(
            f"{example.batch}: "
            + ", ".join(f"{count} {name}" for name, count in status.records.items())
            + f"; {status.input_tokens:,} tokens in, {status.output_tokens:,} out"
            + f"; {cost_in_words(status)} by the example prices\n"
            f"Parquet: {batches.storage.uri(batches.storage.layout.results_folder(example.batch))}\n",
            highlight=False,
            soft_wrap=True,
        )


def _run_batch(example: Example, batches: "Batches", bucket: str, progress: "BatchProgress") -> "BatchStatus":
    from bedrock_batch_assets.client.batch_status import BatchState, BatchStatus
    from bedrock_batch_assets.client.request_file import checked_request

    batch, request = checked_request(example.request(bucket))
    run_id = batches.launch(batch, request)
    status = BatchStatus(batch, BatchState.new)
    for found in batches.follow(batch, run_id):
        progress.show(found)
        status = found
    return status


@contextlib.contextmanager
def _explained(platform: "LocalPlatform") -> Iterator[None]:
    """Add the end of Dagster's log to a failure: the folder with the logs is deleted at the end."""
    try:
        yield
    except BatchError as error:
        raise BatchError(f"{error}\nThe end of Dagster's log:\n{platform.dagster.tail()}") from error


def _result(batches: "Batches", example: Example, status: "BatchStatus") -> "Table":
    """The first rows of a result table."""
    import pyarrow.parquet as pq
    from rich import box
    from rich.table import Table

    storage = batches.storage
    first = storage.table_manifest(example.batch).parts[0]
    rows = pq.read_table(io.BytesIO(storage.objects.get_bytes(first))).slice(0, SHOWN_ROWS).to_pylist()
    title = f"{example.batch}: {status.rows} rows, {status.model_id}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in example.shown_columns:
        table.add_column(name, max_width=80 if name == "response" else 40)
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in example.shown_columns))
    return table


def cell(value: Any) -> str:
    """A value as short text; of a vector the first numbers and its length."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = ", ".join(f"{number:.3f}" for number in value[:SHOWN_NUMBERS])
        return f"\\[{numbers}, … {len(value)} in all]" if len(value) > SHOWN_NUMBERS else f"\\[{numbers}]"
    return "" if value is None else str(value)


def _wait_for_ctrl_c() -> None:
    # Ctrl-C is the asked-for end here, not a failure.
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
