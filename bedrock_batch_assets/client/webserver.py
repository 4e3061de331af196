"""Dagster's webserver, through the GraphQL API that its UI uses."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bedrock_batch_assets.client import documents
from bedrock_batch_assets.errors import BatchError, RequestError, did_you_mean
from bedrock_batch_assets.internals.dagster_internals import (
    ASSET_JOB,
    AUTO_RETRY_RUN_ID_TAG,
    DATA_VERSION_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)
from bedrock_batch_assets.prompt_templates import prompt_id_to_template
from bedrock_batch_assets.runs.database import is_outage_text
from bedrock_batch_assets.runs.statuses import NOT_FINISHED_NAMES
from bedrock_batch_assets.tags import BATCH_TAG, MODEL_TAG

URL_VARIABLE = "BEDROCK_BATCH_DAGSTER_URL"
DEFAULT_URL = "http://127.0.0.1:3000"

# A busy webserver on a small machine needs seconds for a query over hundreds of partitions.
TIMEOUT_SECONDS = 60.0
RUNS_PER_PAGE = 250
BACKFILLS_PER_PAGE = 50
# A database that fails over, or is restarted, is back by then.
DATABASE_GRACE_SECONDS = 300.0
_DATABASE_PAUSE_SECONDS = 5.0
# The webserver takes up to 5 ms for each on SQLite.
PARTITIONS_PER_DELETE = 1_000

# What Dagster says of a value that is no member of an enum.
_NOT_OFFERED = re.compile(r"config:(?P<field>\w+) not in enum type \w+ got (?P<value>.+)", re.DOTALL)

ACTIVE_RUN_STATUSES = frozenset(NOT_FINISHED_NAMES)
# BulkActionStatus: a backfill that may still start runs, or end some.
ACTIVE_BACKFILL_STATUSES = frozenset({"REQUESTED", "CANCELING", "FAILING"})


class UnreachableError(BatchError):
    """Dagster's webserver does not answer, or answers something else than Dagster does."""


class DagsterRefusedError(BatchError):
    """Dagster answered a request with an error."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its tags, the names of its assets, and when it was made and ended (seconds since the epoch)."""

    id: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    assets: frozenset[str] = frozenset()
    created_at: float = 0.0
    ended_at: float | None = None

    @property
    def partition(self) -> str | None:
        """The partition that the run works on."""
        return self.tags.get(PARTITION_NAME_TAG)

    @property
    def active(self) -> bool:
        """Whether it has not ended, or crashed and the daemon is about to start it again."""
        return self.status in ACTIVE_RUN_STATUSES or self.to_be_retried

    @property
    def to_be_retried(self) -> bool:
        """Whether it crashed and the daemon is about to start it again."""
        return self.status == "FAILURE" and self.tags.get(WILL_RETRY_TAG) == "true" and self.retried_as is None

    @property
    def retried_as(self) -> str | None:
        """The run that the daemon started in its place."""
        return self.tags.get(AUTO_RETRY_RUN_ID_TAG)


@dataclass(frozen=True, slots=True)
class Materialization:
    """The latest materialization of one partition; `at` in seconds since the epoch."""

    partition: str
    run_id: str
    at: float
    version: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backfill:
    """One backfill."""

    id: str
    status: str
    tags: Mapping[str, str]
    created_at: float = 0.0
    error: str | None = None

    @property
    def active(self) -> bool:
        """Whether it may still start runs."""
        return self.status in ACTIVE_BACKFILL_STATUSES


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """Where the assets are loaded, as the API wants it named."""

    name: str
    repository: str

    @property
    def selector(self) -> dict[str, str]:
        """A RepositorySelector."""
        return {"repositoryName": self.repository, "repositoryLocationName": self.name}


class Webserver:
    """A Dagster webserver at `url`.

    Every method raises `UnreachableError` if there is no webserver, and `DagsterRefusedError` if it answers
    with an error of its own. While the webserver's database is away, each waits for it, for five minutes at most.

    Args:
        url: Its address.
        on_trouble: Takes a sentence for people when the database is found to be away.
        sleep: Time, for tests.
        now: Seconds of a clock that only goes forward, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        on_trouble: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        import requests

        self.url = url.rstrip("/")
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._now = now
        self._session = requests.Session()
        self._location: CodeLocation | None = None
        self._run_statuses: frozenset[str] = frozenset()

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one GraphQL document and return its `data`.

        It is sent again if the database was away. What it asks for may have happened all the same, the first time.
        """
        started = self._now()
        is_away = False
        while True:
            body = self._send(document, variables)
            trouble = _database_trouble(body)
            if trouble is None:
                break
            if self._now() - started > DATABASE_GRACE_SECONDS:
                raise UnreachableError(f"Dagster at {self.url} cannot use its database: {trouble}")
            if not is_away:
                self._on_trouble(f"Dagster at {self.url} cannot use its database at the moment, waiting: {trouble}")
            is_away = True
            self._sleep(_DATABASE_PAUSE_SECONDS)
        if body.get("errors"):
            raise DagsterRefusedError(f"Dagster at {self.url} says: {body['errors'][0].get('message', body['errors'])}")
        data: dict[str, Any] = body["data"]
        return data

    def _send(self, document: str, variables: Mapping[str, Any] | None) -> dict[str, Any]:
        import requests

        try:
            answer = self._session.post(
                f"{self.url}/graphql",
                json={"query": document, "variables": dict(variables or {})},
                timeout=TIMEOUT_SECONDS,
            )
            body = answer.json()
        except requests.exceptions.JSONDecodeError as error:
            raise UnreachableError(
                f"{self.url} answers (HTTP {answer.status_code}), but not as a Dagster webserver: check --url or "
                f"{URL_VARIABLE}."
            ) from error
        except requests.exceptions.RequestException as error:
            raise UnreachableError(
                f"No Dagster webserver answers at {self.url}: start it with `make dev`, or set --url or {URL_VARIABLE}."
            ) from error
        if not isinstance(body, dict) or (body.get("data") is None and "errors" not in body):
            raise UnreachableError(f"{self.url} is not a Dagster webserver: check --url or {URL_VARIABLE}.")
        return body

    def code_location(self) -> CodeLocation:
        """Where `input_dataset` is loaded.

        Raises:
            DagsterRefusedError: It is not: the location failed to load, or this is another Dagster.
        """
        if self._location is None:
            data = self.query(documents.LOCATIONS)
            nodes = data["assetNodes"]
            if not nodes:
                raise DagsterRefusedError(f"Dagster at {self.url} has no asset input_dataset. {_load_errors(data)}")
            self._run_statuses = frozenset(item["name"] for item in data["__type"]["enumValues"])
            repository = nodes[0]["repository"]
            self._location = CodeLocation(repository["location"]["name"], repository["name"])
        return self._location

    def _loaded(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The asset that a document asks for.

        Raises:
            DagsterRefusedError: It is not loaded, as while the code server is replaced. "Nothing found" would be wrong.
        """
        node: Mapping[str, Any] = data["assetNodeOrError"]
        if not node:
            raise DagsterRefusedError(f"Dagster at {self.url} has not loaded the assets at the moment: try again.")
        return node

    def batch_keys(self) -> list[str]:
        """The batches, oldest first."""
        self.code_location()
        data = self.query(documents.PARTITION_KEYS)
        return list(self._loaded(data)["partitionKeys"])

    def add_batch(self, batch: str) -> bool:
        """Add the batch's partition. False if it was there."""
        answer = self.query(documents.ADD_PARTITION, {"key": batch, "repository": self.code_location().selector})
        result = answer["addDynamicPartition"]
        if result["__typename"] == "DuplicateDynamicPartitionError":
            return False
        _expect(result, "AddDynamicPartitionSuccess", f"Cannot add the partition {batch}")
        return True

    def chunk_keys(self) -> list[str]:
        """The chunk partitions of all batches."""
        self.code_location()
        data = self.query(documents.CHUNK_KEYS)
        return list(self._loaded(data)["partitionKeys"])

    def delete_partitions(self, kind: Literal["batches", "chunks"], keys: Sequence[str]) -> None:
        """Delete partitions; those that are not there do no harm. Their events stay in Dagster's log."""
        for start in range(0, len(keys), PARTITIONS_PER_DELETE):
            some = list(keys[start : start + PARTITIONS_PER_DELETE])
            variables = {"keys": some, "kind": kind, "repository": self.code_location().selector}
            result = self.query(documents.DELETE_PARTITIONS, variables)["deleteDynamicPartitions"]
            _expect(result, "DeleteDynamicPartitionsSuccess", f"Cannot delete partitions of {kind}")

    def forget_version(self, asset: str, partitions: Sequence[str], why: str) -> None:
        """Report, for each of these partitions that has an event, a newest one that was made from nothing."""
        known = list(self.materializations(asset, partitions))
        for start in range(0, len(known), PARTITIONS_PER_DELETE):
            params = {
                "eventType": "ASSET_MATERIALIZATION",
                "assetKey": {"path": [asset]},
                "partitionKeys": known[start : start + PARTITIONS_PER_DELETE],
                "description": why,
            }
            result = self.query(documents.REPORT_EVENT, {"params": params})["reportRunlessAssetEvents"]
            _expect(result, "ReportRunlessAssetEventsSuccess", f"Cannot report events of {asset}")

    def launch(self, asset: str, batch: str, config: Mapping[str, Any]) -> str:
        """Materialize an asset of the batch, such as `input_dataset`, and return the run's id.

        Raises:
            RequestError: Dagster finds that the config does not fit the asset.
        """
        params = {
            "selector": {
                **self.code_location().selector,
                "jobName": ASSET_JOB,
                "assetSelection": [{"path": [asset]}],
            },
            "runConfigData": json.dumps({"ops": {asset: {"config": dict(config)}}}),
            "executionMetadata": {"tags": [{"key": PARTITION_NAME_TAG, "value": batch}]},
        }
        result = self.query(documents.LAUNCH, {"params": params})["launchPipelineExecution"]
        if result["__typename"] == "RunConfigValidationInvalid":
            reasons = "; ".join(_config_error(error["message"]) for error in result["errors"])
            raise RequestError(f"Dagster does not take the request: {reasons}")
        _expect(result, "LaunchRunSuccess", f"Cannot launch {asset} of batch {batch}")
        return str(result["run"]["id"])

    def runs(self, batch: str) -> list[Run]:
        """All runs that ever worked on the batch, newest first."""
        return self._runs({"tags": [{"key": BATCH_TAG, "value": batch}]}, f"the runs of batch {batch}")

    def unfinished_runs(self) -> dict[str, list[Run]]:
        """The runs of all batches that have not ended, by batch, newest first."""
        self.code_location()
        # Dagster refuses the name of a status that it does not have.
        statuses = [name for name in NOT_FINISHED_NAMES if name in self._run_statuses]
        found: dict[str, list[Run]] = {}
        for run in self._runs({"statuses": statuses}, "the runs that have not ended"):
            if BATCH_TAG in run.tags:
                found.setdefault(run.tags[BATCH_TAG], []).append(run)
        return found

    def _runs(self, wanted: Mapping[str, Any], what: str) -> list[Run]:
        found: list[Run] = []
        cursor: str | None = None
        while True:
            variables = {"filter": dict(wanted), "cursor": cursor, "limit": RUNS_PER_PAGE}
            page = self.query(documents.RUNS, variables)["runsOrError"]
            _expect(page, "Runs", f"Cannot list {what}")
            found.extend(_run(item) for item in page["results"])
            if len(page["results"]) < RUNS_PER_PAGE:
                return found
            cursor = found[-1].id

    def run(self, run_id: str) -> Run:
        """One run."""
        result = self.query(documents.RUN, {"id": run_id})["runOrError"]
        _expect(result, "Run", f"Cannot find run {run_id}")
        return _run(result)

    def failure_of(self, run_id: str) -> str:
        """Why a run failed, in the words of the step that failed, of the launcher, or of Dagster."""
        result = self.query(documents.RUN_EVENTS, {"id": run_id})["runOrError"]
        if result["__typename"] != "Run":
            return f"run {run_id} is not known any more"
        events = result["eventConnection"]["events"]
        if not any(event["__typename"] == "RunStartEvent" for event in events):
            said = [_error_text(event["error"]) for event in events if event["__typename"] == "EngineEvent"]
            if any(said):
                return f"The run could not be launched. {[text for text in said if text][-1]}"
        reasons = [_failure_text(event) for event in events]
        return next((reason for reason in reasons if reason), f"run {run_id} ended as {result['status']}")

    def log_messages(self, run_id: str) -> list[str]:
        """What a run's assets have written into its log: the first lines of it."""
        result = self.query(documents.RUN_LOG, {"id": run_id})["runOrError"]
        if result["__typename"] != "Run":
            return []
        events = result["eventConnection"]["events"]
        return [event["message"] for event in events if event["__typename"] == "LogMessageEvent"]

    def run_config_of(self, run_id: str) -> str:
        """The config that a run was launched with, as YAML."""
        result = self.query(documents.RUN_CONFIG, {"id": run_id})["runOrError"]
        _expect(result, "Run", f"Cannot find run {run_id}")
        return str(result["runConfigYaml"])

    def materializations(
        self, asset: str, partitions: Sequence[str], *, metadata: bool = False
    ) -> dict[str, Materialization]:
        """The latest materialization of each of the partitions that has one, with its metadata only if wanted."""
        if not partitions:
            return {}
        self.code_location()
        data = self.query(
            documents.MATERIALIZATIONS, {"key": {"path": [asset]}, "partitions": list(partitions), "metadata": metadata}
        )
        events = self._loaded(data)["latestMaterializationByPartition"] or []
        found = [_materialization(event) for event in events if event is not None]
        return {item.partition: item for item in found}

    def backfills(self, created_after: float = 0.0) -> list[Backfill]:
        """Backfills of batches, made after `created_after` (seconds since the epoch), newest first."""
        found: list[Backfill] = []
        cursor: str | None = None
        while True:
            variables = {"filters": {"createdAfter": created_after}, "cursor": cursor, "limit": BACKFILLS_PER_PAGE}
            page = self.query(documents.BACKFILLS, variables)["partitionBackfillsOrError"]
            _expect(page, "PartitionBackfills", "Cannot list the backfills")
            found.extend(_backfill(item) for item in page["results"])
            if len(page["results"]) < BACKFILLS_PER_PAGE:
                return [backfill for backfill in found if BATCH_TAG in backfill.tags]
            cursor = page["results"][-1]["id"]

    def cancel_backfill(self, backfill_id: str) -> None:
        """Ask for the end of a backfill and its runs; the daemon does it within half a minute."""
        result = self.query(documents.CANCEL_BACKFILL, {"id": backfill_id})["cancelPartitionBackfill"]
        _expect(result, "CancelBackfillSuccess", f"Cannot cancel backfill {backfill_id}")

    def terminate_runs(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Ask runs to end. Returns why, by run id, for those that cannot be asked."""
        if not run_ids:
            return {}
        result = self.query(documents.TERMINATE_RUNS, {"ids": list(run_ids)})["terminateRuns"]
        _expect(result, "TerminateRunsResult", "Cannot terminate runs")
        return {
            run_id: str(item.get("message", item["__typename"]))
            for run_id, item in zip(run_ids, result["terminateRunResults"], strict=True)
            if item["__typename"] != "TerminateRunSuccess"
        }

    def unhealthy_daemons(self) -> list[str]:
        """The daemons that batches need and that do not run, e.g. SENSOR."""
        statuses = self.query(documents.DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return sorted(item["daemonType"] for item in statuses if item["required"] and not item["healthy"])

    def instance_problems(self) -> list[str]:
        """What the instance lacks of what the platform's promises need, see `runs.instance_rules`."""
        import yaml

        from bedrock_batch_assets.runs.instance_rules import problems_of

        instance = self.query(documents.INSTANCE)["instance"]
        info = yaml.safe_load(instance["info"] or "") or {}
        described = info.get("run_coordinator")
        # Its settings, or its class alone if it takes none.
        coordinator = str(described.get("class") if isinstance(described, Mapping) else described)
        return problems_of([coordinator], _tag_limits(instance))

    def jobs_in_flight_limit(self) -> int | None:
        """How many jobs of one model the queue lets be in flight; None for any number."""
        limits = _tag_limits(self.query(documents.INSTANCE)["instance"])
        return next((int(limit["limit"]) for limit in limits if limit.get("key") == MODEL_TAG), None)

    def run_link(self, run_id: str) -> str:
        """The run's page in the UI."""
        return f"{self.url}/runs/{run_id}"

    def asset_link(self, asset: str, partition: str) -> str:
        """The asset's page in the UI, with the partition chosen."""
        return f"{self.url}/assets/{asset}?view=partitions&partition={partition}"


def _tag_limits(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    import yaml

    limits: list[dict[str, Any]] = (
        yaml.safe_load((instance["runQueueConfig"] or {}).get("tagConcurrencyLimitsYaml") or "") or []
    )
    return limits


def _database_trouble(body: Mapping[str, Any]) -> str | None:
    """What an answer says of a database that is away; None if it says no such thing."""
    results = (body.get("data") or {}).values()
    errors = [*(body.get("errors") or ()), *(item for item in results if isinstance(item, Mapping))]
    texts = [str(error.get("message", "")) for error in errors if "message" in error]
    return next((" ".join(text.split())[:200] for text in texts if is_outage_text(text)), None)


def _config_error(message: str) -> str:
    """What Dagster says of a request's config, in the request's own terms."""
    found = _NOT_OFFERED.search(message)
    if found is None:
        return message
    field, value = found["field"], found["value"].strip()
    meant = did_you_mean(value, prompt_id_to_template) if field == "prompt_id" else ""
    return f"{field} {value!r} is none of the values that the launchpad of this platform offers.{meant}"


def _expect(result: Mapping[str, Any], kind: str, what: str) -> None:
    if result["__typename"] != kind:
        raise DagsterRefusedError(f"{what}. Dagster says: {result.get('message', result['__typename'])}")


def _load_errors(data: Mapping[str, Any]) -> str:
    entries = data["workspaceOrError"].get("locationEntries") or []
    errors = [entry["locationOrLoadError"] for entry in entries if entry["locationOrLoadError"]]
    messages = [error["message"].strip() for error in errors if error["__typename"] == "PythonError"]
    if messages:
        return f"A code location failed to load: {messages[0]}"
    return "Check --url, and that the code location bedrock_batch_assets is loaded there."


def _tags(items: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in items}


def _run(item: Mapping[str, Any]) -> Run:
    return Run(
        id=item["id"],
        status=item["status"],
        tags=_tags(item["tags"]),
        assets=frozenset(key["path"][-1] for key in item["assetSelection"] or []),
        created_at=item["creationTime"],
        ended_at=item["endTime"],
    )


def _materialization(event: Mapping[str, Any]) -> Materialization:
    return Materialization(
        partition=event["partition"],
        run_id=event["runId"],
        # Milliseconds, as text.
        at=float(event["timestamp"]) / 1000,
        version=_tags(event["tags"]).get(DATA_VERSION_TAG),
        metadata={entry["label"]: _value(entry) for entry in event.get("metadataEntries") or ()},
    )


def _value(entry: Mapping[str, Any]) -> Any:
    # intValue is null beyond 32 bits, and its text is not.
    if entry.get("intRepr") is not None:
        return int(entry["intRepr"])
    if entry.get("jsonString") is not None:
        return json.loads(entry["jsonString"])
    return next((entry[name] for name in ("text", "floatValue", "url", "path") if entry.get(name) is not None), None)


def _backfill(item: Mapping[str, Any]) -> Backfill:
    error = item.get("error")
    return Backfill(
        id=item["id"],
        status=item["status"],
        tags=_tags(item["tags"]),
        created_at=item["creationTime"],
        error=error["message"].strip() if error else None,
    )


def _failure_text(event: Mapping[str, Any]) -> str | None:
    if event["__typename"] not in {"ExecutionStepFailureEvent", "RunFailureEvent"}:
        return None
    metadata = event.get("failureMetadata") or {}
    if metadata.get("description"):
        # dg.Failure: the sentence that the asset wrote for a person.
        return str(metadata["description"]).strip()
    said = _error_text(event.get("error"))
    if said is None:
        return str(event["message"]).strip() if event["__typename"] == "RunFailureEvent" else None
    return said


def _error_text(error: Mapping[str, Any] | None) -> str | None:
    """The message of an error's first cause."""
    if error is None:
        return None
    while error.get("cause"):
        error = error["cause"]
    return " ".join(str(error["message"]).split())
