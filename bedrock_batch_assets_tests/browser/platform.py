"""The platform that is looked at, with a table on its S3."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedrock_batch_assets.local.local_platform import LocalPlatform
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

KEY = "inputs/topics.csv"
REQUEST = """\
ops:
  {asset}:
    config:
      s3_uri: s3://bedrock-batch-local/inputs/topics.csv
      model_id: anthropic.claude-3-haiku-20240307-v1:0
      prompt_id: {prompt}
      max_records_per_job: 200
"""


def request(asset: str, prompt: str = "joke_about_topic") -> str:
    """What a person writes into the launchpad of an asset."""
    return REQUEST.format(asset=asset, prompt=prompt)


@contextmanager
def platform_with_table(folder: Path, *, rows: int, job_seconds: float, faults: float = 0.0) -> Iterator[LocalPlatform]:
    """Local AWS and Dagster, with a table of so many topics.

    Args:
        folder: For all that it writes.
        rows: Of the table.
        job_seconds: How long a job is in progress.
        faults: The share of records that the service fails.
    """
    seconds = {"Submitted": 1.0, "Validating": 1.0, "Scheduled": 1.0, "InProgress": job_seconds}
    settings = {"seconds": seconds, "record_faults": {"error": faults, "permanent": True}}
    with LocalPlatform(folder, aws_settings=settings) as platform:
        things = ("a lighthouse", "tea", "the tide", "chess", "a violin", "snow", "bread", "an old map")
        lines = "".join(f"{row},{things[row % len(things)]} no. {row}\n" for row in range(rows))
        s3 = LocalAws(platform.aws_url).client("s3")
        s3.put_object(Bucket=platform.bucket, Key=KEY, Body=f"id,topic\n{lines}".encode())
        yield platform
