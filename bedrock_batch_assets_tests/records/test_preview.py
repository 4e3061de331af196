import datetime

import pyarrow as pa

from bedrock_batch_assets.records.preview import preview_rows


def odd_batch() -> pa.RecordBatch:
    """Values that Python does not have, next to some that it has."""
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    return pa.RecordBatch.from_arrays(
        [
            pa.array([2**62], pa.timestamp("s")),
            broken,
            pa.array(["x" * 1_000]),
            pa.array([None], pa.int64()),
            pa.array([datetime.date(2024, 5, 1)]),
        ],
        names=["far", "broken", "long", "nothing", "day"],
    )


def test_a_preview_never_raises() -> None:
    """What Python has no value for is shown all the same, and long texts are cut short."""
    [row] = preview_rows(odd_batch())
    assert row["broken"] == "(not UTF-8)"
    assert row["far"] == "146138514283-06-19 07:45:04"
    assert len(row["long"]) == 300
    assert (row["nothing"], row["day"]) == (None, datetime.date(2024, 5, 1))
