"""Ticks while the instance's database is away."""

import functools
from collections.abc import Callable
from typing import ParamSpec

import dagster as dg

from bedrock_batch_assets.runs.database import is_outage

Parameters = ParamSpec("Parameters")
Outcome = dg.SensorResult | dg.SkipReason


def skipping_outages(tick: Callable[Parameters, Outcome]) -> Callable[Parameters, Outcome]:
    """Let a tick end as skipped if the database cannot be used.

    Its cursor stays as it was, so the next tick does all of it again; everything in a tick can be done twice.
    """

    @functools.wraps(tick)
    def skipping(*arguments: Parameters.args, **options: Parameters.kwargs) -> Outcome:
        try:
            return tick(*arguments, **options)
        except Exception as error:
            if not is_outage(error):
                raise
            return dg.SkipReason(f"Dagster's database cannot be used at the moment; the next tick looks again: {error}")

    return skipping
