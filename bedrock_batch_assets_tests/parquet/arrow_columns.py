"""Columns of the types that tables have."""

import datetime as dt
import decimal

import pyarrow as pa

_DAY = dt.date(2024, 2, 29)
_TIME = dt.datetime(2024, 2, 29, 12, 30, 1, 5)


def typed_columns() -> dict[str, pa.Array]:
    """Five values for each of many Arrow types; nulls included, at any depth."""
    point = pa.struct([pa.field("x", pa.int32()), pa.field("names", pa.list_(pa.string()))])
    return {
        "bool": pa.array([True, None, False, True, None]),
        "uint8": pa.array([0, 255, None, 1, 2], pa.uint8()),
        "int64": pa.array([-(2**63), 2**63 - 1, None, 0, 1], pa.int64()),
        "uint64": pa.array([2**64 - 1, 0, None, 0, 1], pa.uint64()),
        "half": pa.array([1.5, None, 0.0, -0.0, 2.0], pa.float32()).cast(pa.float16()),
        "float": pa.array([1.5, None, float("inf"), -0.0, 2.0], pa.float32()),
        "double": pa.array([0.1, None, 1e300, -0.0, 2.0], pa.float64()),
        "string": pa.array(["", "ü", None, "NA", "a\nb"]),
        "large_string": pa.array(["", "ü", None, "NA", "a\nb"], pa.large_string()),
        "binary": pa.array([b"", b"\x00", None, b"\xff", b"x"]),
        "large_binary": pa.array([b"", b"\x00", None, b"\xff", b"x"], pa.large_binary()),
        "fixed_binary": pa.array([b"abc", b"\x00\x00\x00", None, b"xyz", b"abd"], pa.binary(3)),
        "date32": pa.array([_DAY, None, _DAY, _DAY, dt.date(9, 1, 1)], pa.date32()),
        "time64": pa.array([dt.time(1, 2, 3), None, dt.time(0), dt.time(0), dt.time(0)], pa.time64("ns")),
        "timestamp": pa.array([_TIME, None, _TIME, _TIME, _TIME.replace(hour=1)], pa.timestamp("us")),
        "timestamp_zone": pa.array(
            [_TIME, None, _TIME, _TIME, _TIME.replace(hour=1)], pa.timestamp("ns", "Europe/Berlin")
        ),
        "duration": pa.array([dt.timedelta(1), None, dt.timedelta(0), None, dt.timedelta(2)], pa.duration("us")),
        "decimal": pa.array([decimal.Decimal("1.10"), None, *[decimal.Decimal("-0.01")] * 3], pa.decimal128(9, 2)),
        "decimal256": pa.array([decimal.Decimal("1.10"), None, *[decimal.Decimal("-0.01")] * 3], pa.decimal256(50, 2)),
        "null": pa.nulls(5),
        "list": pa.array([[1, None], [], None, [2], [3, 4]], pa.list_(pa.int16())),
        "large_list": pa.array([["a", None], [], None, [""], ["b"]], pa.large_list(pa.string())),
        "fixed_list": pa.array([[1, 2], [None, 3], None, [4, 5], [6, 7]], pa.list_(pa.float32(), 2)),
        "struct": pa.array([{"x": 1, "names": ["a"]}, None, {"x": None, "names": None}, {}, {"x": 2}], point),
        "structs": pa.array([[{"x": 1, "names": ["a", None]}, None], [], None, [{}], []], pa.list_(point)),
        "map": pa.array([[("a", 1)], None, [("b", None), ("c", 2)], [], []], pa.map_(pa.string(), pa.int8())),
        "uuid": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([bytes(range(16)), None, bytes(16), bytes(16), bytes(16)], pa.binary(16))
        ),
    }
