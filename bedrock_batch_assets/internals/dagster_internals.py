"""Every use of what Dagster keeps private or does not document.

Public API would be better, and each part says why it is not enough. `dagster_parts` names each of them with the version
in which it was read, and what is lost without it; `make contract` checks them against any Dagster. Nothing here imports
Dagster before it is called, so that definitions load, and the command line starts, whatever Dagster is installed.

If a part is missing, its function does the same in a slower way or leaves the gain, and says so once in the log of its
process. If there is no other way, it raises ConfigurationError with the part's sentence.
"""

import itertools
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.internals import dagster_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagster import (
        AssetKey,
        DagsterInstance,
        DagsterRun,
        EventLogRecord,
        PartitionsDefinition,
        RunCoordinator,
        RunRequest,
    )

PRIVATE_PARTS = dagster_parts.PRIVATE_PARTS

# Tags that Dagster writes on runs, and on materializations. They are in its database, so they change with a migration
# at most; the contract test compares them with Dagster's own constants.
PARTITION_NAME_TAG = "dagster/partition"
BACKFILL_ID_TAG = "dagster/backfill"
DATA_VERSION_TAG = "dagster/data_version"
# On a run that crashed: "true" if the daemon will start it again; and, once it has, the new run's id.
WILL_RETRY_TAG = "dagster/will_retry"
AUTO_RETRY_RUN_ID_TAG = "dagster/auto_retry_run_id"
# On a run that the daemon started in another's place.
RETRY_NUMBER_TAG = "dagster/retry_number"
RUN_FAILURE_REASON_TAG = "dagster/failure_reason"
# Value of RUN_FAILURE_REASON_TAG if a step raised an error.
STEP_FAILURE = "STEP_FAILURE"
# On a run: its longest run time in seconds (Dagster docs, "Run monitoring").
MAX_RUNTIME_TAGS = frozenset({"dagster/max_runtime", "dagster/max_runtime_seconds"})
# The job that Dagster makes of all assets.
ASSET_JOB = "__ASSET_JOB"

# BulkActionStatus, by its values.
BACKFILL_CANCELED = frozenset({"CANCELING", "CANCELED"})
BACKFILL_GIVEN_UP = frozenset({"FAILING", "FAILED"})
BACKFILL_FAILED = "FAILED"
BACKFILL_REQUESTED = "REQUESTED"
BACKFILL_FINISHED = frozenset({"COMPLETED", "FAILED", "CANCELED", "COMPLETED_SUCCESS", "COMPLETED_FAILED"})

# What a run worker imports of Dagster, with the instance and its storage on SQLite.
PRELOADED_MODULES = (
    "dagster._grpc.impl",
    "dagster._core.execution.api",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.runs",
    "dagster._core.storage.schedules",
    "dagster._core.storage.sqlite_storage",
)

BACKFILL_RETRY_VARIABLE = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"
# SQLite takes 999 values in a query in old versions (sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER).
_PARTITIONS_PER_QUERY = 500
_BACKFILLS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill. Its status is a value of Dagster's BulkActionStatus; `created_at` in seconds since the epoch."""

    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    # Which one it is; two of the same status and tags are alike.
    id: str = field(default="", compare=False)
    created_at: float = field(default=0.0, compare=False)


def backfills(
    instance: "DagsterInstance",
    *,
    is_wanted: "Callable[[str], bool] | None" = None,
    created_after: datetime | None = None,
    limit: int | None = None,
) -> list[Backfill]:
    """Backfills, newest first.

    Args:
        instance: The Dagster instance.
        is_wanted: Which statuses are wanted, e.g. `lambda status: status not in BACKFILL_FINISHED`; None for all.
        created_after: Only those made later.
        limit: At most so many.

    Raises:
        ConfigurationError: This Dagster cannot list its backfills.
    """
    if not hasattr(instance, "get_backfills"):
        raise PRIVATE_PARTS.missing("get_backfills")
    try:
        from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

        statuses = None if is_wanted is None else [status for status in BulkActionStatus if is_wanted(status.value)]
        filters = BulkActionsFilter(statuses=statuses, created_after=created_after)
    except (ImportError, TypeError) as error:
        PRIVATE_PARTS.say_once("BulkActionsFilter", error)
        after = created_after.timestamp() if created_after is not None else 0.0
        found = [_backfill(item) for item in instance.get_backfills() if item.backfill_timestamp > after]
        return [item for item in found if is_wanted is None or is_wanted(item.status)][:limit]
    found = []
    cursor: str | None = None
    # Page by page, since a backfill holds all of its partitions with their states.
    while limit is None or len(found) < limit:
        size = _BACKFILLS_PER_PAGE if limit is None else min(_BACKFILLS_PER_PAGE, limit - len(found))
        page = instance.get_backfills(filters=filters, cursor=cursor, limit=size)
        found += [_backfill(item) for item in page]
        if len(page) < size:
            break
        cursor = page[-1].backfill_id
    return found


def cancel_backfill(instance: "DagsterInstance", backfill: Backfill, tags: Mapping[str, str], description: str) -> bool:
    """Ask for the end of a backfill, as the UI does, with tags and a description that say why.

    The daemon ends its runs within half a minute. False if the backfill is over, or this Dagster cannot.
    """
    try:
        from dagster._core.execution.backfill import BulkActionStatus

        item = instance.get_backfill(backfill.id)
        if item is None or item.status is not BulkActionStatus.REQUESTED:
            return False
        changed = item._replace(status=BulkActionStatus.CANCELING, tags={**item.tags, **tags}, description=description)
        instance.update_backfill(changed)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        PRIVATE_PARTS.say_once("update_backfill", error)
        return False
    return True


def find_backfill(instance: "DagsterInstance", run: "DagsterRun") -> Backfill | None:
    """The backfill that the run is part of, or None if it is part of none."""
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    if backfill_id is None:
        return None
    if not hasattr(instance, "get_backfill"):
        # The caller may be handling an interrupt, which no error may replace.
        PRIVATE_PARTS.say_once("get_backfills")
        return None
    found = instance.get_backfill(backfill_id)
    return None if found is None else _backfill(found)


def _backfill(item: Any) -> Backfill:
    return Backfill(
        status=str(item.status.value),
        tags=dict(item.tags or {}),
        id=item.backfill_id,
        created_at=item.backfill_timestamp,
    )


def asset_backfill(
    assets: Iterable["AssetKey"],
    definition: "PartitionsDefinition[str]",
    partitions: Iterable[str],
    tags: Mapping[str, str],
) -> "RunRequest":
    """A request for ONE asset backfill, which Dagster's own automation sensor makes in the same way.

    Args:
        assets: The assets.
        definition: Their partitions definition.
        partitions: Keys of the partitions that are wanted.
        tags: Tags of the backfill and of each of its runs.

    Raises:
        ConfigurationError: This Dagster takes no such request from a sensor.
    """
    from dagster import RunRequest

    try:
        from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset

        subset = definition.empty_subset().with_partition_keys(partitions)
        graph_subset = AssetGraphSubset(  # type: ignore[call-arg]  # a record class: type checkers see no fields
            non_partitioned_asset_keys=set(), partitions_subsets_by_asset_key=dict.fromkeys(assets, subset)
        )
        return RunRequest.for_asset_graph_subset(graph_subset, tags=dict(tags))
    except (ImportError, AttributeError, TypeError) as error:
        raise PRIVATE_PARTS.missing("AssetGraphSubset", error) from error


def latest_data_versions(
    instance: "DagsterInstance", asset: "AssetKey", partitions: Sequence[str] | None
) -> dict[str, str]:
    """The data version of the latest materialization of each partition that has one: one query for all.

    With None, those of all partitions that there ever were.
    """
    from dagster import DagsterEventType

    read = getattr(instance.event_log_storage, "get_latest_tags_by_partition", None)
    if read is not None:
        tags = read(asset, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=partitions)
        return {key: values[DATA_VERSION_TAG] for key, values in tags.items() if DATA_VERSION_TAG in values}
    PRIVATE_PARTS.say_once("get_latest_tags_by_partition")
    found: dict[str, str] = {}
    for partition, record in _newest_materializations(instance, asset, partitions):
        materialization = record.asset_materialization
        version = (materialization.tags or {}).get(DATA_VERSION_TAG) if materialization is not None else None
        if version is not None:
            found[partition] = version
    return found


def latest_storage_id(instance: "DagsterInstance", asset: "AssetKey", partitions: Collection[str]) -> int:
    """The id of the newest materialization of any of the partitions, 0 if there is none."""
    from dagster import AssetRecordsFilter

    if hasattr(instance, "get_latest_storage_id_by_partition"):
        return max(latest_storage_ids(instance, asset, partitions).values(), default=0)
    PRIVATE_PARTS.say_once("get_latest_storage_id_by_partition")
    keys, newest = list(partitions), 0
    for first in range(0, len(keys), _PARTITIONS_PER_QUERY):
        wanted = AssetRecordsFilter(asset_key=asset, asset_partitions=keys[first : first + _PARTITIONS_PER_QUERY])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            newest = max(newest, record.storage_id)
    return newest


def latest_storage_ids(
    instance: "DagsterInstance", asset: "AssetKey", partitions: Collection[str] | None
) -> Mapping[str, int]:
    """The id of the newest materialization of each partition that has one; with None, of all that there ever were."""
    from dagster import DagsterEventType

    if partitions is not None and not partitions:
        # Dagster takes an empty set for all partitions.
        return {}
    read = getattr(instance, "get_latest_storage_id_by_partition", None)
    if read is not None:
        wanted = None if partitions is None else set(partitions)
        found: Mapping[str, int] = read(asset, DagsterEventType.ASSET_MATERIALIZATION, wanted)
        return found
    PRIVATE_PARTS.say_once("get_latest_storage_id_by_partition")
    return {key: record.storage_id for key, record in _newest_materializations(instance, asset, partitions)}


def _newest_materializations(
    instance: "DagsterInstance", asset: "AssetKey", partitions: Collection[str] | None
) -> "Iterator[tuple[str, EventLogRecord]]":
    """The newest materialization of each partition that has one, by public means: a query for each partition."""
    from dagster import AssetRecordsFilter

    for partition in instance.get_materialized_partitions(asset) if partitions is None else partitions:
        wanted = AssetRecordsFilter(asset_key=asset, asset_partitions=[partition])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            yield partition, record


def planned_assets(instance: "DagsterInstance", run: "DagsterRun") -> frozenset[str]:
    """The names of the assets in a run's plan: a job's run and an in-process one select none themselves."""
    snapshot_id = getattr(run, "execution_plan_snapshot_id", None)
    read = getattr(instance, "get_execution_plan_snapshot", None)
    if snapshot_id is None or read is None:
        if read is None:
            PRIVATE_PARTS.say_once("get_execution_plan_snapshot")
        return frozenset()
    outputs = (output.properties for step in read(snapshot_id).steps for output in step.outputs)
    keys = (getattr(properties, "asset_key", None) for properties in outputs)
    return frozenset(key.to_user_string() for key in keys if key is not None)


def keeps_values(instance: "DagsterInstance") -> bool:
    """Whether the instance has the small key-value store of `read_values` and `write_values`."""
    storage = instance.run_storage
    if hasattr(storage, "get_cursor_values") and hasattr(storage, "set_cursor_values"):
        return True
    PRIVATE_PARTS.say_once("cursor values")
    return False


def read_values(instance: "DagsterInstance", keys: Collection[str]) -> dict[str, str]:
    """Read values from the small key-value store that every Dagster storage has; missing keys are left out.

    At most some hundred keys at once: databases limit the values in a query.
    """
    return dict(instance.run_storage.get_cursor_values(set(keys))) if keeps_values(instance) else {}


def write_values(instance: "DagsterInstance", values: Mapping[str, str]) -> None:
    """Write some values. No event is logged for it."""
    # Without values the SQL statement would be invalid.
    if values and keeps_values(instance):
        instance.run_storage.set_cursor_values(dict(values))


def end_run(instance: "DagsterInstance", run: "DagsterRun", message: str, *, canceled: bool) -> bool:
    """Write down that a run whose process is gone has failed, or was cancelled. False if this Dagster cannot."""
    report = getattr(instance, "report_run_canceled" if canceled else "report_run_failed", None)
    if report is None:
        PRIVATE_PARTS.say_once("report_run_failed")
        return False
    report(run, message=message)
    return True


def cancel_queued_run(instance: "DagsterInstance", run: "DagsterRun", message: str) -> bool:
    """Cancel a run that has no process yet, as Dagster itself does when a backfill is cancelled. False if it cannot."""
    canceling, canceled = (getattr(instance, f"report_run_{name}", None) for name in ("canceling", "canceled"))
    if canceling is None or canceled is None:
        PRIVATE_PARTS.say_once("report_run_failed")
        return False
    canceling(run, message=message)
    canceled(run)
    return True


def instance_of(coordinator: "RunCoordinator") -> "DagsterInstance":
    """The instance that a run coordinator belongs to."""
    try:
        instance: DagsterInstance = coordinator._instance
    except AttributeError as error:
        raise PRIVATE_PARTS.missing("run coordinator's instance", error) from error
    return instance


def let_backfills_wait_for_code_servers() -> None:
    """Let backfills wait while the code server restarts. Dagster's backfill daemon has no other setting for it."""
    os.environ.setdefault(BACKFILL_RETRY_VARIABLE, "1")


def set_worker_context(make_context: "Callable[[], BaseContext]") -> bool:
    """If this process is a code server, make it start its run workers in a context of ours. False if it cannot.

    The server sets an attribute to the "spawn" context when it starts, before it loads any definitions. A property of
    its class comes first all the same.
    """
    server = sys.modules.get("dagster._grpc.server")
    if server is None:
        return False
    start_run = getattr(getattr(server, "DagsterApiServer", None), "StartRun", None)
    if "_mp_ctx" not in getattr(getattr(start_run, "__code__", None), "co_names", ()):
        PRIVATE_PARTS.say_once("code server's process context")
        return False
    server.DagsterApiServer._mp_ctx = property(lambda _: make_context(), _ignore)
    return True


def code_server_instance(arguments: Sequence[str]) -> "tuple[list[str], list[Mapping[str, Any]]] | None":
    """The run coordinator and the tag concurrency limits of the instance that a code server was started for.

    They are read from the server's command line, or from DAGSTER_HOME. No instance is opened, so a database that is
    away does not hinder the definitions from loading.

    Args:
        arguments: The command line of this process, as in `sys.argv`.

    Returns:
        The names of the coordinator's class and of those that it extends, and the limits as dagster.yaml has them.
        None if this process is no code server, or if it was not told its instance.
    """
    if list(arguments[1:3]) != ["api", "grpc"]:
        return None
    try:
        from dagster._core.instance.ref import InstanceRef
        from dagster._serdes import deserialize_value

        given = dict(itertools.pairwise(arguments)).get("--instance-ref")
        if given is not None:
            ref = deserialize_value(given, InstanceRef)
        elif os.environ.get("DAGSTER_HOME"):
            ref = InstanceRef.from_dir(os.environ["DAGSTER_HOME"])
        else:
            return None
        coordinator = ref.run_coordinator
        concurrency: Any = ref.settings.get("concurrency") or {}
        limits = concurrency.get("runs", {}).get("tag_concurrency_limits")
        if limits is None:
            # As Dagster does it, and as it was written before Dagster 1.10: in the coordinator's own settings.
            queue = getattr(coordinator, "get_run_queue_config", lambda: None)()
            limits = [] if queue is None else queue.tag_concurrency_limits
        return [kind.__name__ for kind in type(coordinator).__mro__], list(limits)
    except Exception as error:  # noqa: BLE001  # whatever it is, the definitions load without this warning
        PRIVATE_PARTS.say_once("code server's instance", error)
        return None


def launcher_settings(instance: "DagsterInstance") -> "tuple[str, Mapping[str, Any]] | None":
    """The class of the instance's run launcher and its settings, as dagster.yaml has them; None if it names none.

    The launcher itself is not made: in a run's process that would cost clients of AWS and their memory.
    """
    import yaml

    try:
        data: Any = instance.get_ref().run_launcher_data
        return None if data is None else (data.class_name, yaml.safe_load(data.config_yaml) or {})
    except Exception as error:  # noqa: BLE001  # an instance of tests has no reference, and then no launcher that parks
        PRIVATE_PARTS.say_once("launcher's settings", error)
        return None


def _ignore(server: Any, context: BaseContext) -> None:
    del server, context
