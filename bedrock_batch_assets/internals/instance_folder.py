"""The instance's folder, the same one for every process of the platform, wherever each was started.

Dagster takes a relative `base_dir` in dagster.yaml from the working directory of each process. A webserver and a daemon
that were started in different folders would then share nothing. These classes take it from DAGSTER_HOME if that is set,
which is where dagster.yaml lies then. Otherwise dagster.yaml lies in the working directory of `dagster dev`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

# Documented as classes to be named in dagster.yaml (Dagster docs, "dagster.yaml reference"), not as ones to derive
# from: see "classes in dagster.yaml" in dagster_internals.py. Derived classes need them when they are defined, so these
# imports are not in functions, as all others are.
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData


def in_instance_folder(folder: str) -> str:
    """An absolute path: `folder` itself if it is one, else below DAGSTER_HOME or the working directory."""
    home = os.environ.get("DAGSTER_HOME") or Path.cwd()
    return str((Path(home).expanduser() / folder).absolute())


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "base_dir": in_instance_folder(config["base_dir"])}


class InstanceStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        """Make the storage from its entry in dagster.yaml."""
        return cls.from_local(inst_data=inst_data, **_resolved(config_value))


class InstanceArtifacts(LocalArtifactStorage):
    """Artifacts of runs."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Make the storage from its entry in dagster.yaml."""
        return cls(inst_data=inst_data, **_resolved(config_value))


class InstanceComputeLogs(LocalComputeLogManager):
    """The output of runs."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Make the manager from its entry in dagster.yaml."""
        return cls(inst_data=inst_data, **_resolved(config_value))
