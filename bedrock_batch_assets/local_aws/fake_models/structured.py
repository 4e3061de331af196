"""Answers that fit a JSON schema, for requests that ask for structured output or for a tool."""

import json
from collections.abc import Mapping
from typing import Any

from bedrock_batch_assets.local_aws.fake_models.base import BodyError

# A schema that refers to itself has no greatest depth.
_MAX_DEPTH = 8


def json_text(schema: Any, text: str, seed: int) -> str:
    """A JSON text that fits the schema, made of the plain answer's words. Compact, as models write it.

    Args:
        schema: A JSON schema, as an object or as JSON text.
        text: What the model would answer without a schema.
        seed: Drawn from the request's body.

    Raises:
        BodyError: The schema is none.
    """
    return json.dumps(conforming(_schema(schema), text, seed), ensure_ascii=False)


def conforming(schema: Mapping[str, Any], text: str, seed: int, depth: int = 0) -> Any:
    """A value that fits the schema, as far as types, enums and required members go."""
    if "const" in schema:
        return schema["const"]
    if enum := schema.get("enum"):
        return enum[seed % len(enum)]
    for union in ("anyOf", "oneOf", "allOf"):
        if choices := schema.get(union):
            return conforming(choices[0], text, seed, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    match kind:
        case "object":
            members = schema.get("properties") or {}
            if depth >= _MAX_DEPTH:
                members = {}
            return {name: conforming(member, text, seed + 1, depth + 1) for name, member in members.items()}
        case "array":
            items = schema.get("items")
            return [conforming(items, text, seed, depth + 1)] if isinstance(items, Mapping) else []
        case "integer":
            return seed % 100
        case "number":
            return seed % 100 / 10
        case "boolean":
            return seed % 2 == 0
        case "null":
            return None
    return text


def _schema(schema: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(schema) if isinstance(schema, str) else schema
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise BodyError("The JSON schema of the output format is not valid.")
    return found
