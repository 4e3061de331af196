import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from dagster_graphql.schema import create_schema
from graphql import parse, validate

import bedrock_batch_assets.client.documents as all_documents
import bedrock_batch_assets.client.webserver as module
from bedrock_batch_assets.client.webserver import DagsterRefusedError, Run, UnreachableError, Webserver
from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.local.local_platform import free_port
from bedrock_batch_assets_tests.client.conftest import QuietDagster

CONFIG = {
    "model_id": "amazon.titan-embed-text-v2:0",
    "s3_uri": "s3://bucket/topics.csv",
    "max_records_per_job": 130,
    "output_format": "csv",
    "inference_parameters": {"dimensions": 256},
}


@contextmanager
def _answering(status: int, body: bytes, *before: bytes, **options: Any) -> Iterator[Webserver]:
    """A webserver that gives this one answer to everything, after those before it."""
    earlier = list(before)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            text = earlier.pop(0) if earlier else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield Webserver(f"http://127.0.0.1:{server.server_port}/", **options)
    finally:
        server.shutdown()
        server.server_close()


def test_every_document_fits_dagsters_schema() -> None:
    """Each GraphQL document of the client is valid against the schema of the Dagster that is installed."""
    schema = create_schema().graphql_schema
    documents = {
        name: value
        for name, value in vars(all_documents).items()
        if isinstance(value, str) and value.lstrip().startswith(("query", "mutation"))
    }
    assert len(documents) >= 12
    for name, document in documents.items():
        assert not validate(schema, parse(document)), name


def test_nobody_there() -> None:
    """A port on which nobody listens is told with the address and what to do."""
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:\d+.*make dev"):
        Webserver(f"http://127.0.0.1:{free_port()}").batch_keys()


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (404, b""), (200, b"[]"), (200, b"{}"), (502, b'{"message": "no"}')]
)
def test_something_else_there(status: int, body: bytes) -> None:
    """If something else than Dagster answers at the address, the error says so in one line."""
    with _answering(status, body) as webserver, pytest.raises(UnreachableError, match="Dagster webserver"):
        webserver.batch_keys()


def test_graphql_errors_are_told() -> None:
    """An error of the whole query is passed on in Dagster's words."""
    with (
        _answering(400, b'{"errors": [{"message": "no such field"}]}') as webserver,
        pytest.raises(DagsterRefusedError, match="no such field"),
    ):
        webserver.unhealthy_daemons()


AWAY = [
    b'{"data": null, "errors": [{"message": "(psycopg2.OperationalError) server closed the connection unexpectedly"}]}',
    b'{"data": null, "errors": [{"message": "too many retries for DB connection"}]}',
    b'{"data": {"runOrError": {"__typename": "PythonError", "message": '
    b'"dagster_postgres.utils.DagsterPostgresException: too many retries for DB connection\\n"}}}',
    b'{"data": {"runOrError": {"__typename": "PythonError", "message": '
    b'"sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked\\n"}}}',
]
RUN = (
    b'{"data": {"runOrError": {"__typename": "Run", "id": "one", "status": "STARTED", "tags": [], "assetSelection": [],'
    b' "creationTime": 1.0, "endTime": null}}}'
)


def test_a_database_that_is_away_is_waited_for() -> None:
    """While its database fails over, the webserver's answers say so in several ways; one sentence is said for all."""
    said: list[str] = []
    pauses: list[float] = []
    with _answering(200, RUN, *AWAY, on_trouble=said.append, sleep=pauses.append) as webserver:
        assert webserver.run("one").status == "STARTED"
    assert len(pauses) == len(AWAY)
    (sentence,) = said
    assert "cannot use its database at the moment, waiting" in sentence


def test_a_database_that_stays_away_is_told() -> None:
    """After five minutes the wait is over, and the error says what is wrong."""
    passed: list[float] = []
    with (
        _answering(200, AWAY[0], sleep=passed.append, now=lambda: sum(passed)) as webserver,
        pytest.raises(UnreachableError, match=r"cannot use its database: .*server closed the connection"),
    ):
        webserver.run("one")
    assert 300 < sum(passed) < 310


def test_another_dagster_is_told_with_its_load_error() -> None:
    """A Dagster without our assets is refused with the reason why its code location did not load."""
    error = b'{"__typename": "PythonError", "message": "No module named bedrock"}'
    body = b'{"data": {"assetNodes": [], "workspaceOrError": {"locationEntries": [{"locationOrLoadError": %s}]}}}'
    with (
        _answering(200, body % error) as webserver,
        pytest.raises(DagsterRefusedError, match="No module named bedrock"),
    ):
        webserver.code_location()


def test_a_batch_is_added_once(quiet_dagster: QuietDagster) -> None:
    """Adding a batch makes its partition; adding it again says that it was there."""
    assert quiet_dagster.webserver.add_batch("added-once")
    assert not quiet_dagster.webserver.add_batch("added-once")
    assert quiet_dagster.webserver.batch_keys().count("added-once") == 1


def test_a_launch_is_what_the_ui_does(quiet_dagster: QuietDagster) -> None:
    """The launched run materializes input_dataset of the batch alone, with the config, and is found by its batch."""
    webserver = quiet_dagster.webserver
    webserver.add_batch("launched")
    run_id = webserver.launch("input_dataset", "launched", CONFIG)
    run = quiet_dagster.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.asset_selection == {dg.AssetKey("input_dataset")}
    config: Any = run.run_config
    assert config["ops"]["input_dataset"]["config"].items() >= CONFIG.items()
    [found] = webserver.runs("launched")
    assert (found.id, found.status, found.partition) == (run_id, "QUEUED", "launched")
    assert (found.assets, found.active) == (frozenset({"input_dataset"}), True)
    assert webserver.run(run_id) == found


def test_config_that_does_not_fit_is_a_request_error(quiet_dagster: QuietDagster) -> None:
    """Dagster's own check of the config speaks to the person who wrote the request."""
    quiet_dagster.webserver.add_batch("bad-config")
    with pytest.raises(RequestError, match="model_id"):
        quiet_dagster.webserver.launch("input_dataset", "bad-config", {"s3_uri": "s3://a/b"})
    assert quiet_dagster.webserver.runs("bad-config") == []


def test_runs_come_in_pages(quiet_dagster: QuietDagster, monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs of a batch are found, newest first, however many pages they take, and no other batch's."""
    monkeypatch.setattr(module, "RUNS_PER_PAGE", 2)
    made = [create_run_for_test(quiet_dagster.instance, tags={"bedrock/batch": "paged"}).run_id for _ in range(5)]
    create_run_for_test(quiet_dagster.instance, tags={"bedrock/batch": "paged-2"})
    assert [run.id for run in quiet_dagster.webserver.runs("paged")] == made[::-1]


def test_the_latest_materialization_counts(quiet_dagster: QuietDagster) -> None:
    """Of each partition the latest materialization is found, with its version, its time, and numbers as numbers."""
    for version in ("v1", "v2"):
        quiet_dagster.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "result_parts",
                partition="m-00000",
                tags={DATA_VERSION_TAG: version},
                metadata={"rows": 5_000_000_000, "share": 0.5, "name": version},
            )
        )
    found = quiet_dagster.webserver.materializations("result_parts", ["m-00000", "m-00001"], metadata=True)
    assert set(found) == {"m-00000"}
    assert found["m-00000"].version == "v2"
    assert found["m-00000"].metadata == {"rows": 5_000_000_000, "share": 0.5, "name": "v2"}
    assert found["m-00000"].at > 1.7e9
    assert quiet_dagster.webserver.materializations("result_parts", []) == {}


def test_runs_are_terminated(quiet_dagster: QuietDagster) -> None:
    """A queued run is cancelled; one that has ended is told with a reason."""
    webserver = quiet_dagster.webserver
    webserver.add_batch("terminated")
    run_id = webserver.launch("input_dataset", "terminated", CONFIG)
    assert webserver.terminate_runs([run_id]) == {}
    assert webserver.run(run_id).status == "CANCELED"
    assert run_id in webserver.terminate_runs([run_id])
    assert webserver.terminate_runs([]) == {}


def test_backfills_are_found_and_cancelled(quiet_dagster: QuietDagster) -> None:
    """Backfills with a batch's tag are found by their time; cancelling one leaves it to the daemon."""
    for backfill_id, at, tags in (("old", 10.0, {"bedrock/batch": "x"}), ("new", 20.0, {"bedrock/batch": "x"}),
                                  ("other", 30.0, {})):  # fmt: skip
        quiet_dagster.instance.add_backfill(
            PartitionBackfill(
                backfill_id=backfill_id, status=BulkActionStatus.REQUESTED, from_failure=False, tags=tags,
                backfill_timestamp=at, asset_selection=[dg.AssetKey("jsonl_chunks")],
                serialized_asset_backfill_data="", reexecution_steps=None,
            )
        )  # fmt: skip
    found = quiet_dagster.webserver.backfills()
    assert {(item.id, item.tags["bedrock/batch"], item.active) for item in found} == {
        ("old", "x", True),
        ("new", "x", True),
    }
    quiet_dagster.webserver.cancel_backfill("new")
    status = {item.id: item.status for item in quiet_dagster.webserver.backfills()}
    assert status == {"old": "REQUESTED", "new": "CANCELING"}


def test_missing_daemons_are_named(quiet_dagster: QuietDagster) -> None:
    """Without a daemon nothing goes on: those that batches need are named."""
    assert {"SENSOR", "BACKFILL", "QUEUED_RUN_COORDINATOR"} <= set(quiet_dagster.webserver.unhealthy_daemons())


def test_a_failure_is_told_in_the_words_of_the_asset(quiet_dagster: QuietDagster) -> None:
    """The reason of a failed run is what the asset said to a person, without the traceback around it."""

    @dg.op
    def broken() -> None:
        raise dg.Failure(description="The column 'topic' is missing: add it.")

    @dg.job
    def failing() -> None:
        broken()

    result = failing.execute_in_process(instance=quiet_dagster.instance, raise_on_error=False)
    assert quiet_dagster.webserver.failure_of(result.run_id) == "The column 'topic' is missing: add it."


def test_an_unexpected_failure_is_told_by_its_cause(quiet_dagster: QuietDagster) -> None:
    """Of an exception that Dagster has wrapped, the innermost message is told."""

    @dg.op
    def broken() -> None:
        raise KeyError("lost")

    @dg.job
    def failing() -> None:
        broken()

    result = failing.execute_in_process(instance=quiet_dagster.instance, raise_on_error=False)
    assert quiet_dagster.webserver.failure_of(result.run_id) == "KeyError: 'lost'"


def test_a_run_to_be_retried_is_active() -> None:
    """A crashed run counts as active until its retry is there."""
    crashed = Run("r", "FAILURE", {"dagster/will_retry": "true"})
    assert crashed.active
    assert not Run("r", "FAILURE", {"dagster/will_retry": "true", "dagster/auto_retry_run_id": "s"}).active
    assert not Run("r", "FAILURE", {"dagster/will_retry": "false"}).active


def test_assets_that_are_not_loaded_are_not_an_empty_answer() -> None:
    """While the code server is replaced, "nothing was materialized" would be wrong: it is an error that says so."""
    with _answering(200, b'{"data": {"assetNodeOrError": {}}}') as webserver:
        webserver._location = module.CodeLocation("location", "repository")
        with pytest.raises(DagsterRefusedError, match="not loaded"):
            webserver.materializations("input_dataset", ["demo"])
        with pytest.raises(DagsterRefusedError, match="not loaded"):
            webserver.batch_keys()


def test_the_webserver_knows_whether_its_instance_is_ours(quiet_dagster: QuietDagster) -> None:
    """The coordinator and the limits are read from what the webserver says of its own dagster.yaml."""
    assert quiet_dagster.webserver.instance_problems() == []
    info = "run_coordinator:\n  class: QueuedRunCoordinator\n"
    body = json.dumps({"data": {"instance": {"info": info, "runQueueConfig": None}}}).encode()
    with _answering(200, body) as webserver:
        problems = webserver.instance_problems()
    assert len(problems) == 3
    assert "QueuedRunCoordinator" in problems[0]
