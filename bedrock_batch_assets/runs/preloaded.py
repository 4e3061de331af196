"""What every run worker of the platform imports and loads. Only the fork server imports this module.

A process that forks must have no threads: they are gone in the child, and the locks that they held are not. So
nothing here starts one, and no definitions of the user's own are imported, which might.

No error leaves this module: Python's fork server hides an ImportError, and ends at any other one, so that no run could
start. A module that cannot be imported is left to the runs, and the log of the code server says so.
"""

import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from bedrock_batch_assets.extras import module_names
from bedrock_batch_assets.internals.botocore_internals import load_service_models
from bedrock_batch_assets.internals.dagster_internals import PRELOADED_MODULES, PRIVATE_PARTS

_MODULES = (
    *PRELOADED_MODULES,
    # These are for the instance's storage, on any database.
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "bedrock_batch_assets.run_coordinator",
    # The assets, and what they import where they use it. Not pandas, nor datasets: no chunk needs them.
    "bedrock_batch_assets.definitions",
    "boto3.exceptions",
    "boto3.s3.transfer",
    "bedrock_batch_assets.aws.credentials",
    "bedrock_batch_assets.aws.errors",
    "bedrock_batch_assets.records.joining",
    "bedrock_batch_assets.records.record_file",
    "bedrock_batch_assets.records.rendering",
    "bedrock_batch_assets.records.answered_records",
    "bedrock_batch_assets.storage.objects",
    "bedrock_batch_assets.parquet.part_file",
    "bedrock_batch_assets.parquet.part_formats",
    "bedrock_batch_assets.parquet.tables",
)
# Beside what dagster.yaml names itself: `storage: postgres:` is short for these.
_POSTGRES_MODULES = ("dagster_postgres", "sqlalchemy.dialects.postgresql.psycopg2")
# Each of these libraries starts a thread when it is loaded, and reads here whether it may.
_WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def _instance_modules() -> Iterator[str]:
    """The modules that the instance's dagster.yaml needs; none if it cannot be read, as far as this module cares."""
    import yaml

    try:
        home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd())
        settings = yaml.safe_load((home / "dagster.yaml").read_text()) or {}
        yield from (module for module, _ in module_names(settings))
        if "postgres" in (settings.get("storage") or {}):
            yield from _POSTGRES_MODULES
    except Exception:  # noqa: BLE001  # whatever it is, the instance says so where it is made
        return


def _load() -> None:
    kept = {name: os.environ.get(name) for name in _WITHOUT_THREADS}
    os.environ.update(_WITHOUT_THREADS)
    failed: list[str] = []
    try:
        for module in (*_MODULES, *_instance_modules()):
            try:
                importlib.import_module(module)
            except Exception as error:  # noqa: BLE001  # whatever it is, see above
                failed.append(f"{module}: {type(error).__name__}: {error}")
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    if failed:
        PRIVATE_PARTS.say_once("preloaded modules", "; ".join(failed))
    load_service_models(("s3", "bedrock"))
    # Objects that live for ever: no collection in a child looks at them, which would copy their pages.
    gc.collect()
    gc.freeze()


_load()
