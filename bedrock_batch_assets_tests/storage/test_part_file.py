"""Files of the result table."""

from pathlib import Path

import pyarrow as pa
import pytest

from bedrock_batch_assets.request import OutputFormat
from bedrock_batch_assets.storage.part_file import PartFile, read_head

ROWS = [{"a": f"row {index}\nwith a break", "n": index} for index in range(8)]


@pytest.mark.parametrize("count", [1, 5, 8, 20])
@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_head_is_the_first_rows_as_far_as_there_are_any(
    tmp_path: Path, output_format: OutputFormat, count: int
) -> None:
    """Asked for more rows than there are, all come; otherwise so many as were asked for, from the first on."""
    path = tmp_path / "part"
    with PartFile(path, output_format) as part:
        part.write(pa.RecordBatch.from_pylist(ROWS))
    with path.open("rb") as file:
        head = read_head(file, output_format, count)
    assert [row["a"] for row in head] == [row["a"] for row in ROWS[:count]]


def test_csv_holds_lists_as_json_and_nulls_as_nothing(tmp_path: Path) -> None:
    """What CSV has no type for is JSON, and a null is an empty cell."""
    path = tmp_path / "part.csv"
    batch = pa.RecordBatch.from_pydict({"vector": [[0.5, 1.0], None], "text": ["x", None]})
    with PartFile(path, OutputFormat.csv) as part:
        part.write(batch)
    with path.open("rb") as file:
        head = read_head(file, OutputFormat.csv, 2)
    assert head == [{"vector": "[0.5, 1.0]", "text": "x"}, {"vector": "", "text": ""}]
