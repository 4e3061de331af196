"""Checks of an operation's parameters against botocore's own description of the service.

boto3 checks types and lengths before it sends a request, but neither patterns nor enums; the service does. The
constraints are read from botocore's `service-2.json`, so they are the documented ones.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from bedrock_batch_assets.local_aws.botocore_internals import (
    ListShape,
    OperationModel,
    Shape,
    StructureShape,
    service_model,
)
from bedrock_batch_assets.local_aws.errors import ServiceError

# The job name's pattern tries 2^n ways on n dashes before it gives up on a name. `-*` in front of a class that
# holds "-" adds nothing within the length limit of 63, so it is left out.
_AMBIGUOUS = r"(-*[a-zA-Z0-9\+\-\.]){0,63}"
_SAME_LANGUAGE = r"[a-zA-Z0-9\+\-\.]*"


@cache
def operation(service: str, name: str) -> OperationModel:
    """The model that botocore has of an operation, e.g. of `bedrock`, `CreateModelInvocationJob`."""
    return service_model(service).operation_model(name)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(_AMBIGUOUS, _SAME_LANGUAGE))


def check(service: str, name: str, parameters: Mapping[str, Any]) -> None:
    """Check an operation's parameters, as the service does.

    Raises:
        ServiceError: ValidationException, naming every constraint that failed.
    """
    shape = operation(service, name).input_shape
    found: list[str] = []
    if shape is not None:
        _check(shape, parameters, "", found)
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise ServiceError("ValidationException", count + "; ".join(found))


def _check(shape: Shape, value: Any, path: str, found: list[str]) -> None:
    if isinstance(shape, StructureShape):
        _check_structure(shape, value, path, found)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            found.append(_failed(value, path, "Member must be a list"))
            return
        _check_size(shape, len(value), value, path, found)
        for index, item in enumerate(value, start=1):
            _check(shape.member, item, f"{path}.{index}.member", found)
    elif shape.type_name == "string":
        _check_string(shape, value, path, found)
    elif shape.type_name in {"integer", "long"}:
        if isinstance(value, bool) or not isinstance(value, int):
            found.append(_failed(value, path, "Member must be an integer"))
        else:
            _check_size(shape, value, value, path, found)


def _check_structure(shape: StructureShape, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, Mapping):
        found.append(_failed(value, path, "Member must be a structure"))
        return
    for member in shape.required_members:
        if value.get(member) is None:
            found.append(_failed(None, _join(path, member), "Member must not be null"))
    for member, inner in value.items():
        # Unknown members are ignored, as by the service.
        if inner is not None and member in shape.members:
            _check(shape.members[member], inner, _join(path, member), found)


def _check_string(shape: Shape, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, str):
        found.append(_failed(value, path, "Member must be a string"))
        return
    before = len(found)
    _check_size(shape, len(value), value, path, found)
    enum: list[str] = shape.metadata.get("enum", [])
    if enum and value not in enum:
        found.append(_failed(value, path, f"Member must satisfy enum value set: [{', '.join(enum)}]"))
    pattern: str | None = shape.metadata.get("pattern")
    # A string that is too long is not matched as well: it could take long, and says nothing new.
    if pattern is not None and len(found) == before and not _pattern(pattern).fullmatch(value):
        found.append(_failed(value, path, f"Member must satisfy regular expression pattern: {pattern}"))


def _check_size(shape: Shape, size: int, value: Any, path: str, found: list[str]) -> None:
    what = "value" if isinstance(value, int) else "length"
    minimum, maximum = shape.metadata.get("min"), shape.metadata.get("max")
    if minimum is not None and size < minimum:
        found.append(_failed(value, path, f"Member must have {what} greater than or equal to {minimum}"))
    if maximum is not None and size > maximum:
        found.append(_failed(value, path, f"Member must have {what} less than or equal to {maximum}"))


def _failed(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else str(value)
    return f"Value '{shown[:200]}' at '{path}' failed to satisfy constraint: {constraint}"


def _join(path: str, member: str) -> str:
    return f"{path}.{member}" if path else member
