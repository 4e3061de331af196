"""Commands that start something: `launch` and `try`; and `request`, to go on from."""

from typing import TYPE_CHECKING, Any

import click

from bedrock_batch_assets.client.commands.shell import (
    EXIT_CODES,
    batches_of,
    console_of,
    count_progress,
    json_option,
    print_json,
)

if TYPE_CHECKING:
    from bedrock_batch_assets.client.batches import Batches


@click.command(epilog=EXIT_CODES, short_help="Launch a batch from a request file.")
@click.argument("request_file", metavar="REQUEST.json", type=click.File("rb"))
@click.option("--wait", is_flag=True, help="Show progress until the result table of this launch is there.")
@json_option
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
    batches = batches_of(ctx)
    if wait:
        # Without a bucket the end of the batch cannot be seen: say so before anything starts.
        _ = batches.storage.objects
    run_id = batches.launch(batch, request)
    link = batches.webserver.run_link(run_id)
    ctx.meta["interrupted"] = f"Interrupted. The batch goes on: {link} (bedrock-batch cancel {batch} ends it)"
    console = console_of(stderr=as_json)
    console.print(f"Launched batch {batch}, run {run_id}\n{link}", highlight=False, soft_wrap=True)
    for daemon in batches.webserver.unhealthy_daemons():
        click.echo(f"Warning: Dagster's {daemon} daemon is not running, so the batch will not go on.", err=True)
    outcome: dict[str, Any] = {"batch": batch, "run_id": run_id, "url": link}
    if wait:
        outcome |= _follow(batches, batch, run_id)
    if as_json:
        print_json(outcome)
    elif wait:
        from bedrock_batch_assets.client.tables import status_details

        console.print(status_details(batches.status(batch, with_jobs=False)))
        console.print(f"bedrock-batch download {batch}  fetches the table.", highlight=False, soft_wrap=True)


@click.command("request", epilog=EXIT_CODES, short_help="Print the last request of a batch.")
@click.argument("batch")
@json_option
@click.pass_context
def request_(ctx: click.Context, batch: str, as_json: bool) -> None:
    """Print the request of a batch's last launch, to go on from.

    As YAML it can be pasted into the launchpad of input_dataset; with --json it is a request for `launch` and `try`.
    """
    import yaml

    from bedrock_batch_assets.client.request_file import BATCH_FIELD

    text = batches_of(ctx).last_request(batch)
    if not as_json:
        click.echo(text, nl=False)
        return
    config = yaml.safe_load(text)["ops"]["input_dataset"]["config"]
    print_json({BATCH_FIELD: batch, **{name: value for name, value in config.items() if value is not None}})


@click.command("try", epilog=EXIT_CODES, short_help="Try a batch on a few rows before paying for all.")
@click.argument("request_file", metavar="REQUEST.json", type=click.File("rb"))
@click.option("--rows", type=click.IntRange(1, 500), default=20, show_default=True, help="How many rows to ask about.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another number takes other random rows.")
@click.option("--first", is_flag=True, help="Take the first rows instead of random ones.")
@json_option
@click.pass_context
def try_(ctx: click.Context, request_file: Any, rows: int, seed: int, first: bool, as_json: bool) -> None:
    """Ask the model about a few rows of a batch: what the answers look like, and what all of them will cost.

    The rows are sent on demand, as the asset `pilot` does in the UI. Nothing else is started, and a row that was tried
    before is not paid for again.
    """
    from bedrock_batch_assets.client.pilot_tables import pilot_table
    from bedrock_batch_assets.client.request_file import read_request

    batch, request = read_request(request_file.read())
    batches = batches_of(ctx)
    # Without a bucket the answers cannot be read: say so before anything is sent.
    _ = batches.storage.objects
    run_id = batches.try_rows(batch, request, rows, None if first else seed)
    link = batches.webserver.run_link(run_id)
    ctx.meta["interrupted"] = f"Interrupted. The pilot goes on: {link}"
    with count_progress(console_of(stderr=True), f"Trying {rows} rows of batch {batch}: {link}", rows) as on_answered:
        report = batches.pilot(batch, run_id, on_answered)
    if as_json:
        print_json(report.to_json())
    else:
        console_of().print(pilot_table(report))


def _follow(batches: "Batches", batch: str, run_id: str) -> dict[str, Any]:
    """Show progress until the batch is done, and return its last state as plain data."""
    from bedrock_batch_assets.client.progress import BatchProgress

    state: dict[str, Any] = {}
    with BatchProgress(console_of(stderr=True), [batch]) as progress:
        for found in batches.follow(batch, run_id):
            progress.show(found)
            state = found.to_json()
    return state
