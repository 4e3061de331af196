"""What a person does and sees in Dagster's UI, as the GraphQL that its pages send.

Operations and variables are those of the webserver's own pages, read in its JavaScript: the launchpad, the dialog that
chooses partitions, the backfill page, the asset's partitions and checks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from bedrock_batch_assets.client.webserver import Materialization, Run, Webserver
from bedrock_batch_assets_tests.end_to_end import operations

ASSET_JOB = "__ASSET_JOB"
ENDED_RUN = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
ENDED_BACKFILL = frozenset({"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED"})
_POLL_SECONDS = 0.5

Found = TypeVar("Found")


@dataclass(frozen=True)
class LaunchRefusedError(Exception):
    """The launchpad shows errors and launches nothing."""

    messages: list[str]


@dataclass(frozen=True)
class BackfillPage:
    """A backfill, as its page shows it."""

    id: str
    status: str
    tags: Mapping[str, str]
    assets: frozenset[str]
    error: str | None
    runs: list[Run] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.status in ENDED_BACKFILL


@dataclass(frozen=True)
class PartitionStates:
    """The partitions of an asset by the colour that they have in the UI."""

    materialized: frozenset[str]
    materializing: frozenset[str]
    failed: frozenset[str]
    missing: frozenset[str]

    def of(self, batch: str) -> dict[str, set[str]]:
        """The states of the batch's partition, or of its chunks' partitions, without empty ones."""
        by_state = {
            "materialized": self.materialized,
            "materializing": self.materializing,
            "failed": self.failed,
            "missing": self.missing,
        }
        own = {state: {key for key in keys if is_of(batch, key)} for state, keys in by_state.items()}
        return {state: keys for state, keys in own.items() if keys}


@dataclass(frozen=True)
class Edge:
    """A line of the lineage page."""

    upstream: str
    downstream: str
    mapping: str | None


class Ui:
    """A person at the UI of the webserver at `url`."""

    def __init__(self, url: str, check: Callable[[], None]) -> None:
        self.web = Webserver(url)
        self._check = check

    def wait(
        self, what: str, look: Callable[[], Found], done: Callable[[Found], bool], *, seconds: float = 600.0
    ) -> Found:
        """Look again and again until `done`, and return what was seen then.

        Raises:
            TimeoutError: Not within `seconds`; the message shows what was seen last.
        """
        deadline = time.monotonic() + seconds
        while not done(seen := look()):
            self._check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}. Last seen: {seen}")
            time.sleep(_POLL_SECONDS)
        return seen

    # What a person does.

    def add_partition(self, batch: str) -> None:
        """Add a partition in the launchpad."""
        assert self.web.add_batch(batch)

    def launch(self, assets: Sequence[str], partition: str, config: Mapping[str, Any] | None = None) -> str:
        """Launch one run, from the launchpad or with "Launch 1 run", and return its id.

        Raises:
            LaunchRefusedError: The config does not fit.
        """
        location = self.web.code_location()
        keys = [{"path": [asset]} for asset in assets]
        chosen = self.web.query(
            operations.CONFIG_PARTITION,
            {
                "repositoryName": location.repository,
                "repositoryLocationName": location.name,
                "jobName": ASSET_JOB,
                "partitionName": partition,
                "assetKeys": keys,
            },
        )["pipelineOrError"]["partition"]
        params = {
            "mode": "default",
            "executionMetadata": {"tags": chosen["tagsOrError"]["results"]},
            "runConfigData": chosen["runConfigOrError"]["yaml"] if config is None else yaml.safe_dump(config),
            "selector": {
                **location.selector,
                "pipelineName": ASSET_JOB,
                "assetSelection": keys,
                "assetCheckSelection": [],
            },
        }
        result = self.web.query(operations.LAUNCH, {"executionParams": params})["launchPipelineExecution"]
        if result["__typename"] != "LaunchRunSuccess":
            raise LaunchRefusedError([error["message"] for error in result.get("errors", [result])])
        return str(result["run"]["id"])

    def launch_input(self, batch: str, request: Mapping[str, Any]) -> str:
        """Fill in the launchpad of input_dataset."""
        return self.launch(["input_dataset"], batch, {"ops": {"input_dataset": {"config": dict(request)}}})

    def launch_backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Choose partitions in the dialog of some assets, "Launch backfill", and return its id."""
        params = {
            "tags": [],
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": list(partitions),
            "fromFailure": False,
        }
        result = self.web.query(operations.LAUNCH_BACKFILL, {"backfillParams": params})["launchPartitionBackfill"]
        assert result["__typename"] == "LaunchBackfillSuccess", result
        return str(result["backfillId"])

    # What a person sees.

    def partitions(self, asset: str, batch: str) -> list[str]:
        """The partitions of an asset that belong to a batch, in their order."""
        node = self.web.query(operations.PARTITION_KEYS, {"assetKey": {"path": [asset]}})["assetNodeOrError"]
        return [key for key in node["partitionKeys"] if is_of(batch, key)]

    def partition_states(self, asset: str) -> PartitionStates:
        """The asset's partitions by state."""
        node = self.web.query(operations.PARTITION_HEALTH, {"assetKey": {"path": [asset]}})["assetNodeOrError"]
        states = node["assetPartitionStatuses"]
        return PartitionStates(
            materialized=frozenset(states["materializedPartitions"]),
            materializing=frozenset(states["materializingPartitions"]),
            failed=frozenset(states["failedPartitions"]),
            # Those that failed count among them.
            missing=frozenset(states["unmaterializedPartitions"]).difference(states["failedPartitions"]),
        )

    def backfill(self, backfill_id: str) -> BackfillPage:
        """A backfill's page."""
        item = self.web.query(operations.BACKFILL, {"backfillId": backfill_id})["partitionBackfillOrError"]
        return BackfillPage(
            id=item["id"],
            status=item["status"],
            tags={tag["key"]: tag["value"] for tag in item["tags"]},
            assets=frozenset(key["path"][-1] for key in item["assetSelection"]),
            error=item["error"]["message"] if item["error"] else None,
            runs=self.runs({"dagster/backfill": backfill_id}),
        )

    def runs(self, tags: Mapping[str, str]) -> list[Run]:
        """The runs page, filtered by tags; newest first."""
        wanted = [{"key": key, "value": value} for key, value in tags.items()]
        found = self.web.query(operations.RUNS, {"filter": {"tags": wanted}})["runsOrError"]["results"]
        return [
            Run(
                id=item["id"],
                status=item["status"],
                tags={tag["key"]: tag["value"] for tag in item["tags"]},
                assets=frozenset(key["path"][-1] for key in item["assetSelection"] or []),
                created_at=item["creationTime"],
                ended_at=item["endTime"],
            )
            for item in found
        ]

    def run_times(self, run_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """When runs that have ended started and ended, in seconds since the epoch."""
        found = self.web.query(operations.RUN_TIMES, {"filter": {"runIds": list(run_ids)}})["runsOrError"]["results"]
        return {item["id"]: (item["startTime"], item["endTime"]) for item in found}

    def wait_for_run(self, run_id: str) -> Run:
        """A run that has ended."""
        return self.wait(f"the end of run {run_id}", lambda: self.web.run(run_id), lambda run: run.status in ENDED_RUN)

    def wait_for_backfill(self, backfill_id: str) -> BackfillPage:
        """A backfill that has ended."""
        return self.wait(f"the end of backfill {backfill_id}", lambda: self.backfill(backfill_id), lambda it: it.ended)

    def step_failures(self, run_id: str) -> list[str]:
        """What the run's log shows for people of each step that failed."""
        events = self.web.query(operations.RUN_LOGS, {"runId": run_id, "limit": 1000})["logsForRun"]["events"]
        return [
            event["failureMetadata"]["description"]
            for event in events
            if event["__typename"] == "ExecutionStepFailureEvent" and event["failureMetadata"]
        ]

    def materialization(self, asset: str, partition: str) -> Materialization:
        """The latest materialization of a partition, with its metadata."""
        return self.web.materializations(asset, [partition], metadata=True)[partition]

    def observations(self, asset: str, partitions: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """(partition, metadata) of the observations of some partitions."""
        variables = {"assetKey": {"path": [asset]}, "partitions": list(partitions), "limit": 1000}
        history = self.web.query(operations.OBSERVATIONS, variables)["assetOrError"]["assetEventHistory"]
        return [(item["partition"], _metadata(item["metadataEntries"])) for item in history["results"]]

    def checks(self, asset: str, run_id: str) -> dict[str, str]:
        """Status by check name of the checks that a run evaluated."""
        node = self.web.query(operations.CHECKS, {"assetKey": {"path": [asset]}})["assetNodeOrError"]
        found: dict[str, str] = {}
        for check in node["assetChecksOrError"]["checks"]:
            variables = {"assetKey": {"path": [asset]}, "checkName": check["name"], "limit": 25}
            for execution in self.web.query(operations.CHECK_DETAILS, variables)["assetCheckExecutions"]:
                if execution["runId"] == run_id:
                    found[check["name"]] = execution["status"]
        return found

    def failed_ticks(self) -> list[str]:
        """Name and error of the sensors' ticks that failed."""
        found = self.web.query(operations.FAILED_TICKS, {"repositorySelector": self.web.code_location().selector})
        return [
            f"{sensor['name']}: {tick['error']['message']}"
            for sensor in found["sensorsOrError"]["results"]
            for tick in sensor["sensorState"]["ticks"]
        ]

    def lineage(self) -> tuple[dict[str, str], set[Edge]]:
        """Partition set by asset, and the lines between the assets."""
        nodes = self.web.query(operations.LINEAGE)["assetNodes"]
        edges = {
            Edge(
                _name(dependency["asset"]),
                _name(node),
                dependency["partitionMapping"] and dependency["partitionMapping"]["className"],
            )
            for node in nodes
            for dependency in node["dependencies"]
        }
        return {_name(node): node["partitionDefinition"]["name"] for node in nodes}, edges


def is_of(batch: str, partition: str) -> bool:
    """Whether a partition is the batch's own or that of one of its chunks."""
    return partition == batch or partition.rpartition("-")[0] == batch


def _name(node: Mapping[str, Any]) -> str:
    return str(node["assetKey"]["path"][-1])


def _metadata(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {entry["label"]: int(entry["intRepr"]) if "intRepr" in entry else entry.get("text") for entry in entries}
