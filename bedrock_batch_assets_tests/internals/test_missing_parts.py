"""What happens if a library lacks a private part: the platform goes on without the gain, and says so once."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterRunStatus

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.internals import botocore_internals, dagster_internals
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.runs.heartbeat import beat_key, beating, this_process
from bedrock_batch_assets.runs.job_notices import has_finished_notice, post_finished_notices
from bedrock_batch_assets.runs.terminations import is_terminated_by_person
from bedrock_batch_assets.sensors.orphans import end_dead_runs
from bedrock_batch_assets_tests.sensors.test_abandoned_runs import add_backfill

PROJECT = Path(__file__).resolve().parents[2]
ASSET = AssetKey("result_parts")
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"


class Lacking:
    """A thing without some of its attributes."""

    def __init__(self, thing: object, *names: str, **replaced: object) -> None:
        self._thing = thing
        self._names = names
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the thing, unless it is one of those that lack."""
        if name in self._names:
            raise AttributeError(name)
        return getattr(self._thing, name)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(autouse=True)
def nothing_said_before() -> None:
    for module in (dagster_internals, botocore_internals):
        module.PRIVATE_PARTS._said.clear()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages about missing parts."""
    return [record.getMessage() for record in caplog.records if record.name.endswith("private_parts")]


def assert_said_once(caplog: pytest.LogCaptureFixture, part: str) -> None:
    """One message, about this part, with its sentence."""
    (message,) = said(caplog)
    assert f": {part}" in message
    assert message.endswith(dagster_internals.PRIVATE_PARTS[part])


def run_of(script: str) -> "subprocess.CompletedProcess[str]":
    """A script in a process of its own."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux alone")
@pytest.mark.parametrize(
    "change",
    [
        "del server.DagsterApiServer",
        "del server.DagsterApiServer.StartRun",
        "server.DagsterApiServer.StartRun = lambda self, request, context: None",
    ],
)
def test_a_code_server_without_its_process_context_loads(change: str) -> None:
    """Definitions load twice in a code server that is another one, its class stays as it is, and one line says so."""
    done = run_of(
        f"import dagster._grpc.server as server; {change}; "
        "from bedrock_batch_assets.definitions import defs, platform; defs(); platform(); "
        "print(hasattr(getattr(server, 'DagsterApiServer', None), '_mp_ctx'))"
    )
    assert done.stdout.split() == ["False"]
    assert done.stderr.count(dagster_internals.PRIVATE_PARTS["code server's process context"]) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux alone")
def test_a_module_that_cannot_be_preloaded_is_left_to_the_runs() -> None:
    """All others are imported, no error leaves the module, and one line names those that are not."""
    done = run_of("""
import sys

class Broken:
    def find_spec(self, name, path, target=None):
        if name == "dagster._core.storage.local_compute_log_manager":
            raise RuntimeError("broken")

sys.meta_path.insert(0, Broken())
sys.modules["dagster._core.storage.schedules"] = None
import bedrock_batch_assets.runs.preloaded
print("bedrock_batch_assets.records.joining" in sys.modules, "boto3" in sys.modules)
""")
    assert done.stdout.split() == ["True", "True"]
    (line,) = [line for line in done.stderr.splitlines() if "preloaded modules" in line]
    assert "dagster._core.storage.local_compute_log_manager: RuntimeError: broken" in line
    assert "dagster._core.storage.schedules: ModuleNotFoundError" in line
    assert dagster_internals.PRIVATE_PARTS["preloaded modules"] in line


def test_backfills_are_the_same_without_a_filter(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By status, by age and by number, newest first."""
    from dagster._core.execution import backfill
    from dagster._core.execution.backfill import BulkActionStatus

    for name, status in (("a", "FAILED"), ("b", "REQUESTED"), ("c", "FAILED")):
        add_backfill(instance, name, BulkActionStatus(status), number=name)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    questions: list[dict[str, Any]] = [
        {},
        {"is_wanted": lambda status: status == "FAILED"},
        {"is_wanted": lambda status: status == "FAILED", "limit": 1},
        {"created_after": yesterday},
        {"created_after": datetime.now(UTC) + timedelta(hours=1)},
    ]
    expected = [dagster_internals.backfills(instance, **question) for question in questions]
    assert [len(found) for found in expected] == [3, 2, 1, 3, 0]
    monkeypatch.delattr(backfill, "BulkActionsFilter")
    assert [dagster_internals.backfills(instance, **question) for question in questions] == expected
    assert_said_once(caplog, "BulkActionsFilter")


def test_events_are_the_same_without_one_query_for_all(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Versions and ids of the newest events, also if the partitions are too many for one query."""
    monkeypatch.setattr(dagster_internals, "_PARTITIONS_PER_QUERY", 2)
    keys = [f"a-{number:05d}" for number in range(5)]
    for key, version in zip([*keys[:4], keys[0]], ["1", "2", "3", "4", "5"], strict=True):
        tags = {"dagster/data_version": version}
        instance.report_runless_asset_event(AssetMaterialization(ASSET, partition=key, tags=tags))
    instance.report_runless_asset_event(AssetMaterialization(ASSET, partition="b-00000"))
    versions = dagster_internals.latest_data_versions(instance, ASSET, [*keys, "b-00000"])
    assert [versions.get(key) for key in keys] == ["5", "2", "3", "4", None]
    newest = dagster_internals.latest_storage_id(instance, ASSET, keys)
    storage = Lacking(instance.event_log_storage, "get_latest_tags_by_partition")
    other: Any = Lacking(instance, "get_latest_storage_id_by_partition", event_log_storage=storage)
    for _ in range(2):
        assert dagster_internals.latest_data_versions(other, ASSET, [*keys, "b-00000"]) == versions
        assert dagster_internals.latest_storage_id(other, ASSET, keys) == newest
    assert dagster_internals.latest_storage_id(other, ASSET, ["c"]) == 0
    assert len(said(caplog)) == 2


def started_run(instance: dg.DagsterInstance, status: DagsterRunStatus = DagsterRunStatus.STARTED) -> dg.DagsterRun:
    tags = {"bedrock/batch": "demo", "bedrock/partition": "demo-00000"}
    run = dg.DagsterRun(job_name="__ASSET_JOB", status=status, tags=tags)
    instance.run_storage.add_run(run)
    return run


def test_without_heartbeats_no_run_counts_as_dead(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """No run is ended, none fails since it cannot leave a beat, and waiting goes on by polling."""
    run = started_run(instance)
    storage = Lacking(instance.run_storage, "get_cursor_values")
    other: Any = Lacking(instance, run_storage=storage)
    with beating(other, run.run_id):
        assert end_dead_runs(other, time.time() + 1e6) == []
    post_finished_notices(other, [ARN])
    assert not has_finished_notice(other, ARN)
    assert_said_once(caplog, "cursor values")


def test_a_dead_run_that_cannot_be_ended_is_left(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """The sensor goes on, and does not say that it has ended the run."""
    run = started_run(instance)
    # A number that no process has.
    beat = msgspec.json.encode(msgspec.structs.replace(this_process(0.0), pid=2**22 + 1)).decode()
    dagster_internals.write_values(instance, {beat_key(run.run_id): beat})
    other: Any = Lacking(instance, "report_run_failed", "report_run_canceled")
    assert end_dead_runs(other, time.time()) == []
    assert_said_once(caplog, "report_run_failed")
    assert [ended.run_id for ended in end_dead_runs(instance, time.time())] == [run.run_id]


def test_no_values_are_no_statement(instance: dg.DagsterInstance) -> None:
    """Writing nothing asks the database nothing: it would refuse it."""
    dagster_internals.write_values(instance, {})


def test_without_backfills_a_terminated_run_was_terminated_by_a_person(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can say otherwise, and no error replaces the interrupt that asks."""
    run = dg.DagsterRun(
        job_name="__ASSET_JOB", status=DagsterRunStatus.CANCELING, tags={dagster_internals.BACKFILL_ID_TAG: "one"}
    )
    other: Any = Lacking(instance, "get_backfill")
    assert is_terminated_by_person(other, run)
    assert_said_once(caplog, "get_backfills")


def test_what_nothing_replaces_is_one_clear_error(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the sentence of the part, and says which Dagster to install."""
    from dagster._core.definitions.assets.graph import asset_graph_subset

    with pytest.raises(ConfigurationError) as no_backfills:
        dagster_internals.backfills(Lacking(instance, "get_backfills"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as no_instance:
        dagster_internals.instance_of(Lacking(object(), "_instance"))
    monkeypatch.delattr(asset_graph_subset, "AssetGraphSubset")
    with pytest.raises(ConfigurationError) as no_request:
        dagster_internals.asset_backfill([ASSET], chunks, ["demo-00000"], {})
    for error, part in (
        (no_backfills, "get_backfills"),
        (no_instance, "run coordinator's instance"),
        (no_request, "AssetGraphSubset"),
    ):
        assert dagster_internals.PRIVATE_PARTS[part] in str(error.value)
        assert str(error.value).endswith("Install 'dagster>=1.13,<1.14'.")


def test_clients_are_made_without_shared_descriptions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Sessions that cannot share what they read are plain ones, and reading ahead is left out."""
    import botocore.loaders

    botocore_internals._loader.cache_clear()
    monkeypatch.delattr(botocore.loaders, "create_loader")
    for _ in range(2):
        session = botocore_internals.new_session(None, "us-east-1")
        client = session.client("s3", aws_access_key_id="a", aws_secret_access_key="b")
        assert client.meta.region_name == "us-east-1"
        botocore_internals.load_service_models(["s3"])
    assert [message.partition(": ")[2].partition(" (")[0] for message in said(caplog)] == [
        "data_loader",
        "service descriptions",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
