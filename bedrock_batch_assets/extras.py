"""The extras that a plain installation leaves out, and the error of a feature that needs one."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from bedrock_batch_assets.errors import ConfigurationError

# Modules that dagster.yaml can name, with the extras that bring them.
_EXTRAS_OF_MODULES = {"dagster_postgres": "postgres", "dagster_aws": "ecs"}


def require_extra(extra: str, module: str, feature: str) -> None:
    """Check that a module of an extra is installed.

    Args:
        extra: Its name in pyproject.toml, e.g. `local`.
        module: A module that the extra brings, e.g. `moto`.
        feature: What needs it, as the subject of a sentence: "The local stand-in for AWS".

    Raises:
        ConfigurationError: It is not. Says what to install.
    """
    if find_spec(module) is None:
        raise ConfigurationError(
            f"{feature} needs {module}, which is not installed: pip install 'bedrock-batch-assets[{extra}]'"
        )


def check_instance_settings(settings: Mapping[str, Any]) -> None:
    """Check that the extras are installed whose classes a dagster.yaml names.

    Args:
        settings: The contents of the file.

    Raises:
        ConfigurationError: One is not. Says what to install.
    """
    names = dict(module_names(settings))
    if "postgres" in (settings.get("storage") or {}):
        names["dagster_postgres"] = "storage"
    for module, setting in names.items():
        package = module.partition(".")[0]
        if package in _EXTRAS_OF_MODULES:
            require_extra(_EXTRAS_OF_MODULES[package], package, f"The setting {setting!r} in dagster.yaml")


def module_names(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The modules that a dagster.yaml names, each with the setting that does."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            if isinstance(value.get("module"), str):
                yield value["module"], name
            yield from ((module, name) for module, _ in module_names(value))
