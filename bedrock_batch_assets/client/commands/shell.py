"""What all commands share: options, errors of one line, exit codes, and the console.

Modules are imported inside functions: `--help` answers at once, without Dagster and boto3.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from bedrock_batch_assets.errors import BatchError, ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from bedrock_batch_assets.aws.clients import AwsClients
    from bedrock_batch_assets.client.batches import Batches

BATCH_FAILED = 1
BAD_REQUEST = 2
UNREACHABLE = 3
INTERRUPTED = 130

PLAIN_WIDTH = 240

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    the batch failed, was cancelled, or did not end in time
  2    the command or the request is wrong
  3    Dagster or AWS cannot be reached, or is not set up
  130  interrupted with Ctrl-C
"""

_URL = "url"
_JSON = "json"


class Failure(click.ClickException):
    """Ends the command with one line on stderr and a chosen exit code; with --json also with an object on stdout."""

    def __init__(self, message: str, exit_code: int, *, as_json: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the object
        self._as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        super().show(file)
        if self._as_json:
            print_json({"error": self.message, "exit_code": self.exit_code})


class Commands(click.Group):
    """Commands whose known errors are one line, with the exit codes of the help text. Each takes --url."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with the option that may also stand before it."""
        cmd.params.append(url_option())
        super().add_command(cmd, name)

    def add_local_command(self, cmd: click.Command) -> None:
        """Add a command that asks no webserver, so that it takes no --url."""
        super().add_command(cmd)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{did_you_mean(args[0], self.commands)}", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BatchError as error:
            raise Failure(str(error), _exit_code(error), as_json=_wants_json(ctx)) from error
        except KeyboardInterrupt:
            message = str(ctx.meta.get("interrupted", "Interrupted."))
            raise Failure(message, INTERRUPTED, as_json=_wants_json(ctx)) from None
        except Exception as error:
            aws = _aws_failure(error)
            if aws is None:
                raise
            raise Failure(aws, UNREACHABLE, as_json=_wants_json(ctx)) from error


def url_option() -> click.Option:
    """--url, before the command or behind it."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta[_URL] = value

    return click.Option(
        ["--url"],
        expose_value=False,
        callback=keep,
        metavar="URL",
        help="Address of Dagster's webserver. Default: BEDROCK_BATCH_DAGSTER_URL, else http://127.0.0.1:3000.",
    )


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, which is the argument `as_json`. Failures are JSON then, too."""

    def keep(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.meta[_JSON] = ctx.meta.get(_JSON, False) or value
        return value

    option = click.option(
        "--json", "as_json", is_flag=True, callback=keep, help="Print JSON, also of a failure; all else goes to stderr."
    )
    return option(command)


def batches_of(ctx: click.Context) -> "Batches":
    """The platform that the options and the environment name."""
    from bedrock_batch_assets.client.environment import batches_from_environment, url_from_environment

    url = ctx.meta.get(_URL) or url_from_environment()
    return batches_from_environment(url, on_trouble=lambda text: click.echo(text, err=True))


def connection_to(region: str | None) -> "AwsClients":
    """AWS in a Region, or in that of the environment.

    Raises:
        RequestError: There is no such Region.
    """
    from bedrock_batch_assets.aws.clients import AwsClients
    from bedrock_batch_assets.client.environment import check_region, region_from_environment

    if region is not None:
        check_region(region)
    return AwsClients(region_name=region or region_from_environment())


def console_of(*, stderr: bool = False) -> "Console":
    """The terminal, or a wide page if there is none."""
    from rich.console import Console

    console = Console(stderr=stderr)
    # Without a terminal there is no width to keep to: ids stay whole, so that grep finds them.
    return console if console.is_terminal else Console(stderr=stderr, width=PLAIN_WIDTH)


def print_json(value: Any) -> None:
    """Print a value on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def bytes_progress(console: "Console", total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes, with the time left, on a terminal, and nothing anywhere else."""
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task("bytes", total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def count_progress(console: "Console", text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many are done, with the time left; without a terminal the text alone."""
    if not console.is_terminal:
        console.print(text, highlight=False, soft_wrap=True)
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console.print(text, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("answered", total=total)
        yield lambda done: progress.update(task, completed=done)


def _wants_json(ctx: click.Context) -> bool:
    return bool(ctx.meta.get(_JSON))


def _exit_code(error: BatchError) -> int:
    from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError
    from bedrock_batch_assets.errors import RequestError

    if isinstance(error, RequestError):
        return BAD_REQUEST
    if isinstance(error, UnreachableError | DagsterRefusedError | ConfigurationError):
        return UNREACHABLE
    return BATCH_FAILED


def _aws_failure(error: Exception) -> str | None:
    if "botocore" not in sys.modules:
        return None
    from botocore.exceptions import BotoCoreError, ClientError

    return f"AWS: {error}" if isinstance(error, BotoCoreError | ClientError) else None
