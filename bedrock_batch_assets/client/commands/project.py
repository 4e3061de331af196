"""The command that makes a project folder: `init`."""

from pathlib import Path

import click

from bedrock_batch_assets.client.commands.shell import EXIT_CODES


@click.command(epilog=EXIT_CODES, short_help="Make a project folder.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a project folder: the Dagster instance, a workspace, prompts of your own, and templates for AWS.

    Nothing that is there is changed. `bedrock-batch dev` runs Dagster in the folder.
    """
    from bedrock_batch_assets.client.project_folder import make_project_folder

    for name in make_project_folder(folder):
        click.echo(f"  {name}")
    click.echo(f"Next: cd {folder} && bedrock-batch dev")
