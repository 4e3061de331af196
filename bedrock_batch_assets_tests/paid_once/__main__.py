"""Print what a table that changes costs: `python -m bedrock_batch_assets_tests.paid_once [ROWS]`."""

import os
import sys
import tempfile
from pathlib import Path

from bedrock_batch_assets_tests.dagster_in_process import in_process_dagster
from bedrock_batch_assets_tests.local_aws_fixture import end_local_aws, start_local_aws
from bedrock_batch_assets_tests.paid_once.table import run


def main() -> int:
    """Run every step; 1 if one of them paid for something else than it had to."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    is_right = True
    with tempfile.TemporaryDirectory() as folder:
        aws = start_local_aws(Path(folder))
        os.environ.update(aws.environment)
        try:
            with in_process_dagster(aws, Path(folder)) as platform:
                for paid in run(platform, rows):
                    row = f"{paid.step.what:40} {paid.records:>8,} paid, {paid.step.expected:>8,} expected"
                    sys.stdout.write(f"{row}{'' if paid.rows_are_right else ', wrong rows'}\n")
                    is_right = is_right and paid.rows_are_right and paid.records == paid.step.expected
        finally:
            end_local_aws(aws)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
