"""botocore's own model of the Bedrock API, for checks that boto3 itself does not make: it checks no patterns."""

import re
from functools import cache
from typing import Any

import botocore.session


def shape_pattern(operation: str, *path: str) -> re.Pattern[str]:
    """The pattern of one member of an operation's input, found by its names from the outside in."""
    shape = _input_shape(operation)
    for name in path:
        shape = shape.members[name]
    return re.compile(shape.metadata["pattern"])


def violations(operation: str, parameters: dict[str, Any]) -> list[str]:
    """Every way in which parameters break the operation's model: names, types, lengths, enums and patterns."""
    return list(_check(_input_shape(operation), parameters, operation))


@cache
def _input_shape(operation: str) -> Any:
    return botocore.session.get_session().get_service_model("bedrock").operation_model(operation).input_shape


def _check(shape: Any, value: Any, where: str) -> Any:
    metadata = shape.metadata
    if shape.type_name == "structure":
        for name in shape.required_members:
            if name not in value:
                yield f"{where}.{name} is missing"
        for name, member in value.items():
            if name not in shape.members:
                yield f"{where}.{name} is not known"
            else:
                yield from _check(shape.members[name], member, f"{where}.{name}")
        return
    if shape.type_name == "list":
        if not metadata.get("min", 0) <= len(value) <= metadata.get("max", len(value)):
            yield f"{where} has {len(value)} items"
        for index, item in enumerate(value):
            yield from _check(shape.member, item, f"{where}[{index}]")
        return
    if shape.type_name == "string":
        if not metadata.get("min", 0) <= len(value) <= metadata.get("max", len(value)):
            yield f"{where} has {len(value)} characters"
        if "pattern" in metadata and not re.fullmatch(metadata["pattern"], value):
            yield f"{where}: {value!r} does not match {metadata['pattern']}"
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of {shape.enum}"
    if shape.type_name == "integer" and not metadata.get("min", value) <= value <= metadata.get("max", value):
        yield f"{where}: {value} is out of range"
