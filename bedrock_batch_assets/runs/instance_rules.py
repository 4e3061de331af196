"""What the platform's promises need of a Dagster instance, and what an instance lacks of it.

The number of jobs in flight and "never two runs on one chunk" are settings of the instance, in dagster.yaml. On an
instance with other settings the assets work all the same, and these two promises do not hold. So it is said wherever
people look: in the code server's log when it loads, on each input_dataset, and by `bedrock-batch status`.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals.dagster_internals import code_server_instance
from bedrock_batch_assets.tags import MODEL_TAG, PARTITION_TAG

if TYPE_CHECKING:
    from dagster import DagsterInstance

logger = logging.getLogger(__name__)

COORDINATOR = "BatchRunCoordinator"
_HELP = "Take it over from the dagster.yaml that the platform ships."


def problems_of(coordinators: Sequence[str], limits: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an instance lacks, one sentence each; empty if it lacks nothing.

    Args:
        coordinators: The class of its run coordinator, and the classes that this one extends, by name.
        limits: Its tag concurrency limits, as dagster.yaml has them.
    """
    problems = []
    if COORDINATOR not in coordinators:
        problems.append(
            f"This Dagster instance's run_coordinator is {coordinators[0] if coordinators else 'unknown'} and not "
            f"{COORDINATOR}, so runs wait for no limit of jobs in flight until they have started. {_HELP}"
        )
    limited = {str(limit.get("key")) for limit in limits if _per_value(limit)}
    if MODEL_TAG not in limited:
        problems.append(
            f"This Dagster instance has no tag_concurrency_limits for each value of {MODEL_TAG}, so the number of jobs "
            f"in flight is not limited. {_HELP}"
        )
    if PARTITION_TAG not in limited:
        problems.append(
            f"This Dagster instance has no tag_concurrency_limits for each value of {PARTITION_TAG}, so two runs may "
            f"work on one chunk at a time. {_HELP}"
        )
    return problems


def instance_problems(instance: "DagsterInstance") -> list[str]:
    """What the instance of this process lacks, see `problems_of`."""
    coordinators = [kind.__name__ for kind in type(instance.run_coordinator).__mro__]
    queue = instance.get_concurrency_config().run_queue_config
    return problems_of(coordinators, [] if queue is None else list(queue.tag_concurrency_limits))


@cache
def warn_code_server() -> None:
    """If this process is a code server, log what its instance lacks, once: Dagster loads the definitions twice."""
    found = code_server_instance(sys.argv)
    if found is not None:
        for problem in problems_of(*found):
            logger.warning("%s", problem)


def _per_value(limit: Mapping[str, Any]) -> bool:
    value = limit.get("value")
    return isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))
