"""Dagster for development, kept in the project folder: `make dev`, or `bedrock-batch dev`.

With BEDROCK_BATCH_BUCKET and BEDROCK_BATCH_ROLE_ARN set it works on AWS. With AWS_ENDPOINT_URL set it works on what is
there. Otherwise it starts local AWS, with a bucket, a role and an example table in it.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import yaml
from dotenv import load_dotenv

from bedrock_batch_assets.errors import BatchError
from bedrock_batch_assets.extras import check_instance_settings

# Dagster's own default.
FIRST_PORT = 3000
# The port that stand-ins for AWS commonly use.
FIRST_AWS_PORT = 4566
# Jobs last half a minute, so that people see one waiting.
_AWS_SETTINGS = {"seconds": {"InProgress": 25.0}}
ENVIRONMENT_FILE = "environment.sh"


@click.command("dev", short_help="Run Dagster in this folder, with a local AWS unless AWS is configured.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the UI. Default: 3000, or the next free one.")
def main(port: int | None) -> None:
    """Run Dagster for development, with local AWS unless real AWS is configured, until Ctrl-C.

    Runs and batches are kept in the project folder, in .dagster; those of local AWS in .local_aws.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        _dev(port)
    except BatchError as error:
        click.echo(f"{error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Ended. Runs in progress go on at the next start, with the jobs that they have.", err=True)


def uses_local_aws(environment: Mapping[str, str]) -> bool:
    """Whether local AWS has to be started: neither AWS nor another stand-in is configured."""
    is_configured = environment.get("BEDROCK_BATCH_BUCKET") and environment.get("BEDROCK_BATCH_ROLE_ARN")
    return not (is_configured or environment.get("AWS_ENDPOINT_URL"))


def shell_exports(environment: Mapping[str, str]) -> str:
    """Lines that set, in another shell, what `bedrock-batch` and boto3 need."""
    import shlex

    wanted = {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(("AWS_", "BEDROCK_BATCH_")) or name == "NO_PROXY"
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in wanted.items())


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    # Once is enough: a second one must not cut the ending short, which takes half a minute at most.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _dev(port: int | None) -> None:
    from bedrock_batch_assets.local import local_platform
    from bedrock_batch_assets.local.folder_lock import folder_lock

    instance_file = local_platform.project_file("dagster.yaml")
    # As Dagster does for its own processes; what the environment has counts before the file.
    load_dotenv(instance_file.parent / ".env")
    if uses_local_aws(os.environ):
        local_platform.require_local_aws()
    check_instance_settings(yaml.safe_load(instance_file.read_text()) or {})
    folder = instance_file.parent
    port = port or local_platform.free_port(FIRST_PORT)
    with folder_lock(folder / ".dagster" / "dev.lock", f"http://{local_platform.HOST}:{port}"):
        _run(folder, port)


def _run(folder: Path, port: int) -> None:
    from bedrock_batch_assets.client.webserver import URL_VARIABLE
    from bedrock_batch_assets.local import local_platform
    from bedrock_batch_assets.local.processes import Program

    state = folder / ".local_aws"
    url = f"http://{local_platform.HOST}:{port}"
    programs: list[Program] = []
    is_local = uses_local_aws(os.environ)
    try:
        environment = dict(os.environ)
        aws_url = f"http://{local_platform.HOST}:{local_platform.free_port(FIRST_AWS_PORT)}"
        if is_local:
            environment = local_platform.local_aws_environment(aws_url)
            aws = local_platform.start_local_aws(
                aws_url, state, environment, settings=_AWS_SETTINGS, buckets=[local_platform.BUCKET], data=state
            )
            programs.append(aws)
        # The instance is the one in this folder, whatever DAGSTER_HOME another project has set.
        environment.pop("DAGSTER_HOME", None)
        environment[URL_VARIABLE] = url
        click.echo("Starting Dagster …")
        workspace = folder / "workspace.yaml"
        log = folder / ".dagster" / "dagster.log"
        dagster = local_platform.start_dagster(port, workspace, log=log, environment=environment, directory=folder)
        programs.append(dagster)
        if is_local:
            local_platform.wait_for_local_aws(programs[0], aws_url)
            os.environ.clear()
            os.environ.update(environment)
            from bedrock_batch_assets.local.demo import upload_example

            upload_example(local_platform.BUCKET)
            (state / ENVIRONMENT_FILE).write_text(shell_exports(environment))
        local_platform.wait_for_dagster(dagster, url)
        click.echo(_explanation(url, log, environment, aws_url=aws_url if is_local else None, folder=folder))
        while True:
            for program in programs:
                program.check()
            time.sleep(1)
    finally:
        if programs:
            click.echo("Ending …", err=True)
        for program in reversed(programs):
            program.end(local_platform.END_SECONDS)


def _explanation(url: str, log: Path, environment: Mapping[str, str], *, aws_url: str | None, folder: Path) -> str:
    from bedrock_batch_assets.local.demo import EXAMPLE_KEY, EXAMPLES

    bucket = environment.get("BEDROCK_BATCH_BUCKET", "")
    shown_log = log.relative_to(folder)
    lines = ["", f"Dagster        {url}   (log: {shown_log})"]
    if aws_url is not None:
        lines += [
            f"Local AWS      {aws_url}   (S3 and Bedrock on this machine, kept in .local_aws)",
            f"Bucket         {bucket}, with s3://{bucket}/{EXAMPLE_KEY}",
            f"Other shells   source .local_aws/{ENVIRONMENT_FILE}   sets what bedrock-batch and boto3 need",
        ]
    else:
        where = environment.get("AWS_ENDPOINT_URL") or "AWS"
        lines += [f"AWS            {where}", f"Bucket         {bucket or 'none: set BEDROCK_BATCH_BUCKET'}"]
    example = EXAMPLES[0]
    lines += [
        "",
        f"First batch: {url}/assets/input_dataset → Materialize → add a partition, e.g. demo-run-001 → in the "
        "launchpad:",
        "  ops:",
        "    input_dataset:",
        "      config:",
        f"        model_id: {example.model_id}",
        f"        s3_uri: s3://{bucket or 'YOUR-BUCKET'}/{EXAMPLE_KEY}",
        f"        prompt_id: {example.prompt_id}",
        "→ Materialize. Chunks, jobs (half a minute each) and the table follow by themselves. Ctrl-C ends everything.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
