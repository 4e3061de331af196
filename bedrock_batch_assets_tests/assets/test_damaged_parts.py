"""Parts of a result table that are damaged on S3, and what the accounting checks of the table say."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import AssetCheckEvaluation

from bedrock_batch_assets.assets.checks import CheckLimits, table_checks
from bedrock_batch_assets.assets.result_table import rows_in_files
from bedrock_batch_assets.storage.manifests import add_summaries
from bedrock_batch_assets.storage.table_folder import TableFolder
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.parquet.damage import damaged
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU, Bench

BATCH = "jokes"
PARTS = [f"batch_output_parquet/{BATCH}/part-0000{index}.parquet" for index in range(2)]
ROWS = 200


@pytest.fixture
def bench(local_aws: LocalAws) -> Iterator[Bench]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Bench.create(local_aws, instance)


def start(bench: Bench, output_format: str = "parquet") -> None:
    """A table of two parts of a hundred rows."""
    uri = bench.put_csv("inputs/t.csv", ["topic"], [[f"topic {index}"] for index in range(ROWS)])
    bench.run(
        BATCH, s3_uri=uri, model_id=HAIKU, prompt_id="joke_about_topic", max_records_per_job=100,
        output_format=output_format,
    )  # fmt: skip


def put(bench: Bench, key: str, data: bytes) -> None:
    """Put other bytes in the place of a part, which keeps its account."""
    info = bench.storage.objects.head(key)
    assert info is not None
    bench.storage.objects.put_bytes(key, data, metadata=info.metadata)


def original(bench: Bench, index: int) -> str:
    """The key of what a part is a copy of: a damaged copy alone is made again by the next table."""
    folder = bench.storage.layout.staged_folder(BATCH)
    (key,) = [info.key for info in bench.storage.objects.list(folder) if f"/0000{index}-" in info.key]
    return key


class Account:
    """The blocking check, on what is in the folder whenever it is asked."""

    def __init__(self, bench: Bench) -> None:
        self._storage = bench.storage
        self._batch = bench.storage.batch_manifest(BATCH)
        self._parts = [part for part in TableFolder(self._batch, bench.storage).find_parts() if part is not None]

    def check(self) -> dg.AssetCheckResult:
        """Its result."""
        summaries = [part.summary for part in self._parts]
        files = rows_in_files(self._batch, self._parts, self._storage)
        return table_checks(
            self._batch, summaries, add_summaries(summaries, self._batch.version), files, {}, CheckLimits()
        )[0]


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {item.check_name: item for item in result.get_asset_check_evaluations()}


@pytest.mark.parametrize("column", ["record_status", "response"])
def test_every_damage_that_can_be_seen_blocks(bench: Bench, column: str) -> None:
    """Whatever is wrong with the second part's footer, its statuses or its size: the blocking check names it."""
    start(bench)
    account = Account(bench)
    assert account.check().passed
    whole = bench.storage.objects.get_bytes(PARTS[1])
    passed = []
    for damage in damaged(whole, column):
        # There is one row group, which cannot change places; and of other columns no pages are read.
        if damage.data == whole or not (damage.is_in_footer or column == "record_status"):
            continue
        put(bench, PARTS[1], damage.data)
        result = account.check()
        if result.passed:
            passed.append(damage.name)
        assert f"{BATCH}-00001: its " in str(result.description) or result.passed
    assert passed == []
    put(bench, PARTS[1], whole)
    assert account.check().passed


def test_parts_that_changed_places_block(bench: Bench) -> None:
    """Each has as many rows as the other, of the same statuses: it is its footer that belongs to another part."""
    start(bench)
    contents = [bench.storage.objects.get_bytes(key) for key in PARTS]
    for key, data in zip(PARTS, reversed(contents), strict=True):
        put(bench, key, data)
    result = Account(bench).check()
    assert (result.passed, result.metadata["damaged_parts"].value) == (False, 2)


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_part_blocks_and_breaks_nothing_else(bench: Bench, index: int) -> None:
    """The table is materialized, its run fails by the check alone, and its part that is made again mends it."""
    start(bench)
    answers = original(bench, index)
    whole = bench.storage.objects.get_bytes(answers)
    damages = {damage.name: damage.data for damage in damaged(whole, "record_status")}
    for name in (
        "row counts everywhere -1",
        "codec GZIP",
        "a page is missing",
        "cut off after 50%",
        "cut off after 0%",
    ):
        put(bench, answers, damages[name])
        result = bench.table(BATCH)
        assert not result.success
        assert result.asset_materializations_for_node("result_table")
        checks = evaluations(result)
        assert not checks["rows_accounted_for"].passed
        assert f"{BATCH}-0000{index}: its " in str(checks["rows_accounted_for"].description)
    assert bench.chunk(f"{BATCH}-0000{index}").success
    assert bench.table(BATCH).success
    assert len(bench.read_table(BATCH)) == ROWS


def test_a_column_that_cannot_be_read_blocks_in_the_part_that_is_shown(bench: Bench) -> None:
    """The first rows of the first part are read with all of their columns, for the preview."""
    start(bench)
    whole = bench.storage.objects.get_bytes(original(bench, 0))
    damage = next(x.data for x in damaged(whole, "response") if x.name == "ones for the first page")
    put(bench, original(bench, 0), damage)
    check = evaluations(bench.table(BATCH))["rows_accounted_for"]
    assert not check.passed
    assert f"{BATCH}-00000: its file cannot be read" in str(check.description)


def test_a_csv_part_that_was_cut_off_blocks(bench: Bench) -> None:
    """CSV is not decoded, but its size is known."""
    start(bench, "csv")
    account = Account(bench)
    assert account.check().passed
    key = PARTS[1].replace(".parquet", ".csv")
    whole = bench.storage.objects.get_bytes(key)
    for size in (0, 100, len(whole) - 1):
        put(bench, key, whole[:size])
        result = account.check()
        assert not result.passed
        assert f"part 1: its file has {size} bytes" in str(result.description)
