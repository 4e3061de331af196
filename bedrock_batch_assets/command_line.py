"""The command line, `bedrock-batch`. It uses Dagster's webserver, as the UI does, and boto3."""

from typing import NoReturn

import click

from bedrock_batch_assets.client.commands.account import doctor, env, models, prices
from bedrock_batch_assets.client.commands.data import delete, download
from bedrock_batch_assets.client.commands.launching import launch, request_, try_
from bedrock_batch_assets.client.commands.project import init
from bedrock_batch_assets.client.commands.shell import EXIT_CODES, Commands, url_option
from bedrock_batch_assets.client.commands.watching import cancel, status
from bedrock_batch_assets.local.demo import main as demo
from bedrock_batch_assets.local.dev import main as dev


@click.group(
    cls=Commands,
    params=[url_option()],
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="bedrock-batch-assets")
def cli() -> None:
    """Launch, watch, cancel and download Amazon Bedrock batches.

    A batch is one input table, one model and one prompt. Dagster runs it; this command talks to Dagster's webserver,
    and to AWS with the usual environment (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …). The bucket is
    BEDROCK_BATCH_BUCKET. `init`, `dev` and `demo` need no AWS.
    """


for _command in (
    launch,
    try_,
    request_,
    status,
    cancel,
    download,
    delete,
    models,
    prices,
    env,
    doctor,
    init,
    dev,
    demo,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli(prog_name="bedrock-batch")
    raise AssertionError("click exits by itself")


if __name__ == "__main__":
    main()
