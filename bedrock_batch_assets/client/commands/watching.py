"""Commands that look at batches, and end them: `status` and `cancel`."""

from typing import TYPE_CHECKING

import click

from bedrock_batch_assets.client.commands.shell import (
    BATCH_FAILED,
    EXIT_CODES,
    Failure,
    batches_of,
    console_of,
    json_option,
    print_json,
)

if TYPE_CHECKING:
    from bedrock_batch_assets.client.batches import Batches


@click.command(epilog=EXIT_CODES)
@click.argument("batch", required=False)
@click.option("--watch", is_flag=True, help="Follow the batch to its end: rows, cost so far, time left, errors.")
@json_option
@click.pass_context
def status(ctx: click.Context, batch: str | None, watch: bool, as_json: bool) -> None:
    """Show the true state of one batch, or of all.

    The state is judged for the input as it is now: parts and tables of an earlier input do not count as done.
    """
    from bedrock_batch_assets.client.tables import status_details, status_table

    if watch and batch is None:
        raise click.UsageError("--watch follows one batch: name it.", ctx)
    batches = batches_of(ctx)
    console = console_of()
    _warn_of_instance(batches)
    if batch is not None:
        if watch:
            ctx.meta["interrupted"] = "Interrupted. The batch goes on."
            _watch(batches, batch)
        found = batches.status(batch)
        if as_json:
            print_json(found.to_json())
        else:
            console.print(status_details(found))
        return
    statuses = batches.statuses()
    if as_json:
        print_json([item.to_json() for item in statuses])
    elif statuses:
        console.print(status_table(statuses))
    else:
        console.print("No batches yet.")


def _watch(batches: "Batches", batch: str) -> None:
    """Show how far a batch is until it has ended: one panel on a terminal, and a line for each change elsewhere."""
    from bedrock_batch_assets.client.live_panel import LivePanel

    with LivePanel(console_of(stderr=True)) as panel:
        for view in batches.watch(batch):
            panel.show(view)


def _warn_of_instance(batches: "Batches") -> None:
    from bedrock_batch_assets.client.webserver import DagsterRefusedError, UnreachableError

    try:
        problems = batches.webserver.instance_problems()
    except (UnreachableError, DagsterRefusedError):
        # The command itself says what it cannot reach.
        return
    for problem in problems:
        click.echo(f"Warning: {problem}", err=True)


@click.command(epilog=EXIT_CODES, short_help="Stop a batch, and its jobs.")
@click.argument("batch")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=180.0,
    show_default=True,
    help="Seconds to wait until all has ended.",
)
@json_option
@click.pass_context
def cancel(ctx: click.Context, batch: str, timeout: float, as_json: bool) -> None:
    """Stop a batch: its backfill, its runs, and the jobs that these own.

    What has come in is kept, and tokens that were processed are paid for. Launch the request again to go on. A
    batch that has ended is left as it is.
    """
    from bedrock_batch_assets.client.cancellation import Cancellation

    batches = batches_of(ctx)
    ctx.meta["interrupted"] = "Interrupted. What was asked to end will end."
    console = console_of(stderr=True)
    outcome = Cancellation(batch)
    shown: tuple[str, ...] = ()
    for outcome in batches.cancel(batch, timeout=timeout):
        if outcome.left and tuple(outcome.left) != shown:
            shown = tuple(outcome.left)
            console.print(f"Waiting for {len(shown)} to end: {', '.join(shown[:3])}", highlight=False, soft_wrap=True)
    if as_json:
        print_json(outcome.to_json())
    elif not outcome.backfills and not outcome.runs:
        click.echo(f"Nothing of batch {batch} was running.")
    else:
        jobs = ", ".join(f"{arn.rsplit('/', 1)[-1]} {state}" for arn, state in outcome.jobs.items()) or "none"
        click.echo(
            f"Cancelled batch {batch}: {len(outcome.backfills)} backfills, {len(outcome.runs)} runs. Jobs: {jobs}."
        )
    if outcome.left:
        raise Failure(f"Not ended within {timeout:g} s: {', '.join(outcome.left)}", BATCH_FAILED)
