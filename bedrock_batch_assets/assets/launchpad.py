"""What the launchpad offers: the values that a field can have, so that a wrong one is red before anything runs."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import FunctionType
from typing import Any, TypeVar

import dagster as dg
from pydantic import create_model

from bedrock_batch_assets.assets.request_config import BatchConfig, PilotConfig
from bedrock_batch_assets.partitions import batches
from bedrock_batch_assets.request import BatchRequest

# Model ids that a team allows, separated by commas. Nobody asks AWS when definitions load.
MODELS_VARIABLE = "BEDROCK_BATCH_MODELS"

Config = TypeVar("Config", BatchConfig, PilotConfig)
AnyConfig = type[BatchConfig] | type[PilotConfig]
Request = TypeVar("Request", bound=BatchRequest)


def allowed_models() -> list[str]:
    """The model ids that the environment allows; none if it does not say."""
    return [name.strip() for name in os.environ.get(MODELS_VARIABLE, "").split(",") if name.strip()]


def offering(
    request: type[Config], *, prompts: Iterable[str], processors: Iterable[str], models: Iterable[str] = ()
) -> type[Config]:
    """The request with the values that its fields can have.

    Args:
        request: The config of an asset.
        prompts: The prompt ids.
        processors: The names of the processors.
        models: The only model ids that are allowed; none for any.

    Returns:
        A type of the same name. Its objects hold members of enums; `as_given` makes texts of them.
    """
    values = {"prompt_id": list(prompts), "processor": list(processors), "model_id": list(models)}
    fields: dict[str, Any] = {}
    for name, offered in values.items():
        if offered:
            # Dagster takes two enums of one name for the same, also if their members differ: so the name tells them.
            digest = hashlib.sha256("\n".join(offered).encode()).hexdigest()[:8]
            # A member's name is what a person writes; its value is the same.
            kind: Any = Enum(f"{name}_{digest}", {value: value for value in offered})  # type: ignore[misc]
            field = request.model_fields[name]
            fields[name] = (kind if field.is_required() else kind | None, field)
    offer: type[Config] = create_model(request.__name__, __base__=request, __doc__=request.__doc__, **fields)
    return offer


def as_given(config: BatchRequest, request: type[Request]) -> Request:
    """The request without the enums of `offering`."""
    given: Mapping[str, Any] = {name: getattr(config, name) for name in type(config).model_fields}
    texts = {name: given[name].name for name in ("prompt_id", "processor", "model_id") if isinstance(given[name], Enum)}
    return request(**{**given, **texts})


def batch_asset(
    function: Callable[..., Any],
    request: type[BatchConfig] | type[PilotConfig],
    *,
    name: str,
    group: str,
    kinds: set[str],
) -> dg.AssetsDefinition:
    """An asset of a batch that a person launches with a request: `offering` makes its type."""
    return dg.asset(name=name, partitions_def=batches, group_name=group, kinds=kinds, owners=["team:data-platform"])(
        _with_config(function, request)
    )


def _with_config(function: Callable[..., Any], config: AnyConfig) -> Callable[..., Any]:
    """A copy of an asset's function that takes another type of config: Dagster reads the type of that parameter."""
    assert isinstance(function, FunctionType)
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__annotations__ = {**function.__annotations__, "config": config}
    copy.__doc__ = function.__doc__
    copy.__module__ = function.__module__
    return copy
