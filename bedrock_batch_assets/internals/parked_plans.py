"""The parts of Dagster by which a run goes on in another process: which of its steps are left, and their execution.

Its in-process executor runs all steps again if a run is resumed. These functions plan those that have not succeeded.
"""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals import dagster_parts

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance

_NAMES = {
    "dagster._core.execution.api": ("create_execution_plan", "ExecuteRunWithPlanIterable"),
    "dagster._core.execution.context_creation_job": ("PlanExecutionContextManager",),
    "dagster._core.execution.plan.state": ("KnownExecutionState",),
    "dagster._core.execution.retries": ("RetryMode",),
    "dagster._core.executor.in_process": ("inprocess_execution_iterator", "InProcessExecutor"),
}


def are_available() -> bool:
    """Whether the installed Dagster has these parts. If not, says so once in the log."""
    try:
        for module, names in _NAMES.items():
            for name in names:
                getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        dagster_parts.PRIVATE_PARTS.say_once("plan of a resumed run", error)
        return False
    return True


def will_resume(instance: "DagsterInstance", run_id: str) -> bool:
    """Whether run monitoring gives the run another process if it loses this one."""
    ask = getattr(instance, "run_will_resume", None)
    if ask is None:
        dagster_parts.PRIVATE_PARTS.say_once("plan of a resumed run", "DagsterInstance.run_will_resume")
        return False
    return bool(ask(run_id))


def steps_left(instance: "DagsterInstance", run_id: str, plan: Any) -> "tuple[list[str], set[Any], list[DagsterEvent]]":
    """What is left of a plan, by the run's own events.

    Returns:
        The keys of the steps that have neither succeeded, nor failed, nor been skipped; the outputs that are there; and
        the failures, which decide how the run ends.
    """
    from dagster import DagsterEventType

    wanted = {
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_SKIPPED,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_OUTPUT,
    }
    done: set[str] = set()
    outputs: set[Any] = set()
    failures: list[DagsterEvent] = []
    for entry in instance.all_logs(run_id, of_type=wanted):
        event: Any = entry.dagster_event
        if event.is_step_failure:
            failures.append(event)
        if event.is_successful_output:
            outputs.add(event.event_specific_data.step_output_handle)
        else:
            done.add(event.step_key)
    return [key for key in plan.step_keys_to_execute if key not in done], outputs, failures


def execute_steps(
    executor: Any, context: Any, plan: Any, keys: list[str], outputs: set[Any]
) -> "Iterator[DagsterEvent]":
    """Execute some steps of a run in this process, as Dagster's in-process executor does it for all."""
    from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
    from dagster._core.execution.context_creation_job import PlanExecutionContextManager
    from dagster._core.execution.plan.state import KnownExecutionState
    from dagster._core.executor.in_process import inprocess_execution_iterator

    known = plan.known_state or KnownExecutionState()
    left = create_execution_plan(
        context.job,
        run_config=context.run_config,
        step_keys_to_execute=keys,
        known_state=known._replace(ready_outputs=set(known.ready_outputs) | outputs),
        instance_ref=context.instance.get_ref(),
        tags=context.dagster_run.tags,
        repository_load_data=plan.repository_load_data,
    )
    manager = PlanExecutionContextManager(
        job=context.job,
        retry_mode=context.retry_mode,
        execution_plan=left,
        run_config=context.run_config,
        dagster_run=context.dagster_run,
        instance=context.instance,
        raise_on_error=context.raise_on_error,
        output_capture=context.output_capture,
        step_dependency_config=executor.step_dependency_config,
    )
    return iter(
        ExecuteRunWithPlanIterable(
            execution_plan=left, iterator=inprocess_execution_iterator, execution_context_manager=manager
        )
    )
