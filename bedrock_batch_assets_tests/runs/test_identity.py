"""Runs by any door: what they are tagged with, and what waits for what."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey
from dagster._core.test_utils import create_run_for_test

from bedrock_batch_assets.runs.identity import identify, identity_tags
from bedrock_batch_assets.tags import BATCH_TAG, MODEL_TAG, PARTITION_TAG
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def test_a_run_without_the_coordinator_tags_itself(bench: Bench) -> None:
    """What `materialize()` starts in a notebook has the batch, the chunk and the model in its tags all the same."""
    uri = bench.put_csv("t.csv", ["topic"], [[f"topic {index}"] for index in range(120)])
    request: dict[str, Any] = {"model_id": HAIKU, "prompt_id": "joke_about_topic", "s3_uri": uri}
    assert bench.input("jokes", **request).success
    assert bench.chunk("jokes-00000").success
    tagged = {run.tags.get(PARTITION_TAG): run.tags for run in bench.instance.get_runs()}
    assert set(tagged) == {"jokes (batch)", "jokes-00000"}
    assert {tags[BATCH_TAG] for tags in tagged.values()} == {"jokes"}
    assert tagged["jokes-00000"][MODEL_TAG] == HAIKU


def test_a_batch_named_like_a_chunk_does_not_wait_for_it() -> None:
    """`run-20240` is a batch, and chunk 20240 of the batch `run`: the limit of one counts them apart."""
    with dg.DagsterInstance.ephemeral() as instance:

        def run_of(asset: str) -> dg.DagsterRun:
            run: dg.DagsterRun = create_run_for_test(
                instance, asset_selection=frozenset({AssetKey(asset)}), tags={"dagster/partition": "run-20240"}
            )
            return run

        of_batch, of_chunk = run_of("result_table"), run_of("result_parts")
        batch_tags, chunk_tags = identity_tags(instance, of_batch), identity_tags(instance, of_chunk)
        assert batch_tags[BATCH_TAG] == "run-20240"
        assert chunk_tags[BATCH_TAG] == "run"
        assert batch_tags[PARTITION_TAG] != chunk_tags[PARTITION_TAG]
        for run, tags in ((of_batch, batch_tags), (of_chunk, chunk_tags)):
            identity = identify(instance, run.with_tags({**run.tags, **tags}))
            assert identity is not None
            assert (identity.batch, identity.partition) == (tags[BATCH_TAG], "run-20240")
