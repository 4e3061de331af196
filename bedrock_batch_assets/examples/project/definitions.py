"""The code location: the platform with this folder's prompts. Add assets, sensors and resources of your own here."""

from pathlib import Path

import dagster as dg

from bedrock_batch_assets.definitions import platform


@dg.definitions
def defs() -> dg.Definitions:
    """The platform's assets, sensors and resources. `dg.Definitions.merge` adds yours."""
    return platform(prompts=Path(__file__).parent / "prompts")
