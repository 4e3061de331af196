"""Takes the pictures of the README from the real UI: `make screenshots`."""

import tempfile
from pathlib import Path

import click

from bedrock_batch_assets_tests.browser.person import person_at
from bedrock_batch_assets_tests.browser.platform import platform_with_table, request

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
BATCH = "demo-run-001"


@click.command()
def main() -> None:
    """Run a batch on local AWS, and take pictures of the assets, of the batch in progress and of its result."""
    with (
        tempfile.TemporaryDirectory() as folder,
        platform_with_table(Path(folder), rows=1_000, job_seconds=150.0, faults=0.012) as platform,
        person_at(platform.webserver_url, width=1_280, height=640) as person,
    ):
        person.open_launchpad("input_dataset", BATCH, is_new=True)
        person.fill_in(request("input_dataset"))
        person.materialize()
        click.echo("The batch runs; waiting for half of it …")
        page = f"/assets/input_dataset?view=partitions&partition={BATCH}"
        # The panel changes at each tenth.
        person.read(page, "left at this pace")
        person.picture(FOLDER / "progress.png")
        person.read(f"/assets/result_table?view=partitions&partition={BATCH}", "read_result(")
        person.picture(FOLDER / "result.png")
        person.read("/locations/bedrock_batch_assets/asset-groups/batch_inference/lineage", "result_table")
        person.page.wait_for_timeout(3_000)
        person.picture(FOLDER / "lineage.png")
    for picture in sorted(FOLDER.glob("*.png")):
        click.echo(f"{picture.name}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
