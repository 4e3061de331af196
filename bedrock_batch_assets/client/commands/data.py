"""Commands on the data of batches: `download` and `delete`."""

from pathlib import Path

import click

from bedrock_batch_assets.client.commands.shell import (
    EXIT_CODES,
    batches_of,
    bytes_progress,
    console_of,
    json_option,
    print_json,
)


@click.command(epilog=EXIT_CODES)
@click.argument("batch")
@click.argument("destination", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--delete", is_flag=True, help="Delete files of an earlier download that are no more on S3.")
@json_option
@click.pass_context
def download(ctx: click.Context, batch: str, destination: Path | None, delete: bool, as_json: bool) -> None:
    """Copy a batch's job outputs and result files from S3.

    They go to DESTINATION/batch_outputs_json and DESTINATION/batch_output_parquet, and the result's account to
    DESTINATION/batch_output_state; DESTINATION is downloads/BATCH unless given. Files that are there with the same
    size and time are not fetched again.
    """
    from rich.filesize import decimal

    from bedrock_batch_assets.client.downloads import plan_download, run_download
    from bedrock_batch_assets.client.environment import storage_from_environment
    from bedrock_batch_assets.partition_keys import check_batch_key

    storage = storage_from_environment()
    folder = destination or Path("downloads") / check_batch_key(batch)
    console = console_of(stderr=True)
    plan = plan_download(storage, batch, folder)
    ctx.meta["interrupted"] = "Interrupted. Run the command again to fetch the rest."
    with bytes_progress(console, plan.size) as advance:
        run_download(plan, storage.objects, on_bytes=advance, delete_surplus=delete)
    here = len(plan.downloads) - len(plan.wanted)
    if as_json:
        surplus = [str(path) for path in plan.surplus]
        counts = {"fetched": len(plan.wanted), "fetched_bytes": plan.size, "there": here}
        print_json({"folder": str(folder), **counts, "surplus": surplus, "surplus_deleted": delete})
    else:
        click.echo(f"{folder}: {len(plan.wanted)} files fetched ({decimal(plan.size)}), {here} were there.")
    if plan.surplus and not delete:
        click.echo(
            f"Warning: {len(plan.surplus)} files there are no more on S3, e.g. {plan.surplus[0]} (see --delete).",
            err=True,
        )


@click.command(epilog=EXIT_CODES, short_help="Delete a batch, and its data if wanted.")
@click.argument("batch")
@click.option("--data", is_flag=True, help="Delete its input, records, outputs and results on S3, too.")
@click.option("--yes", is_flag=True, help="Do not ask before data is deleted.")
@json_option
@click.pass_context
def delete(ctx: click.Context, batch: str, data: bool, yes: bool, as_json: bool) -> None:
    """Delete a batch: its partition, the partitions of its chunks, and with --data all that it has on S3.

    A batch that is in progress is left as it is: cancel it first. Dagster keeps the runs and events; Bedrock keeps its
    list of jobs. Without --data a later batch of the same name goes on with what is there; with it, a batch of the same
    content pays again, but for answers that other batches use: these stay, without the rows. A bucket with versioning
    keeps old versions.
    """
    from rich.filesize import decimal

    from bedrock_batch_assets.client.deletion import delete_batch, plan_deletion

    batches = batches_of(ctx)
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
        print_json(plan.to_json(data_deleted=data))
        return
    left = "deleted" if data else "left on S3"
    if data and plan.kept:
        others = sorted({name for names in plan.kept.values() for name in names})
        click.echo(f"Its answers that other batches use stay, without its rows: {', '.join(others)}.")
    click.echo(
        f"Deleted batch {batch} and {len(plan.chunks)} chunk partitions. Data: {plan.objects} objects, "
        f"{decimal(plan.size)}, {left}."
    )
