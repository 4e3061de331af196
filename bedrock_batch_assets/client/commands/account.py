"""Commands on the account and the platform: `models`, `prices`, `env`, `doctor`."""

from typing import Any

import click

from bedrock_batch_assets.client.commands.shell import (
    EXIT_CODES,
    UNREACHABLE,
    batches_of,
    connection_to,
    console_of,
    json_option,
    print_json,
)


@click.command(epilog=EXIT_CODES, short_help="List the models that a batch can use.")
@click.option("--region", help="AWS Region. Default: the environment's.")
@click.option("--all", "every", is_flag=True, help="Also models that no processor takes.")
@json_option
def models(region: str | None, every: bool, as_json: bool) -> None:
    """List the models, whether you have access, and what to write as model_id.

    The service does not tell in advance whether it runs batches of a model in a Region; that shows when the job is
    created.
    """
    from bedrock_batch_assets.client.models import list_models
    from bedrock_batch_assets.client.tables import models_table
    from bedrock_batch_assets.processors.registry import Processors

    offers = list_models(connection_to(region), Processors(), every=every)
    if as_json:
        print_json([offer.to_json() for offer in offers])
    else:
        console_of().print(models_table(offers))


@click.command(epilog=EXIT_CODES, short_help="Write a price table from AWS's price list.")
@click.option("--region", help="AWS Region of the prices. Default: the environment's.")
@click.option("--output", type=click.File("w", lazy=True), default="-", help="File to write. Default: stdout.")
def prices(region: str | None, output: Any) -> None:
    """Write the prices of your Region as a price table, from AWS's Price List API.

    \b
    bedrock-batch prices --output prices.json
    export BEDROCK_BATCH_PRICES=$PWD/prices.json

    These are list prices: correct the file if your contract has others.
    """  # noqa: D301, since click wants the backspace itself
    from datetime import UTC, datetime

    import msgspec

    from bedrock_batch_assets.cost.price_list import read_prices

    found = read_prices(connection_to(region), datetime.now(UTC).date())
    text = msgspec.json.format(msgspec.json.encode(found.table), indent=2).decode()
    output.write(text + "\n")
    click.echo(f"Prices of {len(found.table.models)} models, {found.table.describe()}", err=True)
    if found.unknown:
        names = sorted(found.unknown)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        click.echo(f"Not among the models of the Region: {', '.join(names[:5])}{more}.", err=True)


@click.command(epilog=EXIT_CODES, short_help="Print the environment of a stack of deploy/data.yaml.")
@click.argument("stack")
@click.option("--region", help="AWS Region of the stack. Default: the environment's.")
@json_option
def env(stack: str, region: str | None, as_json: bool) -> None:
    """Print the environment variables that a CloudFormation stack of deploy/data.yaml stands for.

    \b
    bedrock-batch env bedrock-batch > .env

    Dagster and `make dev` read .env in their folder.
    """  # noqa: D301, since click wants the backspace itself
    from bedrock_batch_assets.client.stack import stack_environment

    variables = stack_environment(stack, connection_to(region))
    if as_json:
        print_json(variables)
    else:
        click.echo("\n".join(f"{name}={value}" for name, value in sorted(variables.items())))


@click.command(epilog=EXIT_CODES, short_help="Check that everything is there that a batch needs.")
@json_option
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

    batches = batches_of(ctx)
    prices = Prices(path=os.environ.get(PRICES_VARIABLE, ""))
    findings = list(Examination(batches.webserver, batches.storage, batches.jobs, prices, Processors()).findings())
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        console_of().print(findings_table(findings))
    if any(finding.state == "problem" for finding in findings):
        ctx.exit(UNREACHABLE)
