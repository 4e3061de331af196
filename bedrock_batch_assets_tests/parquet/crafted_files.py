"""Parquet files such as no writer at hand makes them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.thrift_compact import Field, Struct

_MAGIC = b"PAR1"
# parquet.thrift: field ids of SchemaElement, and of the union LogicalType.
SCHEMA, CONVERTED_TYPE, LOGICAL_TYPE = 2, 6, 10
_JULIAN_DAY_OF_1970 = 2_440_588
_DAY_NANOSECONDS = 86_400 * 10**9


def parquet(table: pa.Table, **options: object) -> bytes:
    """The table as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def with_footer(data: bytes, change: Callable[[Struct], None]) -> bytes:
    """The file with its footer changed."""
    size = int.from_bytes(data[-8:-4], "little")
    footer = thrift.decode_struct(data[-8 - size : -8])
    change(footer)
    encoded = thrift.encode_struct(footer)
    return data[: -8 - size] + encoded + len(encoded).to_bytes(4, "little") + _MAGIC


def annotated(data: bytes, element: int, logical: int, converted: int | None = None) -> bytes:
    """The file with another logical type for an element of its schema, counted in depth-first order from the root, 0.

    Args:
        data: A file without Arrow's own schema in it.
        element: Which one.
        logical: Field id in the union `LogicalType` of parquet.thrift; 0 for none.
        converted: Of the enum `ConvertedType`, if there is any.
    """

    def change(footer: Struct) -> None:
        own = footer[SCHEMA].value.values[element]
        own.pop(CONVERTED_TYPE, None)
        own.pop(LOGICAL_TYPE, None)
        if converted is not None:
            own[CONVERTED_TYPE] = Field(thrift.I32, converted)
        if logical:
            own[LOGICAL_TYPE] = Field(thrift.STRUCT, {logical: Field(thrift.STRUCT, {})})

    return with_footer(data, change)


def int96_file(nanoseconds: Sequence[int | None], **others: pa.Array) -> bytes:
    """A file whose column `at` holds times of type INT96, by their nanoseconds after 1970, as Spark writes them.

    Arrow writes each as a marker, whose bytes are replaced.
    """
    markers = [None if value is None else place for place, value in enumerate(nanoseconds)]
    table = pa.table({"at": pa.array(markers, pa.timestamp("ns")), **others})
    data = parquet(
        table,
        use_deprecated_int96_timestamps=True,
        use_dictionary=False,
        compression="none",
        write_statistics=False,
        store_schema=False,
    )
    written = b"".join(_int96(marker) for marker in markers if marker is not None)
    wanted = b"".join(_int96(value) for value in nanoseconds if value is not None)
    assert not written or data.count(written) == 1
    return data.replace(written, wanted)


def _int96(nanoseconds: int) -> bytes:
    days, rest = divmod(nanoseconds, _DAY_NANOSECONDS)
    return struct.pack("<QI", rest, (days + _JULIAN_DAY_OF_1970) % 2**32)
