"""Folders on S3 as other programs write them, read through the local AWS."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.errors import BatchError, ConfigurationError, RequestError
from bedrock_batch_assets.ingest.sources.opening import open_source
from bedrock_batch_assets.ingest.sources.partition_columns import partition_columns
from bedrock_batch_assets.ingest.sources.table_formats import table_within
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.parquet.crafted_files import int96_file, parquet

Put = Callable[[Mapping[str, bytes]], None]


@pytest.fixture
def put(local_aws: LocalAws) -> Put:
    """Puts objects into a new bucket `data`."""
    client = local_aws.client("s3")
    client.create_bucket(Bucket="data")

    def put_all(objects: Mapping[str, bytes]) -> None:
        for key, body in objects.items():
            client.put_object(Bucket="data", Key=key, Body=body)

    return put_all


def read(local_aws: LocalAws, key: str, s3: Any = None, **fields: Any) -> pa.Table:
    request = BatchRequest(model_id="m", s3_uri=f"s3://data/{key}", **fields)
    request.check()
    source = open_source(request, s3 or local_aws.client("s3"))
    return pa.Table.from_batches(source.batches(), schema=source.schema)


def topic(name: str, **more: Any) -> bytes:
    return parquet(pa.table({"topic": [name], **{column: [value] for column, value in more.items()}}))


def test_folder_names_give_columns(local_aws: LocalAws, put: Put) -> None:
    """Hive's `key=value` folders are columns behind the files' own: texts without escapes, and null by its name."""
    put(
        {
            "t/year=2023/city=K%C3%B6ln%2FBonn/a.parquet": topic("rain"),
            "t/year=2023/city=__HIVE_DEFAULT_PARTITION__/a.parquet": topic("snow"),
            "t/year=__HIVE_DEFAULT_PARTITION__/city=100%25 a=b/more/a.parquet": topic("hail"),
            "t/year=2023_$folder$": b"",
            "t/_SUCCESS": b"",
        }
    )
    table = read(local_aws, "t/")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("topic", "string"),
        ("year", "string"),
        ("city", "string"),
    ]
    assert table.to_pylist() == [
        {"topic": "rain", "year": "2023", "city": "Köln/Bonn"},
        {"topic": "snow", "year": "2023", "city": None},
        {"topic": "hail", "year": None, "city": "100% a=b"},
    ]


def test_columns_of_folder_names_may_have_types(local_aws: LocalAws, put: Put) -> None:
    """The request says which; a value that is not of the type is refused with the file and the column."""
    put({"t/year=2023/day=2023-05-01/a.parquet": topic("rain"), "t/year=-1/day=2024-02-29/a.parquet": topic("snow")})
    types = {"year": "integer", "day": "date"}
    rows = read(local_aws, "t", partition_types=types).to_pylist()
    assert [(row["year"], str(row["day"])) for row in rows] == [(-1, "2024-02-29"), (2023, "2023-05-01")]
    for wrong, words in (
        ({"day": "integer"}, "the folder's value '2024-02-29' of the column 'day' is not of the type int64"),
        ({"month": "integer"}, "partition_types names 'month', which no folder gives: .* 'year', 'day'"),
        ({"year": "int"}, "partition_types gives 'year' the type 'int': choose one of text, integer"),
    ):
        with pytest.raises(RequestError, match=words.replace("the folder's", "its folder's")):
            read(local_aws, "t/", partition_types=wrong)


def test_a_column_of_both_file_and_folder_has_to_agree(local_aws: LocalAws, put: Put) -> None:
    """It stays at its place and of its type if the two say the same, and is refused if not."""
    put(
        {
            "same/year=2023/month=05/a.parquet": topic("rain", year=2023),
            "other/year=2023/a.parquet": topic("rain", year=2024),
        }
    )
    table = read(local_aws, "same/")
    assert table.to_pylist() == [{"topic": "rain", "year": 2023, "month": "05"}]
    with pytest.raises(RequestError, match=r"other/year=2023/a.parquet has a column 'year' with other values"):
        read(local_aws, "other/")


def test_folders_of_two_kinds_are_refused(local_aws: LocalAws, put: Put) -> None:
    """A file outside of the `key=value` folders has no value for their columns."""
    put({"t/a.parquet": topic("rain"), "t/year=2023/a.parquet": topic("snow"), "twice/y=1/y=2/a.parquet": topic("x")})
    with pytest.raises(RequestError, match=r"year=2023/a.parquet lies in folders that give .* 'year', and .*none"):
        read(local_aws, "t/")
    with pytest.raises(RequestError, match="lies in two folders that give the column 'y'"):
        read(local_aws, "twice/")


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3))
def test_any_value_survives_its_folder_name(values: list[str]) -> None:
    """What Hive and Spark escape comes out as the text that it was."""
    escaped = [
        "".join(f"%{byte:02X}" if byte < 0x30 or byte > 0x7A else chr(byte) for byte in text.encode())
        for text in values
    ]
    path = "/".join(f"k{place}={value}" for place, value in enumerate(escaped))
    columns = partition_columns({"f": f"{path}/part-0.parquet"}, {})
    assert [field.name for field in columns.fields] == [f"k{place}" for place in range(len(values))]
    assert columns.by_file["f"] == values


def test_an_empty_object_of_the_folders_name_marks_it(local_aws: LocalAws, put: Put) -> None:
    """Consoles and old file systems leave one. Alone it is an empty file."""
    put(
        {
            "t": b"",
            "t/": b"",
            "t/a.parquet": topic("rain"),
            "s.parquet": b"",
            "s.parquet/a": topic("snow"),
            "e.parquet": b"",
        }
    )
    for key, expected in (("t", "rain"), ("t/", "rain"), ("s.parquet", "snow")):
        assert read(local_aws, key).to_pylist() == [{"topic": expected}]
    with pytest.raises(RequestError, match=r"s3://data/e.parquet is empty \(0 bytes\)"):
        read(local_aws, "e.parquet")


def test_an_empty_part_is_not_left_out_in_silence(local_aws: LocalAws, put: Put) -> None:
    """A Parquet file has bytes even without rows, so one of none is a write that failed."""
    put({"t/a.parquet": topic("rain"), "t/b.parquet": b"", "t/_c.parquet": b"", "t/000000_0": b""})
    with pytest.raises(RequestError, match=r"s3://data/t/b.parquet is empty \(0 bytes\), so its rows are missing"):
        read(local_aws, "t/")


@pytest.mark.parametrize("other", ["b.csv", "b.csv.gz", "more/b.jsonl", "b.orc", "b.JSON"])
def test_a_folder_of_two_kinds_of_files_is_refused(local_aws: LocalAws, put: Put, other: str) -> None:
    """The message names one file of each kind."""
    put({"t/a.parquet": topic("rain"), f"t/{other}": b"topic\nsnow\n"})
    with pytest.raises(RequestError, match=rf"t/ holds .*\(s3://data/t/(a.parquet|{other})\) and .*of one kind"):
        read(local_aws, "t/")


HUDI = {"t/.hoodie/hoodie.properties": b"x", "t/2024/a.parquet": topic("old")}
ICEBERG = {"t/metadata/00000-1.metadata.json": b"{}", "t/metadata/snap-1.avro": b"x", "t/data/a.parquet": topic("old")}
PAIMON = {"t/snapshot/snapshot-1": b"{}", "t/bucket-0/data-1.parquet": topic("old")}
ACID = {"t/base_0000001/bucket_00000": topic("old"), "t/delta_0000002_0000002_0000/bucket_00000": topic("new")}


@pytest.mark.parametrize(
    ("name", "objects"),
    [("Apache Hudi", HUDI), ("Apache Iceberg", ICEBERG), ("Apache Paimon", PAIMON), ("transactional Hive", ACID)],
)
def test_tables_with_a_log_are_refused(local_aws: LocalAws, put: Put, name: str, objects: dict[str, bytes]) -> None:
    """Their folders hold removed rows too. So are their folders above; the message names the table."""
    put(objects)
    with pytest.raises(RequestError, match=rf"^s3://data/t/ is a {name} table, whose folder holds rows that were"):
        read(local_aws, "t")
    with pytest.raises(RequestError, match=rf"^s3://data/ holds the {name} table s3://data/t/: name one table's own"):
        read(local_aws, "")


@pytest.mark.parametrize(
    ("name", "objects", "part"),
    [
        ("Apache Hudi", HUDI, "t/2024/"),
        ("Apache Iceberg", ICEBERG, "t/data/"),
        ("Apache Paimon", PAIMON, "t/bucket-0"),
        ("Delta Lake", {"t/_delta_log/0.json": b"{}", "t/a=1/b=2/x.parquet": topic("old")}, "t/a=1/b=2/"),
        ("Delta Lake", {"_delta_log/0.json": b"{}", "a=1/x.parquet": topic("old")}, "a=1"),
    ],
)
def test_parts_of_tables_with_a_log_are_refused(
    local_aws: LocalAws, put: Put, name: str, objects: dict[str, bytes], part: str
) -> None:
    """A partition of such a table holds removed rows just as well, and the log lies above it."""
    put(objects)
    with pytest.raises(RequestError, match=rf"lies in the {name} table s3://data/(t/)?, whose log alone knows"):
        read(local_aws, part)


class _MayNotList:
    """A client whose user may list one folder alone."""

    def __init__(self, client: Any, allowed: str) -> None:
        self._client = client
        self._allowed = allowed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_paginator(self, name: str) -> Any:
        paginator = self._client.get_paginator(name)
        paginate = paginator.paginate

        def checked(**arguments: Any) -> Any:
            if not arguments["Prefix"].startswith(self._allowed):
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")
            return paginate(**arguments)

        paginator.paginate = checked
        return paginator


class _Recording:
    """A client that notes which objects are fetched."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.keys: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **arguments: Any) -> Any:
        self.keys.append(arguments["Key"])
        return self._client.get_object(**arguments)


def test_who_may_not_list_the_folders_above_reads_his_own(local_aws: LocalAws, put: Put) -> None:
    """A policy that allows one prefix is enough to read it, as it always was."""
    put({"team/t/a.parquet": topic("rain")})
    client = _MayNotList(local_aws.client("s3"), "team/t/")
    assert read(local_aws, "team/t/", client).to_pylist() == [{"topic": "rain"}]


@pytest.mark.parametrize(
    "path",
    ["a/metadata/notes.json", "my_delta_log/x", "base_20240101/part-0.parquet", "hoodie/x", "snapshot/2024.parquet"],
)
def test_folders_that_look_alike_are_plain(path: str) -> None:
    """Only what such tables really have marks them."""
    assert table_within([path]) is None


def test_an_object_that_changes_while_it_is_read_is_an_error(local_aws: LocalAws, put: Put) -> None:
    """The footer that decided and the rows that follow are of one version of the file, never of two."""
    put({"t/a.parquet": topic("rain"), "t/b.parquet": topic("snow")})
    request = BatchRequest(model_id="m", s3_uri="s3://data/t/")
    source = open_source(request, local_aws.client("s3"))
    put({"t/b.parquet": topic("another topic")})
    with pytest.raises(ConfigurationError, match="was replaced while"):
        list(source.batches())


def upload(put: Put, folder: Path, prefix: str) -> None:
    put({f"{prefix}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()})


def test_a_delta_table_is_read_as_of_its_newest_version(local_aws: LocalAws, put: Put, tmp_path: Path) -> None:
    """Removed files are not read, partitions have the table's types, and a new column is null in older rows."""
    rows = {"topic": ["rain", "snow"], "year": [2023, 2024], "city": ["a/b c", None]}
    deltalake.write_deltalake(tmp_path, pa.table(rows), partition_by=["year", "city"])
    more = pa.table({"topic": ["hail"], "year": [2023], "city": ["100%"], "note": ["new"]})
    deltalake.write_deltalake(tmp_path, more, mode="append", schema_mode="merge", partition_by=["year", "city"])
    deltalake.DeltaTable(tmp_path).delete("topic = 'snow'")
    upload(put, tmp_path, "lake/t")
    table = read(local_aws, "lake/t")
    assert {field.name: str(field.type) for field in table.schema} == {
        "topic": "string",
        "note": "string",
        "year": "int64",
        "city": "string",
    }
    assert sorted(table.to_pylist(), key=str) == sorted(
        [
            {"topic": "rain", "note": None, "year": 2023, "city": "a/b c"},
            {"topic": "hail", "note": "new", "year": 2023, "city": "100%"},
        ],
        key=str,
    )
    with pytest.raises(RequestError, match="has types of its own: leave out partition_types"):
        read(local_aws, "lake/t", partition_types={"year": "text"})


def test_a_delta_table_with_a_checkpoint_needs_no_older_log(local_aws: LocalAws, put: Put, tmp_path: Path) -> None:
    """What the checkpoint has replaced is neither fetched nor looked at."""
    for number in range(3):
        deltalake.write_deltalake(tmp_path, pa.table({"topic": [str(number)]}), mode="append")
    deltalake.DeltaTable(tmp_path).create_checkpoint()
    deltalake.write_deltalake(tmp_path, pa.table({"topic": ["3"]}), mode="append")
    (tmp_path / "_delta_log" / f"{0:020d}.json").write_text("not a log")
    upload(put, tmp_path, "t")
    client = _Recording(local_aws.client("s3"))
    assert sorted(read(local_aws, "t/", client).column("topic").to_pylist()) == ["0", "1", "2", "3"]
    log = {key.rpartition("/")[2] for key in client.keys if "_delta_log" in key}
    assert f"{0:020d}.json" not in log
    assert f"{3:020d}.json" in log


def test_old_times_in_a_delta_table_are_of_utc(local_aws: LocalAws, put: Put, tmp_path: Path) -> None:
    """Spark writes INT96, which says no zone, into columns of the table's type `timestamp`, which is of UTC."""
    far = 253_402_214_400 * 10**9
    deltalake.write_deltalake(tmp_path, pa.table({"at": pa.array([0], pa.timestamp("us", "UTC"))}))
    [data] = tmp_path.glob("*.parquet")
    data.write_bytes(int96_file([0, far]))
    upload(put, tmp_path, "t")
    column = read(local_aws, "t/").column("at").combine_chunks()
    assert column.type == pa.timestamp("us", "UTC")
    assert column.cast(pa.int64()).to_pylist() == [0, far // 1_000]


def broken(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Changes the actions of the first entry of a log."""
    log = folder / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    change(actions)
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def _of_another_protocol(actions: list[dict[str, Any]]) -> None:
    for action in actions:
        if "protocol" in action:
            features = ["columnMapping"]
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7}
            action["protocol"] |= {"readerFeatures": features, "writerFeatures": features}
        if "metaData" in action:
            action["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"


def _of_a_missing_file(actions: list[dict[str, Any]]) -> None:
    for action in actions:
        if "add" in action:
            action["add"]["path"] = "gone.parquet"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_of_another_protocol, r"Delta Lake table (that uses|whose log cannot be read).*columnMapping|name"),
        (_of_a_missing_file, "names the file 'gone.parquet', which is not in its folder"),
        (list.clear, "whose log cannot be read"),
        (lambda actions: actions.__delitem__(slice(0, 2)), "whose log cannot be read"),
    ],
)
def test_a_delta_table_that_cannot_be_read_right_is_refused(
    local_aws: LocalAws, put: Put, tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], words: str
) -> None:
    """One line names the table and says what to do; no file is read as if there were no log."""
    deltalake.write_deltalake(tmp_path, pa.table({"topic": ["rain"]}))
    broken(tmp_path, change)
    upload(put, tmp_path, "t")
    with pytest.raises(RequestError, match=words) as caught:
        read(local_aws, "t/")
    assert str(caught.value).startswith("s3://data/t/ is a Delta Lake table")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_without_the_library_the_extra_is_named(local_aws: LocalAws, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Delta table is never read as a plain folder."""
    put({"t/_delta_log/00000000000000000000.json": b"{}", "t/a.parquet": topic("old")})
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(BatchError, match=r"t/ is a Delta Lake table.*install 'bedrock-batch-assets\[delta\]'"):
        read(local_aws, "t/")
