import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.errors import BatchError, ConfigurationError, RequestError
from bedrock_batch_assets.ingest.ingestion import IngestedTable, ingest
from bedrock_batch_assets.ingest.resolved_request import resolve_request
from bedrock_batch_assets.ingest.sources.opening import open_source
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.prompt_templates import prompt_id_to_template
from bedrock_batch_assets.records.rendering import RecordRenderer
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


TOPICS = pa.table({"id": ["007", "NA"], "topic": ["rain", "snow"]})
# What lies in the bucket `data`.
OBJECTS = {
    "topics.csv": b"id,topic\n007,rain\nNA,snow\n",
    "TOPICS.CSV": b"id,topic\n007,rain\nNA,snow\n",
    "topics.csv.gz": gzip.compress(b"id,topic\n007,rain\nNA,snow\n"),
    "topics.parquet": parquet(TOPICS),
    "folder/part-0.parquet": parquet(TOPICS.slice(0, 1)),
    "folder/more/part-1": parquet(TOPICS.slice(1)),
    "folder/_SUCCESS": b"",
    "folder/.part-0.parquet.crc": b"x",
    "folder/_temporary/part-0.parquet": b"x",
    "folder/empty": b"",
    "spark.parquet/part-0.parquet": parquet(TOPICS),
    "embed.csv": b"input_text\nrain\n\nsnow\n",
    "notes.txt": b"rain",
    "empty.csv": b"",
    "empty.parquet": b"",
    "header.csv": b"id,topic\n",
    "no_rows.parquet": parquet(TOPICS.slice(0, 0)),
    "twice.csv": b"topic,id,topic\nrain,1,snow\n",
    "unnamed.csv": b"topic,,id\nrain,1,2\n",
    "taken.csv": b"topic,response\nrain,x\n",
    "latin.csv": b"id,topic\n1,caf\xe9\n",
    "ragged.csv": b"id,topic\n1,rain\n2\n",
    "csv.parquet": b"id,topic\n1,rain\n",
    "mixed/a.parquet": parquet(TOPICS),
    "mixed/b.parquet": parquet(pa.table({"id": ["1"], "topic": [5]})),
    "readme/a.parquet": parquet(TOPICS),
    "readme/readme.md": b"# Topics",
    "hidden/_part.parquet": parquet(TOPICS),
    "blank.csv": b"id,topic\n1,\n2,\n",
    "image.parquet": parquet(pa.table({"topic": [b"\x89PNG"]})),
}


@pytest.fixture(scope="module")
def objects(local_aws_server: LocalAws) -> Callable[[], Any]:
    """Puts the objects into a fresh bucket."""

    def make() -> Any:
        client = local_aws_server.client("s3")
        client.create_bucket(Bucket="data")
        for key, body in OBJECTS.items():
            client.put_object(Bucket="data", Key=key, Body=body)
        return client

    return make


def start(directory: Path, s3: Any, *, name: str = "demo-run-001", **fields: Any) -> IngestedTable:
    """All that happens to a request before anything is submitted."""
    given = BatchRequest(**{"model_id": HAIKU, "prompt_id": "joke_about_topic", **fields})
    request = resolve_request(name, given, processors=Processors(), prices=Prices(), minimum_records=100)
    source = open_source(given, s3)
    renderer = RecordRenderer(request.processor, request.template, source.schema)
    return ingest(request, source=source, renderer=renderer, directory=directory)


# The request's fields, the error, and words that its message must hold: what is wrong, and where.
REFUSED: list[tuple[dict[str, Any], type[BatchError], tuple[str, ...]]] = [
    # The request itself.
    ({"model_id": " "}, RequestError, ("model_id is empty",)),
    ({}, RequestError, ("exactly one of s3_uri and dataset_id", "neither")),
    ({"s3_uri": "s3://data/topics.csv", "dataset_id": "a/b"}, RequestError, ("exactly one", "both")),
    ({"dataset_id": "a/b", "split": ""}, RequestError, ("split is empty",)),
    ({"s3_uri": "s3://data/topics.csv", "max_records_total": 0}, RequestError, ("max_records_total is 0",)),
    ({"s3_uri": "s3://data/topics.csv", "max_num_jobs": -1}, RequestError, ("max_num_jobs is -1",)),
    ({"s3_uri": "s3://data/topics.csv", "max_cost_usd": -1}, RequestError, ("max_cost_usd is -1",)),
    ({"s3_uri": "s3://data/topics.csv", "max_cost_usd": float("nan")}, RequestError, ("max_cost_usd is nan",)),
    ({"s3_uri": "s3://data/topics.csv", "max_records_per_job": 0}, RequestError, ("max_records_per_job is 0",)),
    ({"s3_uri": "s3://data/topics.csv", "max_records_per_job": 100_001}, RequestError, ("100001", "at most 100000")),
    ({"s3_uri": "s3://data/topics.csv", "name": "a_b"}, RequestError, ("'a_b'", "letters and digits")),
    ({"s3_uri": "s3://data/topics.csv", "name": "x" * 41}, RequestError, ("41 characters", "at most 40")),
    # Model and prompt.
    ({"s3_uri": "s3://data/topics.csv", "model_id": "acme.unknown-v1:0"}, RequestError, ("acme.unknown-v1:0",)),
    ({"s3_uri": "s3://data/topics.csv", "model_id": f"bedrock/{HAIKU}"}, RequestError, (f"set it to '{HAIKU}'",)),
    ({"s3_uri": "s3://data/topics.csv", "model_id": f" {HAIKU}"}, RequestError, (f"set it to '{HAIKU}'",)),
    ({"s3_uri": "s3://data/topics.csv", "model_id": "us.deepseek.v3.2"}, RequestError, ("set it to 'deepseek.v3.2'",)),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": None}, RequestError, ("Text models need a prompt",)),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": "nope"}, RequestError, ("'nope'", "joke_about_topic")),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": "attribute"}, RequestError, ("{topic.x}", "attributes")),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": "json"}, RequestError, ('{"a.b": 1}', "double the braces")),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": "index"}, RequestError, ("{topic[0]}", "indexes")),
    ({"s3_uri": "s3://data/topics.csv", "prompt_id": "sentiment"}, RequestError, ("'text'", "'id', 'topic'")),
    ({"s3_uri": "s3://data/topics.csv", "model_id": TITAN}, RequestError, ("'input_text'", "'id', 'topic'")),
    ({"s3_uri": "s3://data/image.parquet"}, RequestError, ("'topic'", "bytes")),
    # Where the table is.
    ({"s3_uri": "data/topics.csv"}, RequestError, ("'data/topics.csv'", "s3://bucket/key")),
    ({"s3_uri": "s3:///topics.csv"}, RequestError, ("'s3:///topics.csv'", "s3://bucket/key")),
    ({"s3_uri": "s3://Da_ta/topics.csv"}, RequestError, ("'Da_ta'", "lower-case")),
    ({"s3_uri": "s3://data/missing.csv"}, RequestError, ("s3://data/missing.csv does not exist",)),
    ({"s3_uri": "s3://data/missing.parquet"}, RequestError, ("s3://data/missing.parquet does not exist",)),
    ({"s3_uri": "s3://data/missing/"}, RequestError, ("s3://data/missing/ does not exist",)),
    ({"s3_uri": "s3://nowhere/topics.csv"}, ConfigurationError, ("bucket 'nowhere' does not exist",)),
    ({"s3_uri": "s3://nowhere/folder/"}, ConfigurationError, ("bucket 'nowhere' does not exist",)),
    ({"s3_uri": "s3://data/notes.txt"}, RequestError, ("s3://data/notes.txt", "neither .csv nor .parquet")),
    # What is in it.
    ({"s3_uri": "s3://data/empty.csv"}, RequestError, ("s3://data/empty.csv is empty",)),
    ({"s3_uri": "s3://data/empty.parquet"}, RequestError, ("s3://data/empty.parquet is empty",)),
    ({"s3_uri": "s3://data/header.csv"}, RequestError, ("s3://data/header.csv", "no rows")),
    ({"s3_uri": "s3://data/no_rows.parquet"}, RequestError, ("s3://data/no_rows.parquet", "no rows")),
    ({"s3_uri": "s3://data/blank.csv"}, RequestError, ("none of the 2 rows can be sent", "topic")),
    ({"s3_uri": "s3://data/hidden/"}, RequestError, ("s3://data/hidden/ holds no Parquet file",)),
    ({"s3_uri": "s3://data/twice.csv"}, RequestError, ("more than one column named 'topic'",)),
    ({"s3_uri": "s3://data/unnamed.csv"}, RequestError, ("column 2 of 3 has no name",)),
    ({"s3_uri": "s3://data/taken.csv"}, RequestError, ("'response'", "rename the column")),
    ({"s3_uri": "s3://data/latin.csv"}, RequestError, ("not UTF-8: byte 0xe9 at offset 14 (line 2)",)),
    ({"s3_uri": "s3://data/ragged.csv"}, RequestError, ("row 2", "1 cells where the header has 2")),
    ({"s3_uri": "s3://data/csv.parquet"}, RequestError, ("s3://data/csv.parquet is not a Parquet file",)),
    ({"s3_uri": "s3://data/mixed/"}, RequestError, ("'topic' is int64 in s3://data/mixed/b.parquet",)),
    ({"s3_uri": "s3://data/readme/"}, RequestError, ("s3://data/readme/readme.md is not a Parquet file",)),
]


def test_every_mistake_is_named_before_anything_is_submitted(
    objects: Callable[[], Any], local_aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake gives one error of the right kind, in one line that says what, where, and what to do."""
    monkeypatch.setitem(prompt_id_to_template, "attribute", "About {topic.x}")
    monkeypatch.setitem(prompt_id_to_template, "index", "About {topic[0]}")
    monkeypatch.setitem(prompt_id_to_template, "json", 'Say {"a.b": 1} about {topic}')
    s3 = objects()
    wrong = []
    for fields, kind, words in REFUSED:
        try:
            start(tmp_path, s3, **fields)
        except BatchError as error:
            message = str(error)
            if type(error) is not kind and not isinstance(error, kind):
                wrong.append((fields, f"{type(error).__name__} instead of {kind.__name__}: {message}"))
            if missing := [word for word in words if word not in message]:
                wrong.append((fields, f"{missing} not in: {message}"))
            if "\n" in message or not message.endswith("."):
                wrong.append((fields, f"not a sentence: {message}"))
        else:
            wrong.append((fields, "accepted"))
    assert not wrong
    assert not local_aws.jobs()


ACCEPTED = [
    "s3://data/topics.csv",
    "s3://data/TOPICS.CSV",
    "s3://data/topics.csv.gz",
    "s3://data/topics.parquet",
    "s3://data/folder/",
    "s3://data/folder",
    "s3://data/spark.parquet",
]


def test_tables_are_read_from_where_the_request_says(
    objects: Callable[[], Any], local_aws: LocalAws, tmp_path: Path
) -> None:
    """CSV, gzip, Parquet, and folders of Parquet files give the same rows; hidden and empty files do not count."""
    s3 = objects()
    for uri in ACCEPTED:
        result = start(tmp_path, s3, s3_uri=uri)
        rows = pq.read_table(result.parquet_path).sort_by("topic")
        assert rows.to_pylist() == TOPICS.to_pylist(), uri


def test_embedding_models_take_no_prompt(objects: Callable[[], Any], local_aws: LocalAws, tmp_path: Path) -> None:
    """A prompt is not needed for them, and is ignored if one is given; blank lines of a single column are rows."""
    s3 = objects()
    for prompt in (None, "joke_about_topic"):
        result = start(tmp_path, s3, s3_uri="s3://data/embed.csv", model_id=TITAN, prompt_id=prompt)
        assert (result.row_count, result.records_to_send, result.skipped_count) == (3, 2, 1)
        assert '"inputText": "rain"' in result.sample_record


class _Refusing:
    """An S3 client that refuses everything."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def head_object(self, **_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ClientError({"Error": {"Code": "403"}}, "HeadObject"), "denied: s3:GetObject .* allow s3:GetObject"),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "HeadObject"), "renew"),
        (NoCredentialsError(), "no AWS credentials for s3:GetObject"),
    ],
)
@pytest.mark.parametrize("key", ["topics.csv", "topics.parquet"])
def test_denied_access_is_a_matter_of_configuration(error: Exception, words: str, key: str, tmp_path: Path) -> None:
    """Missing rights and credentials are not taken for a missing table."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        start(tmp_path, _Refusing(error), s3_uri=f"s3://data/{key}")
    assert f"s3://data/{key}" in str(caught.value)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request's own numbers count before the environment's, and those before the defaults."""
    request = BatchRequest(model_id=HAIKU, s3_uri="s3://data/t.csv")
    assert (request.records_per_job, request.records_total) == (1_000, None)
    monkeypatch.setenv("MAX_RECORDS_PER_JOB", "250")
    monkeypatch.setenv("MAX_TOTAL_RECORDS", "70")
    assert (request.records_per_job, request.records_total) == (250, 70)
    own = BatchRequest(model_id=HAIKU, s3_uri="s3://data/t.csv", max_records_per_job=5, max_records_total=6)
    assert (own.records_per_job, own.records_total) == (5, 6)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "²"])
def test_an_unreadable_environment_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is no positive number is an error, not no limit."""
    monkeypatch.setenv("MAX_TOTAL_RECORDS", text)
    with pytest.raises(RequestError, match="MAX_TOTAL_RECORDS"):
        BatchRequest(model_id=HAIKU, s3_uri="s3://data/t.csv").check()
