"""Notices from the sensor to waiting runs that their jobs have finished, so that the runs look at once.

A notice is a hint and nothing more. A run that gets none finds out by its own polling, and a run that gets one asks the
service.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bedrock_batch_assets.internals import dagster_internals
from bedrock_batch_assets.runs.database import is_outage, without_waiting

if TYPE_CHECKING:
    from dagster import DagsterInstance


def post_finished_notices(instance: "DagsterInstance", arns: Iterable[str]) -> None:
    """Leave a notice that these jobs have finished."""
    if told := {_key(arn): "finished" for arn in arns}:
        dagster_internals.write_values(instance, told)


def has_finished_notice(instance: "DagsterInstance", arn: str) -> bool:
    """Whether there is a notice that the job has finished. One read of the instance's database.

    If the database is busy or away, the answer is no: the run goes on asking the service itself.
    """
    key = _key(arn)
    try:
        with without_waiting():
            return bool(dagster_internals.read_values(instance, {key}).get(key))
    except Exception as error:
        if not is_outage(error):
            raise
        return False


def clear_finished_notice(instance: "DagsterInstance", arn: str) -> None:
    """Forget a notice that came ahead of the service's own answer."""
    dagster_internals.write_values(instance, {_key(arn): ""})


def _key(arn: str) -> str:
    return f"bedrock_batch_finished/{arn.rsplit('/', 1)[-1]}"
