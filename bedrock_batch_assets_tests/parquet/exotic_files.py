"""Parquet files with the types, names and encodings that are rare, as four libraries write them."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastparquet
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 60
GROUP_ROWS = 20

Writer = Callable[[Path], None]


def _nulls(values: list[Any]) -> list[Any]:
    return [None if index % 7 == 3 else value for index, value in enumerate(values)]


def _table(**columns: Any) -> pa.Table:
    return pa.table({"input_text": [f"text {row} é" for row in range(ROWS)], **columns})


def _extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def _deep() -> pa.Array:
    kind = pa.struct(
        [
            ("p", pa.list_(pa.struct([("q", pa.int32()), ("r", pa.list_(pa.string()))]))),
            ("s", pa.bool_()),
        ]
    )
    values = [{"p": [{"q": row, "r": [str(row)] * (row % 3)}] * (row % 3), "s": None} for row in range(ROWS)]
    return pa.array(_nulls(values), kind)


def _lists_in_lists() -> list[Any]:
    return _nulls([[[None if j % 3 == 0 else [i, None, j] for j in range(i % 4)], None, []] for i in range(ROWS)])


def _numbers(first: int = 0) -> list[Any]:
    return _nulls(list(range(first, first + ROWS)))


_NEVER_NULL = [("input_text", pa.string()), ("a", pa.int64())]
# Made when they are wanted: by their names.
_ARROW_TABLES: dict[str, Callable[[], pa.Table]] = {
    "small decimals": lambda: _table(a=pa.array(_nulls([Decimal(i) / 100 for i in range(ROWS)]), pa.decimal128(7, 2))),
    "large negative decimals": lambda: _table(
        a=pa.array(_nulls([-Decimal(i) * 10**20 for i in range(ROWS)]), pa.decimal128(38, 0))
    ),
    "decimals of 64 bits": lambda: _table(
        a=pa.array(_nulls([Decimal(i) / 100 for i in range(ROWS)]), pa.decimal64(12, 2))
    ),
    "unsigned 32 bits": lambda: _table(a=pa.array(_numbers(2**32 - ROWS), pa.uint32())),
    "unsigned 16 bits": lambda: _table(a=pa.array(_numbers(2**16 - ROWS), pa.uint16())),
    "some not a number": lambda: _table(
        a=pa.array(_nulls([float("nan") if i % 5 == 0 else float(i) for i in range(ROWS)]))
    ),
    "none a number": lambda: _table(a=pa.array([float("nan")] * ROWS, pa.float32())),
    "negative zeros": lambda: _table(a=pa.array([-0.0 if i % 2 else 0.0 for i in range(ROWS)])),
    "half floats": lambda: _table(a=pa.array(np.arange(ROWS, dtype=np.float16))),
    "nanoseconds": lambda: _table(a=pa.array(_numbers(), pa.timestamp("ns"))),
    "seconds with a zone": lambda: _table(a=pa.array(_numbers(), pa.timestamp("s", "UTC"))),
    "times of day": lambda: _table(a=pa.array(_numbers(), pa.time32("s"))),
    "dates as milliseconds": lambda: _table(a=pa.array(_nulls([86_400_000 * i for i in range(ROWS)]), pa.date64())),
    "durations": lambda: _table(a=pa.array(_numbers(), pa.duration("ns"))),
    "dictionary": lambda: _table(a=pa.array(_nulls([f"c{i % 4}" for i in range(ROWS)])).dictionary_encode()),
    "ordered dictionary": lambda: _table(
        a=pa.DictionaryArray.from_arrays(
            pa.array([i % 3 for i in range(ROWS)], pa.int8()), pa.array(["lo", "mid", "hi"]), ordered=True
        )
    ),
    "dictionaries in lists": lambda: _table(
        a=pa.array([[f"k{i % 3}"] * (i % 4) for i in range(ROWS)], pa.list_(pa.dictionary(pa.int32(), pa.string())))
    ),
    "lists in lists": lambda: _table(a=pa.array(_lists_in_lists(), pa.list_(pa.list_(pa.list_(pa.int64()))))),
    "structs in lists in structs": lambda: _table(a=_deep()),
    "lists in maps": lambda: _table(
        a=pa.array(
            _nulls([[(f"k{j}", [i] * j) for j in range(i % 4)] for i in range(ROWS)]),
            pa.map_(pa.string(), pa.list_(pa.int32())),
        )
    ),
    "elements that are never null": lambda: _table(
        a=pa.array([[i] * (i % 3) for i in range(ROWS)], pa.list_(pa.field("element", pa.int32(), nullable=False)))
    ),
    "columns that are never null": lambda: pa.table(
        [[f"text {row}" for row in range(ROWS)], list(range(ROWS))],
        schema=pa.schema([pa.field(name, kind, nullable=False) for name, kind in _NEVER_NULL]),
    ),
    "string views": lambda: _table(a=pa.array(_nulls([f"view {i}" * (i % 5) for i in range(ROWS)]), pa.string_view())),
    "binary views": lambda: _table(a=pa.array(_nulls([b"\xff" * (i % 20) for i in range(ROWS)]), pa.binary_view())),
    "large strings": lambda: _table(a=pa.array(_nulls([f"L{i}" * (i % 5) for i in range(ROWS)]), pa.large_string())),
    "fixed lists": lambda: _table(a=pa.array(_nulls([[float(i)] * 4 for i in range(ROWS)]), pa.list_(pa.float32(), 4))),
    "vectors": lambda: _table(a=pa.array(_nulls([[float(i)] * (i % 6) for i in range(ROWS)]), pa.list_(pa.float32()))),
    "list views": lambda: _table(a=pa.array([[i] * (i % 3) for i in range(ROWS)], pa.list_view(pa.int32()))),
    "nulls alone": lambda: _table(a=pa.nulls(ROWS)),
    "structs of nulls": lambda: _table(a=pa.nulls(ROWS, pa.struct([("x", pa.int32())]))),
    "uuids": lambda: _table(
        a=_extension(pa.uuid(), pa.array(_nulls([bytes([i] * 16) for i in range(ROWS)]), pa.binary(16)))
    ),
    "JSON": lambda: _table(a=_extension(pa.json_(), pa.array(_nulls([f'{{"a":{i}}}' for i in range(ROWS)])))),
    "odd names": lambda: _table(
        **{"a.b": range(ROWS), 'x"y': range(ROWS), "é漢😀": range(ROWS), "": range(ROWS), "list.element": [[1]] * ROWS}
    ),
    "many columns": lambda: _table(**{f"c{i}": range(ROWS) for i in range(300)}),
    "one large value": lambda: _table(a=["z" * 200_000 if i == 5 else "" for i in range(ROWS)]),
    "booleans": lambda: _table(a=pa.array(_nulls([i % 3 == 0 for i in range(ROWS)]))),
    "single bytes": lambda: _table(a=pa.array(_nulls([bytes([i % 256]) for i in range(ROWS)]), pa.binary(1))),
    "the last characters": lambda: _table(a=[chr(0x10FFFF) * (i % 3 + 1) for i in range(ROWS)]),
    "dates far away": lambda: _table(a=pa.array(_nulls([dt.date(1, 1, 1), dt.date(9999, 12, 31)] * (ROWS // 2)))),
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "second data pages": {"data_page_version": "2.0"},
    "page index": {"write_page_index": True},
    "page checksums": {"write_page_checksum": True},
    "LZ4": {"compression": "lz4"},
    "GZIP": {"compression": "gzip"},
    "Brotli": {"compression": "brotli"},
    "version 1.0": {"version": "1.0"},
    "sorting columns": {"sorting_columns": [pq.SortingColumn(0)]},
    "encoding PLAIN": {"use_dictionary": False, "column_encoding": {"input_text": "PLAIN"}},
    "encoding DELTA_BYTE_ARRAY": {"use_dictionary": False, "column_encoding": {"input_text": "DELTA_BYTE_ARRAY"}},
}

_DUCKDB_KINDS = """
    SELECT 'text ' || i AS input_text, i::UHUGEINT::VARCHAR h, i::DECIMAL(18, 3) d,
        TIMESTAMPTZ '2020-01-01' + to_seconds(i) z, INTERVAL (i) SECOND iv, uuid() u, [i, NULL] l, {'a': i} s,
        MAP {'k': i} m, (CASE i % 3 WHEN 0 THEN 'a' ELSE 'b' END)::ENUM('a', 'b') e, i::TINYINT % 100 t,
        TIME '01:02:03' ti, i::HUGEINT hg, '\\xAA'::BLOB b
    FROM range(60) t(i)
"""
_DUCKDB_COPIES = {
    "kinds of DuckDB": f"COPY ({_DUCKDB_KINDS}) TO '{{path}}' (FORMAT parquet)",
    "second version of DuckDB": "COPY (SELECT 'text ' || i AS input_text, i % 10 k FROM range(60) t(i)) "
    "TO '{path}' (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd)",
}


def _by_polars(path: Path) -> None:
    columns = {
        "input_text": [f"t{i}" for i in range(ROWS)],
        "category": pl.Series([f"c{i % 3}" for i in range(ROWS)], dtype=pl.Categorical),
        "enum": pl.Series(["a", "b"] * (ROWS // 2), dtype=pl.Enum(["a", "b"])),
        "list": [[i, None] for i in range(ROWS)],
        "decimal": pl.Series(list(range(ROWS)), dtype=pl.Int64).cast(pl.Decimal(20, 4)),
        "array": pl.Series([[1.0, 2.0]] * ROWS, dtype=pl.Array(pl.Float32, 2)),
    }
    pl.DataFrame(columns).write_parquet(path)


def _by_fastparquet(path: Path) -> None:
    columns = {
        "input_text": [f"t{i}" for i in range(ROWS)],
        "i": range(ROWS),
        "c": pd.Categorical([f"c{i % 3}" for i in range(ROWS)]),
        "ts": pd.date_range("2020", periods=ROWS),
    }
    fastparquet.write(str(path), pd.DataFrame(columns), times="int96")


def _by_duckdb(query: str) -> Writer:
    def write(path: Path) -> None:
        with duckdb.connect() as connection:
            connection.execute(query.replace("{path}", str(path)))

    return write


def _by_arrow(table: Callable[[], pa.Table], **options: Any) -> Writer:
    return lambda path: pq.write_table(table(), path, row_group_size=GROUP_ROWS, **options)


EXOTIC_FILES: dict[str, Writer] = {
    **{name: _by_arrow(table) for name, table in _ARROW_TABLES.items()},
    **{name: _by_arrow(_ARROW_TABLES["lists in maps"], **options) for name, options in _OPTIONS.items()},
    **{name: _by_duckdb(query) for name, query in _DUCKDB_COPIES.items()},
    "kinds of polars": _by_polars,
    "INT96 of fastparquet": _by_fastparquet,
}
