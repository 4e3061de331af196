"""The command line, `bedrock-batch`. It uses Dagster's webserver, as the UI does, and boto3.

Modules are imported inside the commands: `--help` answers at once, without Dagster and boto3.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bedrock_batch_assets.errors import BatchError, ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from bedrock_batch_assets.client.batches import Batches

BATCH_FAILED = 1
BAD_REQUEST = 2
UNREACHABLE = 3
INTERRUPTED = 130

PLAIN_WIDTH = 240

_EXIT_CODES = """
\b
Exit codes:
  0    done
  1    the batch failed, was cancelled, or did not end in time
  2    the command or the request is wrong
  3    Dagster or AWS cannot be reached, or is not set up
  130  interrupted with Ctrl-C
"""


class _Failure(click.ClickException):
    """Ends the command with one line on stderr and a chosen exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the object


class _Commands(click.Group):
    """Commands whose known errors are one line, with the exit codes of the help text."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BatchError as error:
            raise _Failure(str(error), _exit_code(error)) from error
        except KeyboardInterrupt:
            raise _Failure(str(ctx.meta.get("interrupted", "Interrupted.")), INTERRUPTED) from None
        except Exception as error:
            _raise_if_aws(error)
            raise


def _exit_code(error: BatchError) -> int:
    from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError
    from bedrock_batch_assets.errors import RequestError

    if isinstance(error, RequestError):
        return BAD_REQUEST
    if isinstance(error, UnreachableError | DagsterRefusedError | ConfigurationError):
        return UNREACHABLE
    return BATCH_FAILED


def _raise_if_aws(error: Exception) -> None:
    if "botocore" not in sys.modules:
        return
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, BotoCoreError | ClientError):
        raise _Failure(f"AWS: {error}", UNREACHABLE) from error


@click.group(cls=_Commands, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar="BEDROCK_BATCH_DAGSTER_URL",
    default="http://127.0.0.1:3000",
    show_default=True,
    show_envvar=True,
    help="Address of Dagster's webserver.",
)
@click.version_option(package_name="bedrock-batch-assets")
@click.pass_context
def cli(ctx: click.Context, url: str) -> None:
    """Launch, watch, cancel and download Amazon Bedrock batches.

    A batch is one input table, one model and one prompt. Dagster runs it; this command talks to Dagster's webserver,
    and to AWS with the usual environment (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …). The bucket is
    BEDROCK_BATCH_BUCKET.
    """
    ctx.obj = url


@cli.command(epilog=_EXIT_CODES, short_help="Launch a batch from a request file.")
@click.argument("request_file", metavar="REQUEST.json", type=click.File("rb"))
@click.option("--wait", is_flag=True, help="Show progress until the result table of this launch is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON; progress goes to stderr.")
@click.pass_context
def launch(ctx: click.Context, request_file: Any, wait: bool, as_json: bool) -> None:
    """Launch a batch from a request, "-" reads it from stdin.

    \b
    {"job_name_prefix": "demo-run-001",
     "s3_uri": "s3://my-bucket/topics.csv",
     "model_id": "anthropic.claude-3-haiku-20240307-v1:0",
     "prompt_id": "joke_about_topic"}

    job_name_prefix is the batch's name. Launching a name again re-reads its input; chunks whose rows, prompt, model
    and parameters did not change are not paid for again.
    """  # noqa: D301, since click wants the backspace itself
    from bedrock_batch_assets.client.request_file import read_request

    batch, request = read_request(request_file.read())
    batches = _batches(ctx)
    if wait:
        # Without a bucket the end of the batch cannot be seen: say so before anything starts.
        _ = batches.storage.objects
    run_id = batches.launch(batch, request)
    link = batches.webserver.run_link(run_id)
    ctx.meta["interrupted"] = f"Interrupted. The batch goes on: {link} (bedrock-batch cancel {batch} ends it)"
    console = _console(stderr=as_json)
    console.print(f"Launched batch {batch}, run {run_id}\n{link}", highlight=False, soft_wrap=True)
    for daemon in batches.webserver.unhealthy_daemons():
        click.echo(f"Warning: Dagster's {daemon} daemon is not running, so the batch will not go on.", err=True)
    outcome: dict[str, Any] = {"batch": batch, "run_id": run_id, "url": link}
    if wait:
        outcome |= _follow(batches, batch, run_id)
    if as_json:
        _print_json(outcome)
    elif wait:
        from bedrock_batch_assets.client.tables import status_details

        console.print(status_details(batches.status(batch, with_jobs=False)))
        console.print(f"bedrock-batch download {batch}  fetches the table.", highlight=False, soft_wrap=True)


@cli.command("try", epilog=_EXIT_CODES, short_help="Try a batch on a few rows before paying for all.")
@click.argument("request_file", metavar="REQUEST.json", type=click.File("rb"))
@click.option("--rows", type=click.IntRange(1, 500), default=20, show_default=True, help="How many rows to ask about.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another number takes other random rows.")
@click.option("--first", is_flag=True, help="Take the first rows instead of random ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def try_(ctx: click.Context, request_file: Any, rows: int, seed: int, first: bool, as_json: bool) -> None:
    """Ask the model about a few rows of a batch: what the answers look like, and what all of them will cost.

    The rows are sent on demand, as the asset `pilot` does in the UI. Nothing else is started, and a row that was tried
    before is not paid for again.
    """
    from bedrock_batch_assets.client.pilot_tables import pilot_table
    from bedrock_batch_assets.client.request_file import read_request

    batch, request = read_request(request_file.read())
    batches = _batches(ctx)
    # Without a bucket the answers cannot be read: say so before anything is sent.
    _ = batches.storage.objects
    run_id = batches.try_rows(batch, request, rows, None if first else seed)
    link = batches.webserver.run_link(run_id)
    ctx.meta["interrupted"] = f"Interrupted. The pilot goes on: {link}"
    with _waiting(f"Trying {rows} rows of batch {batch}: {link}"):
        report = batches.pilot(batch, run_id)
    if as_json:
        _print_json(report.to_json())
    else:
        _console().print(pilot_table(report))


@cli.command(epilog=_EXIT_CODES)
@click.argument("batch", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, batch: str | None, as_json: bool) -> None:
    """Show the true state of one batch, or of all.

    The state is judged for the input as it is now: parts and tables of an earlier input do not count as done.
    """
    from bedrock_batch_assets.client.tables import status_details, status_table

    batches = _batches(ctx)
    console = _console()
    _warn_of_instance(batches)
    if batch is not None:
        found = batches.status(batch)
        if as_json:
            _print_json(found.to_json())
        else:
            console.print(status_details(found))
        return
    statuses = batches.statuses()
    if as_json:
        _print_json([item.to_json() for item in statuses])
    elif statuses:
        console.print(status_table(statuses))
    else:
        console.print("No batches yet.")


def _warn_of_instance(batches: "Batches") -> None:
    from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError

    try:
        problems = batches.webserver.instance_problems()
    except (UnreachableError, DagsterRefusedError):
        # The command itself says what it cannot reach.
        return
    for problem in problems:
        click.echo(f"Warning: {problem}", err=True)


@cli.command(epilog=_EXIT_CODES, short_help="Stop a batch, and its jobs.")
@click.argument("batch")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=180.0,
    show_default=True,
    help="Seconds to wait until all has ended.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def cancel(ctx: click.Context, batch: str, timeout: float, as_json: bool) -> None:
    """Stop a batch: its backfill, its runs, and the jobs that these own.

    What has come in is kept, and tokens that were processed are paid for. Launch the request again to go on. A
    batch that has ended is left as it is.
    """
    from bedrock_batch_assets.client.cancellation import Cancellation

    batches = _batches(ctx)
    ctx.meta["interrupted"] = "Interrupted. What was asked to end will end."
    console = _console(stderr=True)
    outcome = Cancellation(batch)
    shown: tuple[str, ...] = ()
    for outcome in batches.cancel(batch, timeout=timeout):
        if outcome.left and tuple(outcome.left) != shown:
            shown = tuple(outcome.left)
            console.print(f"Waiting for {len(shown)} to end: {', '.join(shown[:3])}", highlight=False, soft_wrap=True)
    if as_json:
        _print_json(outcome.to_json())
    elif not outcome.backfills and not outcome.runs:
        click.echo(f"Nothing of batch {batch} was running.")
    else:
        jobs = ", ".join(f"{arn.rsplit('/', 1)[-1]} {state}" for arn, state in outcome.jobs.items()) or "none"
        click.echo(
            f"Cancelled batch {batch}: {len(outcome.backfills)} backfills, {len(outcome.runs)} runs. Jobs: {jobs}."
        )
    if outcome.left:
        raise _Failure(f"Not ended within {timeout:g} s: {', '.join(outcome.left)}", BATCH_FAILED)


@cli.command(epilog=_EXIT_CODES)
@click.argument("batch")
@click.argument("destination", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--delete", is_flag=True, help="Delete files of an earlier download that are no more on S3.")
@click.pass_context
def download(ctx: click.Context, batch: str, destination: Path | None, delete: bool) -> None:
    """Copy a batch's job outputs and result files from S3.

    They go to DESTINATION/batch_outputs_json and DESTINATION/batch_output_parquet, and the result's account to
    DESTINATION/batch_output_state; DESTINATION is downloads/BATCH unless given. Files that are there with the same
    size and time are not fetched again.
    """
    from rich.filesize import decimal

    from bedrock_batch_assets.client.downloads import plan_download, run_download
    from bedrock_batch_assets.client.environment import storage_from_environment
    from bedrock_batch_assets.partitions import check_batch_key

    storage = storage_from_environment()
    folder = destination or Path("downloads") / check_batch_key(batch)
    console = _console(stderr=True)
    plan = plan_download(storage, batch, folder)
    ctx.meta["interrupted"] = "Interrupted. Run the command again to fetch the rest."
    with _bytes_progress(console, plan.size) as advance:
        run_download(plan, storage.objects, on_bytes=advance, delete_surplus=delete)
    here = len(plan.downloads) - len(plan.wanted)
    click.echo(f"{folder}: {len(plan.wanted)} files fetched ({decimal(plan.size)}), {here} were there.")
    if plan.surplus and not delete:
        click.echo(
            f"Warning: {len(plan.surplus)} files there are no more on S3, e.g. {plan.surplus[0]} (see --delete).",
            err=True,
        )


@cli.command(epilog=_EXIT_CODES, short_help="Delete a batch, and its data if wanted.")
@click.argument("batch")
@click.option("--data", is_flag=True, help="Delete its input, records, outputs and results on S3, too.")
@click.option("--yes", is_flag=True, help="Do not ask before data is deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def delete(ctx: click.Context, batch: str, data: bool, yes: bool, as_json: bool) -> None:
    """Delete a batch: its partition, the partitions of its chunks, and with --data all that it has on S3.

    A batch that is in progress is left as it is: cancel it first. Dagster keeps the runs and events; Bedrock keeps its
    list of jobs. Without --data a later batch of the same name goes on with what is there; with it, a batch of the same
    content pays again. A bucket with versioning keeps old versions.
    """
    from rich.filesize import decimal

    from bedrock_batch_assets.client.deletion import delete_batch, plan_deletion

    batches = _batches(ctx)
    ctx.meta["interrupted"] = "Interrupted. Run the command again to delete the rest."
    plan = plan_deletion(batches, batch)
    will_delete = data and bool(plan.data)
    if not as_json or (will_delete and not yes):
        for item in plan.data:
            click.echo(f"{item.uri}  {item.objects} objects, {decimal(item.size)}", err=as_json)
    if will_delete and not yes:
        click.confirm(f"Delete these {plan.objects} objects for good?", abort=True, err=True)
    delete_batch(batches, plan, data=data)
    if as_json:
        _print_json(plan.to_json(data_deleted=data))
        return
    left = "deleted" if data else "left on S3"
    click.echo(
        f"Deleted batch {batch} and {len(plan.chunks)} chunk partitions. Data: {plan.objects} objects, "
        f"{decimal(plan.size)}, {left}."
    )


@cli.command(epilog=_EXIT_CODES, short_help="List the models that a batch can use.")
@click.option("--region", help="AWS Region. Default: the environment's.")
@click.option("--all", "every", is_flag=True, help="Also models that no processor takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(region: str | None, every: bool, as_json: bool) -> None:
    """List the models, whether you have access, and what to write as model_id.

    The service does not tell in advance whether it runs batches of a model in a Region; that shows when the job is
    created.
    """
    from bedrock_batch_assets.aws.connection import AwsConnection
    from bedrock_batch_assets.client.environment import region_from_environment
    from bedrock_batch_assets.client.models import list_models
    from bedrock_batch_assets.client.tables import models_table
    from bedrock_batch_assets.processors.registry import Processors

    offers = list_models(AwsConnection(region_name=region or region_from_environment()), Processors(), every=every)
    if as_json:
        _print_json([offer.to_json() for offer in offers])
    else:
        _console().print(models_table(offers))


@cli.command(epilog=_EXIT_CODES, short_help="Print the environment of a stack of deploy/data.yaml.")
@click.argument("stack")
@click.option("--region", help="AWS Region of the stack. Default: the environment's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def env(stack: str, region: str | None, as_json: bool) -> None:
    """Print the environment variables that a CloudFormation stack of deploy/data.yaml stands for.

    \b
    bedrock-batch env bedrock-batch > .env

    Dagster and `make dev` read .env in their folder.
    """  # noqa: D301, since click wants the backspace itself
    from bedrock_batch_assets.aws.connection import AwsConnection
    from bedrock_batch_assets.client.environment import region_from_environment
    from bedrock_batch_assets.client.stack import stack_environment

    variables = stack_environment(stack, AwsConnection(region_name=region or region_from_environment()))
    if as_json:
        _print_json(variables)
    else:
        click.echo("\n".join(f"{name}={value}" for name, value in sorted(variables.items())))


@cli.command(epilog=_EXIT_CODES, short_help="Check that everything is there that a batch needs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check that everything is there that a batch needs: account, bucket, role, models, quota, Dagster.

    Each line says ok, or what to do. Ends with exit code 3 if there is a problem.
    """
    import os

    from bedrock_batch_assets.client.doctor import Examination
    from bedrock_batch_assets.client.tables import findings_table
    from bedrock_batch_assets.cost.prices import PRICES_VARIABLE, Prices
    from bedrock_batch_assets.processors.registry import Processors

    batches = _batches(ctx)
    prices = Prices(path=os.environ.get(PRICES_VARIABLE, ""))
    findings = list(Examination(batches.webserver, batches.storage, batches.jobs, prices, Processors()).findings())
    if as_json:
        _print_json([finding.to_json() for finding in findings])
    else:
        _console().print(findings_table(findings))
    if any(finding.state == "problem" for finding in findings):
        ctx.exit(UNREACHABLE)


def _batches(ctx: click.Context) -> "Batches":
    from bedrock_batch_assets.client.environment import batches_from_environment

    return batches_from_environment(ctx.obj, on_trouble=lambda text: click.echo(text, err=True))


def _follow(batches: "Batches", batch: str, run_id: str) -> dict[str, Any]:
    """Show progress until the batch is done, and return its last state as plain data."""
    from bedrock_batch_assets.client.progress import BatchProgress

    state: dict[str, Any] = {}
    with BatchProgress(_console(stderr=True), [batch]) as progress:
        for found in batches.follow(batch, run_id):
            progress.show(found)
            state = found.to_json()
    return state


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    console = Console(stderr=stderr)
    # Without a terminal there is no width to keep to: ids stay whole, so that grep finds them.
    return console if console.is_terminal else Console(stderr=stderr, width=PLAIN_WIDTH)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """A line on stderr, with something that moves on a terminal, while the block runs."""
    console = _console(stderr=True)
    if not console.is_terminal:
        console.print(text, highlight=False, soft_wrap=True)
        yield
        return
    with console.status(text):
        yield


@contextmanager
def _bytes_progress(console: "Console", total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on a terminal, and nothing anywhere else."""
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console) as progress:
        task = progress.add_task("bytes", total=total)
        yield lambda count: progress.advance(task, count)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli(prog_name="bedrock-batch")
    raise AssertionError("click exits by itself")


if __name__ == "__main__":
    main()
