"""Prints the table of docs/deployment.md: `python -m bedrock_batch_assets_tests.hosting [LAUNCHER ...]`."""

import os
import sys
import tempfile
from pathlib import Path

import click

from bedrock_batch_assets_tests.hosting.recoveries import STEPS, instance_for, recover
from bedrock_batch_assets_tests.hosting.services import Services
from bedrock_batch_assets_tests.postgres import Postgres

LAUNCHERS = ("postgres", "ecs", "ecs-parked")
OUTAGE_SECONDS = 20.0
EVENTS = ("kill", "cancel", "outage", "redeploy")


def main() -> None:
    """Let each launcher recover from all events, and print what that took."""
    click.echo("| launcher | " + " | ".join(EVENTS) + " | paid twice |")
    click.echo("| --- " * (len(EVENTS) + 2) + "|")
    for launcher in sys.argv[1:] or LAUNCHERS:
        settings = {"instance": instance_for(launcher), "aws_settings": {"seconds": STEPS}}
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Postgres() as postgres,
            Services(Path(folder, "app"), postgres, launcher, **settings) as services,
        ):
            os.environ.update(services.environment)
            found = recover(services, postgres, outage_seconds=OUTAGE_SECONDS)
        seconds = " | ".join(f"{found.seconds[event]:.0f} s" for event in EVENTS)
        click.echo(f"| {launcher} | {seconds} | {found.paid_twice} |")


if __name__ == "__main__":
    main()
