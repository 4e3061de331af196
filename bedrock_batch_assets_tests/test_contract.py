"""The contract with Dagster, botocore and moto: their private parts that are used work as they did when they were read.

A part that does not fails with the sentence that says what is lost without it. Run it against other versions in an
environment of its own: `make contract DAGSTER=1.13.29`.
"""

import ast
import importlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import ClientError
from dagster import AssetKey, AssetMaterialization
from sqlalchemy.exc import OperationalError

from bedrock_batch_assets.client import documents
from bedrock_batch_assets.internals import botocore_internals, dagster_internals, storage_internals
from bedrock_batch_assets.partitions import chunks
from bedrock_batch_assets.run_coordinator import BatchRunCoordinator

PROJECT = Path(__file__).resolve().parents[1]
LIBRARIES = {
    "dagster": "bedrock_batch_assets.internals.dagster_internals",
    "dagster's storages": "bedrock_batch_assets.internals.storage_internals",
    "botocore": "bedrock_batch_assets.internals.botocore_internals",
    "moto": "bedrock_batch_assets.local_aws.moto_internals",
    "botocore in local AWS": "bedrock_batch_assets.local_aws.botocore_internals",
}
_ASSET = AssetKey("result_parts")
_JOB_RUN = {"bedrock/batch": "demo"}
_CHECKS: dict[tuple[str, str], Callable[[], None]] = {}


def checks(library: str, part: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Make a function the check of one part."""

    def add(check: Callable[[], None]) -> Callable[[], None]:
        _CHECKS[library, part] = check
        return check

    return add


def sentences(library: str) -> Mapping[str, str]:
    """The sentence of each private part, from the source: if a library changed, a module may not be importable."""
    source = (PROJECT / (LIBRARIES[library].replace(".", "/") + ".py")).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "PRIVATE_PARTS" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            value = node.value.args[-1] if isinstance(node.value, ast.Call) else node.value
            found: dict[str, str] = ast.literal_eval(value) if value is not None else {}
            return found
    raise AssertionError(f"{LIBRARIES[library]} has no PRIVATE_PARTS")


ALL_PARTS = [(library, part) for library in LIBRARIES for part in sentences(library)]


@pytest.fixture(autouse=True)
def nothing_is_said(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if a part was missing, and what was asked of it was done without it."""
    with caplog.at_level(logging.WARNING, "bedrock_batch_assets.internals.private_parts"):
        for module in (dagster_internals, storage_internals, botocore_internals):
            module.PRIVATE_PARTS._said.clear()
        yield
    assert [record.getMessage() for record in caplog.records if "private_parts" in record.name] == []


@pytest.mark.parametrize(("library", "part"), ALL_PARTS)
def test_private_part(library: str, part: str) -> None:
    """The part is there, and does what it is used for."""
    try:
        _CHECKS[library, part]()
    except Exception as error:  # noqa: BLE001  # a part that changed fails in any way
        pytest.fail(
            f"{library}, {part}: {sentences(library)[part]}\n  Found: {type(error).__name__}: {error}", pytrace=False
        )


def test_each_part_has_a_check_and_a_sentence_of_use() -> None:
    """No part is without a check, no check without a part; each sentence says where it was read, and what is lost."""
    assert sorted(_CHECKS) == sorted(ALL_PARTS)
    for library, part in ALL_PARTS:
        sentence = sentences(library)[part]
        assert sentence.startswith("Read in "), part
        assert re.search(r"\bwithout ", sentence, re.IGNORECASE), part


# Dagster


def _events(instance: dg.DagsterInstance) -> None:
    for partition, version in (("a-00000", "old"), ("a-00001", "one"), ("a-00000", "new")):
        tags = {"dagster/data_version": version}
        instance.report_runless_asset_event(AssetMaterialization(_ASSET, partition=partition, tags=tags))


def _add_backfill(instance: dg.DagsterInstance, name: str, status: str, age: timedelta = timedelta()) -> None:
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    backfill: Any = PartitionBackfill(
        backfill_id=name,
        status=BulkActionStatus(status),
        from_failure=False,
        tags={"bedrock/batch": name},
        backfill_timestamp=time.time() - age.total_seconds(),
        asset_selection=[],
    )
    instance.add_backfill(backfill)


def _run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name=dagster_internals.ASSET_JOB, status=status, tags={**_JOB_RUN, **tags})
    instance.run_storage.add_run(run)
    return run


@checks("dagster", "run tags")
def _run_tags() -> None:
    from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
    from dagster._core.definitions.data_version import DATA_VERSION_TAG
    from dagster._core.events import RunFailureReason
    from dagster._core.storage import tags

    assert dagster_internals.PARTITION_NAME_TAG == tags.PARTITION_NAME_TAG
    assert dagster_internals.BACKFILL_ID_TAG == tags.BACKFILL_ID_TAG
    assert dagster_internals.WILL_RETRY_TAG == tags.WILL_RETRY_TAG
    assert dagster_internals.AUTO_RETRY_RUN_ID_TAG == tags.AUTO_RETRY_RUN_ID_TAG
    assert dagster_internals.RETRY_NUMBER_TAG == tags.RETRY_NUMBER_TAG
    assert dagster_internals.RUN_FAILURE_REASON_TAG == tags.RUN_FAILURE_REASON_TAG
    assert dagster_internals.DATA_VERSION_TAG == DATA_VERSION_TAG
    assert RunFailureReason.STEP_FAILURE.value == dagster_internals.STEP_FAILURE
    assert dagster_internals.ASSET_JOB == IMPLICIT_ASSET_JOB_NAME


@checks("dagster", "backfill statuses")
def _backfill_statuses() -> None:
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

    known = {status.value for status in BulkActionStatus}
    finished = {status.value for status in BULK_ACTION_TERMINAL_STATUSES}
    assert finished == dagster_internals.BACKFILL_FINISHED
    assert known >= dagster_internals.BACKFILL_CANCELED | dagster_internals.BACKFILL_GIVEN_UP
    # A status that is new has a meaning that nobody has thought about.
    assert known - finished == {dagster_internals.BACKFILL_REQUESTED, "CANCELING", "FAILING"}


@checks("dagster", "get_backfills")
def _get_backfills() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _add_backfill(instance, "one", "CANCELED")
        run = _run(instance, dg.DagsterRunStatus.STARTED, **{dagster_internals.BACKFILL_ID_TAG: "one"})
        wanted = dagster_internals.Backfill("CANCELED", {"bedrock/batch": "one"})
        assert dagster_internals.backfills(instance) == [wanted]
        assert dagster_internals.find_backfill(instance, run) == wanted


@checks("dagster", "update_backfill")
def _update_backfill() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _add_backfill(instance, "one", "REQUESTED")
        _add_backfill(instance, "over", "COMPLETED_SUCCESS")
        over, one = dagster_internals.backfills(instance)
        assert (one.id, one.created_at > over.created_at - 60.0) == ("one", True)
        assert dagster_internals.cancel_backfill(instance, one, {"why": "so"}, "A reason.")
        assert not dagster_internals.cancel_backfill(instance, over, {}, "")
        changed = instance.get_backfill("one")
        assert changed is not None
        assert (changed.status.value, changed.description) == ("CANCELING", "A reason.")
        assert changed.tags == {"bedrock/batch": "one", "why": "so"}


@checks("dagster", "get_execution_plan_snapshot")
def _get_execution_plan_snapshot() -> None:
    @dg.asset
    def some_asset() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([some_asset], instance=instance)
        (run,) = instance.get_runs()
        assert not run.asset_selection
        assert dagster_internals.planned_assets(instance, run) == {"some_asset"}


@checks("dagster", "BulkActionsFilter")
def _bulk_actions_filter() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for name, status in (("old", "REQUESTED"), ("new", "REQUESTED"), ("over", "COMPLETED_SUCCESS")):
            _add_backfill(instance, name, status, timedelta(days=2) if name == "old" else timedelta())
        since = datetime.now(UTC) - timedelta(days=1)
        found = dagster_internals.backfills(
            instance, is_wanted=lambda status: status not in dagster_internals.BACKFILL_FINISHED, created_after=since
        )
        assert [backfill.tags["bedrock/batch"] for backfill in found] == ["new"]


@checks("dagster", "AssetGraphSubset")
def _asset_graph_subset() -> None:
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster_shared.serdes import deserialize_value, serialize_value

    keys = ["a-00000", "a-00001"]
    request = dagster_internals.asset_backfill([_ASSET], chunks, keys, _JOB_RUN)
    # It goes from the code server to the daemon as text, and the daemon makes a backfill of it.
    received = deserialize_value(serialize_value(request), dg.RunRequest)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("chunks", keys)
        assert received.asset_graph_subset is not None
        backfill = PartitionBackfill.from_asset_graph_subset(
            backfill_id="one",
            backfill_timestamp=time.time(),
            tags=received.tags,
            dynamic_partitions_store=instance,
            asset_graph_subset=received.asset_graph_subset,
            title=None,
            description=None,
            run_config=None,
        )
        assert backfill.asset_selection == [_ASSET]
        assert backfill.tags == _JOB_RUN
        data = backfill.asset_backfill_data
        assert data is not None
        assert set(data.target_subset.get_partitions_subset(_ASSET).get_partition_keys()) == set(keys)


@checks("dagster", "get_latest_tags_by_partition")
def _latest_tags() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _events(instance)
        found = dagster_internals.latest_data_versions(instance, _ASSET, ["a-00000", "a-00001", "a-00002"])
        assert found == {"a-00000": "new", "a-00001": "one"}


@checks("dagster", "get_latest_storage_id_by_partition")
def _latest_storage_ids() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _events(instance)
        all_of_them = dagster_internals.latest_storage_id(instance, _ASSET, {"a-00000", "a-00001"})
        assert all_of_them > dagster_internals.latest_storage_id(instance, _ASSET, {"a-00001"}) > 0
        assert dagster_internals.latest_storage_id(instance, _ASSET, {"a-00002"}) == 0


@checks("dagster", "cursor values")
def _cursor_values() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dagster_internals.write_values(instance, {"one": "1", "two": "2"})
        dagster_internals.write_values(instance, {"two": "3"})
        assert dagster_internals.read_values(instance, {"one", "two", "three"}) == {"one": "1", "two": "3"}


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


@checks("dagster", "report_run_failed")
def _report_run_failed() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for before, after in (("STARTED", "FAILURE"), ("CANCELING", "CANCELED")):
            run = _run(instance, dg.DagsterRunStatus(before))
            assert dagster_internals.end_run(instance, run, "It is gone.", canceled=after == "CANCELED")
            ended = instance.get_run_by_id(run.run_id)
            assert ended is not None
            assert ended.status.value == after


@checks("dagster", "run coordinator's instance")
def _coordinators_instance() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        coordinator = BatchRunCoordinator()
        coordinator.register_instance(instance)
        assert dagster_internals.instance_of(coordinator) is instance


@checks("dagster", "get_runs and add_run_tags")
def _get_runs() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = _run(instance, dg.DagsterRunStatus.STARTED)
        _run(instance, dg.DagsterRunStatus.FAILURE)
        instance.add_run_tags(run.run_id, {"bedrock/job": "family"})
        wanted = dg.RunsFilter(tags={"bedrock/job": "family"}, statuses=[dg.DagsterRunStatus.STARTED])
        assert [found.run_id for found in instance.get_runs(filters=wanted, limit=1)] == [run.run_id]


@checks("dagster", "code server's process context")
def _process_context() -> None:
    from multiprocessing import get_context

    from dagster._grpc.server import DagsterApiServer

    before = DagsterApiServer.__dict__.get("_mp_ctx")
    try:
        assert dagster_internals.set_worker_context(lambda: get_context("forkserver"))
        server: Any = object.__new__(DagsterApiServer)
        # As the server's own constructor does.
        server._mp_ctx = get_context("spawn")
        assert server._mp_ctx.get_start_method() == "forkserver"
    finally:
        if before is None:
            delattr(DagsterApiServer, "_mp_ctx")
        else:
            DagsterApiServer._mp_ctx = before
    assert {"_mp_ctx", "Process"} <= set(DagsterApiServer.StartRun.__code__.co_names)


@checks("dagster", "preloaded modules")
def _preloaded_modules() -> None:
    for module in dagster_internals.PRELOADED_MODULES:
        importlib.import_module(module)


@checks("dagster", "classes in dagster.yaml")
def _classes_in_dagster_yaml() -> None:
    settings: dict[str, Any] = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    for name in ("local_artifact_storage", "compute_logs", "run_coordinator"):
        assert hasattr(importlib.import_module(settings[name]["module"]), settings[name]["class"]), name


@checks("dagster", "GraphQL documents")
def _graphql_documents() -> None:
    pytest.importorskip("dagster_graphql", reason="there is no dagster-graphql for this Dagster")
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    texts = {name: text for name, text in vars(documents).items() if name.isupper() and name != "RUN_FIELDS"}
    assert texts
    found = {name: [str(error) for error in validate(schema, parse(text))] for name, text in texts.items()}
    assert {name: errors for name, errors in found.items() if errors} == {}


@checks("dagster", "backfill retry variable")
def _backfill_retry_variable() -> None:
    from dagster._core.execution import asset_backfill

    def constants(code: CodeType) -> set[Any]:
        inner = [item for item in code.co_consts if isinstance(item, CodeType)]
        return {item for item in code.co_consts if isinstance(item, str)}.union(*map(constants, inner))

    source = Path(asset_backfill.__file__ or "").read_text(encoding="utf-8")
    assert dagster_internals.BACKFILL_RETRY_VARIABLE in constants(compile(source, "asset_backfill.py", "exec"))


# botocore


@checks("botocore", "data_loader")
def _data_loader() -> None:
    one, other = (botocore_internals.new_session(None, "us-east-1") for _ in range(2))
    loaders = {id(session._session.get_component("data_loader")) for session in (one, other)}
    assert len(loaders) == 1


@checks("botocore", "service descriptions")
def _service_descriptions() -> None:
    from botocore.loaders import JSONFileLoader

    read: list[str] = []
    load = JSONFileLoader.load_file

    def counted(self: JSONFileLoader, path: str) -> object:
        found = load(self, path)
        read.extend([path] if found is not None else [])
        return found

    botocore_internals.load_service_models(("s3", "bedrock"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", counted)
        for service in ("s3", "bedrock"):
            session: Any = botocore_internals.new_session(None, "us-east-1")
            session.client(service, aws_access_key_id="a", aws_secret_access_key="b")
    assert read == []


class _Keys(Credentials):
    """Credentials that are others each time that they are asked for."""

    def __init__(self) -> None:
        super().__init__("none", "secret")
        self.asked = 0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.asked += 1
        return ReadOnlyCredentials(f"key{self.asked}", "secret", None, None)


def _refused_twice(keys: Credentials) -> tuple[Any, list[str]]:
    """An S3 client whose first two requests are refused without any network, and the keys that signed its requests."""
    session: Any = botocore_internals.new_session(None, "us-east-1", keys)
    client = session.client("s3")
    signed: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        signed.append(re.findall(r"Credential=(\w+)", str(request.headers["Authorization"]))[0])
        body = b"<Error><Code>ExpiredToken</Code></Error>" if len(signed) <= 2 else b"<ListBucketResult/>"
        raw = SimpleNamespace(stream=lambda: iter([body]))
        headers: Any = HeadersDict()
        return AWSResponse(request.url, 400 if len(signed) <= 2 else 200, headers, raw)

    client.meta.events.register("before-send", answer)
    return client, signed


@checks("botocore", "credential_provider")
def _credential_provider() -> None:
    keys = _Keys()
    client, signed = _refused_twice(keys)
    with pytest.raises(ClientError):
        client.list_objects_v2(Bucket="data")
    assert signed == ["key1"]


@checks("botocore", "needs-retry")
def _needs_retry() -> None:
    client, signed = _refused_twice(_Keys())
    seen: list[tuple[str, str]] = []

    def look(answer: dict[str, Any], operation: Any, context: dict[str, Any]) -> bool:
        code = answer.get("Error", {}).get("Code", "")
        context["count"] = context.get("count", 0) + 1
        seen.append((operation.name, code))
        assert context["count"] == len(seen)
        return bool(code == "ExpiredToken")

    botocore_internals.look_at_answers(client, look)
    client.list_objects_v2(Bucket="data")
    assert signed == ["key1", "key2", "key3"]
    assert seen == [("ListObjectsV2", "ExpiredToken"), ("ListObjectsV2", "ExpiredToken"), ("ListObjectsV2", "")]


# The stand-in for AWS


def _module(library: str) -> Any:
    pytest.importorskip("moto", reason="moto is not installed")
    module: ModuleType = importlib.import_module(LIBRARIES[library])
    return module


def _moto() -> Any:
    moto = _module("moto")
    moto.reset()
    return moto


@checks("moto", "account")
def _account() -> None:
    from moto.core.models import DEFAULT_ACCOUNT_ID

    assert _moto().ACCOUNT_ID == DEFAULT_ACCOUNT_ID


@checks("moto", "werkzeug_app")
def _werkzeug_app() -> None:
    moto = _moto()
    from werkzeug.test import Client

    moto.create_bucket("some-bucket", "us-east-1")
    scope = "Credential=a/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=b"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}", "Host": "localhost"}
    for app in (moto.application("s3"), moto.application_for_all()):
        answer = Client(app).get("/some-bucket", headers=headers)
        assert (answer.status_code, b"ListBucketResult" in answer.data) == (200, True)
    assert callable(moto.RequestHandler.make_environ)


@checks("moto", "moto_api_backend")
def _moto_api_backend() -> None:
    moto = _moto()
    moto.create_bucket("some-bucket", "us-east-1")
    moto.reset()
    assert not moto.has_bucket("some-bucket")


@checks("moto", "s3_backends")
def _s3_backends() -> None:
    moto = _moto()
    for _ in range(2):
        moto.create_bucket("some-bucket", "eu-west-1")
    assert list(moto.buckets()) == [("some-bucket", "eu-west-1")]
    moto.write_object("some-bucket", "folder/one", b"123", {"Content-Type": "text/csv"})
    assert moto.object_size("some-bucket", "folder/one") == 3
    assert moto.object_size("some-bucket", "folder") is None
    assert list(moto.object_sizes("some-bucket", "folder/")) == [("folder/one", 3)]
    assert moto.read_object("some-bucket", "folder/one") == b"123"
    assert moto.read_object("some-bucket", "folder/two") is None
    value, metadata = moto.contents("some-bucket")["folder/one"]
    assert value == b"123"
    assert "text/csv" in metadata.values()


@checks("moto", "versions of keys")
def _versions_of_keys() -> None:
    moto = _moto()
    moto.create_bucket("some-bucket", "us-east-1")
    for value in (b"1", b"22"):
        moto.write_object("some-bucket", "one", value, None)
    versions = moto.versions("some-bucket")
    assert isinstance(versions, dict)
    (current,) = [items[-1] for _, items in dict.items(versions)]
    assert (current.contentsize, current.storage_class) == (2, "STANDARD")
    assert current.etag
    assert isinstance(current.last_modified, datetime)


@checks("moto", "iam_backends")
def _iam_backends() -> None:
    moto = _moto()
    arn = f"arn:aws:iam::{moto.ACCOUNT_ID}:role/some-role"
    assert moto.trust_policy(arn) is None
    moto.create_role("some-role", '{"Version": "2012-10-17"}')
    assert "2012-10-17" in (moto.trust_policy(arn) or "")


def _clients() -> tuple[Any, Any]:
    import boto3

    names = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("events", **names), boto3.client("sqs", **names)  # type: ignore[call-overload]


@checks("moto", "sqs_backends")
def _sqs_backends() -> None:
    moto = _moto()
    from moto import mock_aws

    with mock_aws():
        _, sqs = _clients()
        url = sqs.create_queue(QueueName="some-queue")["QueueUrl"]
        moto.send_to_queue(f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:some-queue", "body", None)
        assert [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]] == ["body"]
        with pytest.raises(moto.RefusedError):
            moto.send_to_queue(f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:no-queue", "body", None)


@checks("moto", "events_backends")
def _events_backends() -> None:
    moto = _moto()
    from moto import mock_aws

    with mock_aws():
        events, sqs = _clients()
        url = sqs.create_queue(QueueName="some-queue")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{moto.ACCOUNT_ID}:some-queue"
        for name, source in (("one", "aws.bedrock"), ("two", "aws.other")):
            events.put_rule(Name=name, EventPattern=f'{{"source": ["{source}"]}}')
            target = {"Id": "1", "Arn": arn, "InputTransformer": {"InputTemplate": '"changed"'}}
            events.put_targets(Rule=name, Targets=[target])
        event = {"id": "1", "source": "aws.bedrock", "detail-type": "changed", "region": "us-east-1", "detail": {}}
        event |= {"account": moto.ACCOUNT_ID, "time": "", "resources": [], "version": "0"}
        (rule,) = moto.matching_rules("us-east-1", event)
        assert rule.name == "one"
        moto.send_to_targets(rule, rule.targets, event)
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


@checks("botocore in local AWS", "service models")
def _service_models() -> None:
    model = _module("botocore in local AWS").service_model("bedrock")
    assert "CreateModelInvocationJob" in model.operation_names
    operation = model.operation_model("CreateModelInvocationJob")
    assert (operation.http["method"], operation.http["requestUri"]) == ("POST", "/model-invocation-job")
    assert "jobArn" in operation.output_shape.members


@checks("botocore in local AWS", "shapes")
def _shapes() -> None:
    internals = _module("botocore in local AWS")
    shape = internals.service_model("bedrock").operation_model("CreateModelInvocationJob").input_shape
    assert isinstance(shape, internals.StructureShape)
    assert "roleArn" in shape.required_members
    assert shape.members["jobName"].type_name == "string"
    assert shape.members["jobName"].metadata["max"] == 63
    assert isinstance(shape.members["tags"], internals.ListShape)
    assert isinstance(shape.members["tags"].member, internals.Shape)
    copy = internals.service_model("s3").operation_model("CopyObject").input_shape
    assert copy.members["CopySource"].serialization == {"location": "header", "name": "x-amz-copy-source"}


def test_the_environment_is_left_as_it_was() -> None:
    """Letting backfills wait sets the one variable, and only if nobody has set it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(dagster_internals.BACKFILL_RETRY_VARIABLE, raising=False)
        dagster_internals.let_backfills_wait_for_code_servers()
        assert os.environ[dagster_internals.BACKFILL_RETRY_VARIABLE] == "1"
        patch.setenv(dagster_internals.BACKFILL_RETRY_VARIABLE, "")
        dagster_internals.let_backfills_wait_for_code_servers()
        assert os.environ[dagster_internals.BACKFILL_RETRY_VARIABLE] == ""
