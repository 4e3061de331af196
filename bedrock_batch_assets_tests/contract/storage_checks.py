"""What is used of Dagster's storages that is not documented."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

from bedrock_batch_assets.internals import storage_internals
from bedrock_batch_assets_tests.contract.registry import checks


@checks("dagster's storages", "storages' methods")
def _storages_methods() -> None:
    made: list[str] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            made.append(call.__name__)
            return call(*arguments, **options)

        return noted

    @dg.asset
    def some(context: dg.AssetExecutionContext) -> None:
        storage_internals.wrap_storage_calls(context.instance, noting)
        storage_internals.wrap_storage_calls(context.instance, lambda _: pytest.fail)
        context.log.info("a line")

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([some], instance=instance).success
        lines = [item.user_message for item in instance.all_logs(instance.get_runs()[0].run_id)]
        assert "a line" in lines
        # All that Dagster itself writes at a run's end goes through what was wrapped.
        assert made.count("store_event") >= 5
        instance.add_run_tags(instance.get_runs()[0].run_id, {"a": "b"})
        assert {"handle_run_event", "add_run_tags", "get_runs"} <= {*made}


@checks("dagster's storages", "step failures")
def _step_failures() -> None:
    @dg.asset
    def failing() -> None:
        raise RuntimeError("outer") from ZeroDivisionError("inner")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
        texts = storage_internals.step_errors(instance, result.run_id)
    assert any(text.startswith("RuntimeError: outer") for text in texts)
    assert texts[-1].startswith("ZeroDivisionError: inner")


@checks("dagster's storages", "errors of storages")
def _errors_of_storages() -> None:
    name = storage_internals.STORAGE_ERRORS[0]
    utils = pytest.importorskip("dagster_postgres.utils", reason="There is no dagster-postgres for this Dagster.")
    error = getattr(utils, name.rpartition(".")[2])
    assert f"{error.__module__}.{error.__qualname__}" == name

    def refused() -> None:
        raise OperationalError("", {}, Exception())

    with pytest.raises(error, match=storage_internals.STORAGE_ERROR_TEXT):
        utils.retry_pg_connection_fn(refused, retry_limit=0)
