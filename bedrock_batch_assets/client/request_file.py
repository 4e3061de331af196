"""The request as a JSON file: the input of the Step Functions solution, with this platform's fields added."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from bedrock_batch_assets.request import BatchRequest

BATCH_FIELD = "job_name_prefix"


def read_request(text: str | bytes) -> "tuple[str, BatchRequest]":
    """The batch's name and its request, checked as far as that goes without reading the input.

    Raises:
        RequestError: It is not a JSON object, a field is unknown, missing or does not fit, or the name cannot name
            a batch. The message names the field.
    """
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise RequestError(f"The request is not valid JSON: {error}.") from error
    if not isinstance(fields, Mapping):
        raise RequestError(f"The request is a JSON {_kind(fields)}: it must be an object, {{…}}.")
    return checked_request(fields)


def checked_request(fields: Mapping[str, Any]) -> "tuple[str, BatchRequest]":
    """The batch's name and its request, from the fields of a request file.

    Raises:
        RequestError: See `read_request`.
    """
    from pydantic import ValidationError

    from bedrock_batch_assets.jobs.model_id_rule import check_model_id
    from bedrock_batch_assets.partition_keys import check_batch_key
    from bedrock_batch_assets.request import BatchRequest

    known = set(BatchRequest.model_fields)
    unknown = sorted(set(fields) - known - {BATCH_FIELD})
    if unknown:
        meant = did_you_mean(unknown[0], [*known, BATCH_FIELD])
        raise RequestError(
            f"The request has unknown fields: {', '.join(unknown)}.{meant} It takes {BATCH_FIELD}, "
            f"{', '.join(sorted(known))}."
        )
    batch = fields.get(BATCH_FIELD)
    if not isinstance(batch, str):
        raise RequestError(f"The request has no {BATCH_FIELD}: give the batch a name, as in 'demo-run-001'.")
    check_batch_key(batch)
    for name in ("max_records_total", "max_num_jobs", "max_records_per_job"):
        # pydantic would take true for 1.
        if fields.get(name) is not None and type(fields[name]) is not int:
            raise RequestError(f"{name} is {json.dumps(fields[name])}: it must be a whole number.")
    cost = fields.get("max_cost_usd")
    if cost is not None and type(cost) not in {int, float}:
        raise RequestError(f"max_cost_usd is {json.dumps(cost)}: it must be a number of USD.")
    if fields.get("csv") is not None:
        fields = {**fields, "csv": _csv_settings(fields["csv"])}
    # null in the file means "not given", as it did for the Step Functions input.
    given = {name: value for name, value in fields.items() if name != BATCH_FIELD and value is not None}
    try:
        request = BatchRequest(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "The request"
        if first["type"] == "missing":
            raise RequestError(f"{place} is missing: the request needs it.") from error
        raise RequestError(f"{place} does not fit: {first['msg']}.") from error
    check_model_id(request.model_id)
    request.check()
    return batch, request


def _csv_settings(given: Any) -> dict[str, Any]:
    from bedrock_batch_assets.request import CsvSettings

    if not isinstance(given, Mapping):
        raise RequestError(f'csv is {json.dumps(given)}: it must be an object, such as {{"delimiter": ";"}}.')
    known = set(CsvSettings.model_fields)
    unknown = sorted(set(given) - known)
    if unknown:
        raise RequestError(f"csv has unknown fields: {', '.join(unknown)}. It takes {', '.join(sorted(known))}.")
    if given.get("escape_unquoted") is not None and not isinstance(given["escape_unquoted"], bool):
        # pydantic would take "yes" for true.
        raise RequestError(f"csv.escape_unquoted is {json.dumps(given['escape_unquoted'])}: it must be true or false.")
    return {name: value for name, value in given.items() if value is not None}


def run_config(request: "BatchRequest") -> dict[str, Any]:
    """The request as the config of `input_dataset`, with what was given alone: defaults stay the server's."""
    return request.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
