"""CSV tables as a request names them: a file, a folder of Spark's, a dataset, and files that need settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.opening import open_source
from bedrock_batch_assets.request import BatchRequest
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws
from bedrock_batch_assets_tests.resources_on_local_aws import HAIKU

# Texts that readers with ideas of their own take for null, for a number or for a date.
NOTES = ["NA", "None", "null", "007", "1e5", "", "nan", "True", "2024-01-01", " x "]
CSV = "id,note\n" + "".join(f"{number},{note}\n" for number, note in enumerate(NOTES))
ROWS = [{"id": str(number), "note": note} for number, note in enumerate(NOTES)]

Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def put(local_aws: LocalAws) -> Callable[[str, bytes], str]:
    """Writes an object and returns its URI."""
    local_aws.create_bucket("data")

    def write(key: str, content: bytes) -> str:
        local_aws.client("s3").put_object(Bucket="data", Key=key, Body=content)
        return f"s3://data/{key}"

    return write


@pytest.fixture
def read(local_aws: LocalAws) -> Read:
    """The rows of a request's table."""

    def rows(**request: Any) -> list[dict[str, Any]]:
        source = open_source(BatchRequest(model_id=HAIKU, **request), local_aws.client("s3"))
        return [row for batch in source.batches() for row in batch.to_pylist()]

    return rows


def test_a_dataset_and_a_file_of_the_same_csv_are_the_same(
    put: Callable[[str, bytes], str], read: Read, tmp_path: Path
) -> None:
    """Texts stay texts by both ways: none becomes null, and no row is lost for it."""
    (tmp_path / "train.csv").write_text(CSV)
    assert read(s3_uri=put("in/t.csv", CSV.encode())) == ROWS
    assert read(dataset_id=str(tmp_path)) == ROWS


def test_a_folder_of_sparks_parts_is_one_table(put: Callable[[str, bytes], str], read: Read) -> None:
    """Each part has a header; the marker of success, and a part that holds only its header, are no rows."""
    put("in/out.csv/_SUCCESS", b"")
    put("in/out.csv/part-00000.csv", b"id,note\n0,a\n")
    put("in/out.csv/part-00001.csv", b"id,note\n")
    put("in/out.csv/part-00002.csv", b"note,id\nb,1\n")
    assert read(s3_uri="s3://data/in/out.csv/") == [{"id": "0", "note": "a"}, {"id": "1", "note": "b"}]


TEXT = 'id,note\n0,"Zoë said ""hi"""\n1,"naïve, café"\n'


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"id;note\n0;a,b\n1;c\n", {"delimiter": ";"}),
        (b"id\tnote\n0\ta,b\n1\tc\n", {"delimiter": "\\t"}),
        (b'id,note\n0,"say \\"hi\\", she said"\n1,c\n', {"escape": "\\"}),
        (TEXT.encode("utf-16"), {"encoding": "utf-16"}),
        (TEXT.encode("cp1252"), {"encoding": "cp1252"}),
    ],
    ids=["semicolon", "tab", "Spark", "UTF-16", "cp1252"],
)
def test_an_error_proposes_the_setting_that_reads_the_file(
    put: Callable[[str, bytes], str], read: Read, content: bytes, settings: dict[str, str]
) -> None:
    """Without the setting, one line names it with its value; with it, two rows are read."""
    uri = put("in/t.csv", content)
    with pytest.raises(RequestError) as raised:
        read(s3_uri=uri)
    [(name, value)] = settings.items()
    assert name in str(raised.value)
    assert value.replace("\\", "") in str(raised.value).replace("\\", "")
    assert "\n" not in str(raised.value)
    rows = read(s3_uri=uri, csv=settings)
    assert [row["id"] for row in rows] == ["0", "1"]
    assert len({*rows[0]}) == 2


def test_cells_of_the_null_text_are_null(put: Callable[[str, bytes], str], read: Read) -> None:
    """Only without quotes; every other cell stays text."""
    uri = put("in/t.csv", b'id,note\n0,NULL\n1,"NULL"\n2,null\n')
    notes = [row["note"] for row in read(s3_uri=uri, csv={"null_text": "NULL"})]
    assert notes == [None, "NULL", "null"]
