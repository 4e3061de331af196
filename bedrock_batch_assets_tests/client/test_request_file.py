import json
from typing import Any

import pytest

from bedrock_batch_assets.client.request_file import read_request, run_config
from bedrock_batch_assets.errors import RequestError

OLD_REQUEST = {
    "s3_uri": "s3://my-bucket/inputs/jokes/topics.csv",
    "job_name_prefix": "test-joke-job1",
    "model_id": "anthropic.claude-3-haiku-20240307-v1:0",
    "prompt_id": "joke_about_topic",
}


def _refusal(fields: Any) -> str:
    with pytest.raises(RequestError) as caught:
        read_request(json.dumps(fields))
    return str(caught.value)


def test_a_request_of_the_step_functions_solution_is_taken_as_it_is() -> None:
    """The old input schema names the batch and gives the config, with nothing added that was not written."""
    batch, request = read_request(json.dumps(OLD_REQUEST))
    assert batch == "test-joke-job1"
    assert run_config(request) == {name: OLD_REQUEST[name] for name in ("s3_uri", "model_id", "prompt_id")}


def test_a_null_prompt_is_a_prompt_not_given() -> None:
    """`"prompt_id": null`, as embedding requests were written, is the same as no prompt_id."""
    _, request = read_request(json.dumps(OLD_REQUEST | {"prompt_id": None, "max_num_jobs": None}))
    assert request.prompt_id is None
    assert "prompt_id" not in run_config(request)
    assert "max_num_jobs" not in run_config(request)


def test_every_field_reaches_the_config() -> None:
    """All fields of a request are in the run config with their values, enums as text."""
    fields = {
        "dataset_id": "w601sxs/simpleCoT",
        "split": "test",
        "model_id": "us.amazon.nova-lite-v1:0",
        "prompt_id": "question_answering",
        "max_records_total": 100,
        "max_num_jobs": 1,
        "max_records_per_job": 50,
        "output_format": "csv",
        "inference_parameters": {"max_tokens": 300, "temperature": 0.5},
        "processor": "converse",
    }
    _, request = read_request(json.dumps({"job_name_prefix": "a.b-1", **fields}))
    assert run_config(request) == fields


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_token": 3, "colour": "red"}, "colour, max_token"),
        ({"job_name_prefix": None}, "job_name_prefix"),
        ({"model_id": " amazon.nova-lite-v1:0"}, "model_id"),
        ({"job_name_prefix": "a_b"}, "'a_b'"),
        ({"job_name_prefix": "x" * 41}, "41 characters"),
        ({"dataset_id": "a/b"}, "s3_uri and dataset_id"),
        ({"s3_uri": None}, "s3_uri and dataset_id"),
        ({"model_id": None}, "model_id"),
        ({"model_id": " "}, "model_id"),
        ({"max_num_jobs": 0}, "max_num_jobs"),
        ({"max_num_jobs": "3"}, "max_num_jobs"),
        ({"max_num_jobs": True}, "max_num_jobs"),
        ({"max_cost_usd": True}, "max_cost_usd"),
        ({"max_cost_usd": "5"}, "max_cost_usd"),
        ({"max_cost_usd": 0}, "max_cost_usd"),
        ({"max_records_total": 1.5}, "max_records_total"),
        ({"max_records_per_job": 100_001}, "max_records_per_job"),
        ({"output_format": "xlsx"}, "output_format"),
        ({"inference_parameters": [1]}, "inference_parameters"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], named: str) -> None:
    """A field that is unknown, missing or wrong is refused with its name, before anybody is asked."""
    assert named in _refusal(OLD_REQUEST | change)


@pytest.mark.parametrize("text", ["", "{", "nul", b"\xff\xfe{}"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    """Text that is no JSON is a request error, not a traceback."""
    with pytest.raises(RequestError, match="JSON"):
        read_request(text)


@pytest.mark.parametrize(("value", "kind"), [([], "array"), ("a", "string"), (None, "null"), (3, "number")])
def test_what_is_not_an_object_is_refused(value: Any, kind: str) -> None:
    """JSON that is no object is refused by kind."""
    assert kind in _refusal(value)
