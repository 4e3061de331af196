import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.parquet import thrift_compact as thrift
from bedrock_batch_assets.parquet.thrift_compact import Elements, Field, Struct, decode_struct, encode_struct
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns

WIDTHS = {thrift.I16: 15, thrift.I32: 31, thrift.I64: 63}


def integers(kind: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** WIDTHS[kind]), 2 ** WIDTHS[kind] - 1)


def values(kind: int, structs: st.SearchStrategy[Struct]) -> st.SearchStrategy[object]:
    if kind in WIDTHS:
        return integers(kind)
    if kind in {thrift.LIST, thrift.SET}:
        return lists(structs)
    return {
        thrift.TRUE: st.just(thrift.TRUE),
        thrift.FALSE: st.just(thrift.FALSE),
        thrift.BYTE: st.integers(0, 255),
        thrift.DOUBLE: st.binary(min_size=8, max_size=8),
        thrift.BINARY: st.binary(max_size=200),
        thrift.STRUCT: structs,
    }[kind]


def lists(structs: st.SearchStrategy[Struct]) -> st.SearchStrategy[Elements]:
    booleans = st.lists(st.sampled_from([thrift.TRUE, thrift.FALSE]), max_size=20).map(
        lambda found: Elements(thrift.TRUE, found)
    )
    others = st.sampled_from([thrift.I32, thrift.BINARY, thrift.DOUBLE, thrift.STRUCT]).flatmap(
        lambda kind: st.lists(values(kind, structs), max_size=20).map(lambda found: Elements(kind, found))
    )
    return booleans | others


def fields(structs: st.SearchStrategy[Struct]) -> st.SearchStrategy[Field]:
    kinds = [*range(thrift.TRUE, thrift.SET + 1), thrift.STRUCT]
    return st.sampled_from(kinds).flatmap(lambda kind: values(kind, structs).map(lambda value: Field(kind, value)))


STRUCTS = st.recursive(
    st.just(Struct()),
    lambda structs: st.dictionaries(st.integers(-(2**15), 2**15 - 1), fields(structs), max_size=5),
    max_leaves=8,
)


@given(STRUCTS)
def test_what_is_written_is_read(struct: Struct) -> None:
    """Field for field, whatever they are and whatever their ids."""
    assert decode_struct(encode_struct(struct)) == struct


def test_a_footer_is_written_as_arrow_wrote_it() -> None:
    """Byte for byte: nothing of it is lost, moved or said in another way."""
    sink = pa.BufferOutputStream()
    columns = {**typed_columns(), **{f"column {number}": pa.array([number] * 5) for number in range(20)}}
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    file = sink.getvalue().to_pybytes()
    footer = file[-8 - int.from_bytes(file[-8:-4], "little") : -8]
    assert encode_struct(decode_struct(footer)) == footer


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        # From the specification: zigzag, a long and a short step, a list with its length in its head and with its own.
        (b"\x15\x01\x00", {1: Field(thrift.I32, -1)}),
        (b"\x05\x28\x04\x00", {20: Field(thrift.I32, 2)}),
        (b"\x19\x25\x02\x04\x00", {1: Field(thrift.LIST, Elements(thrift.I32, [1, 2]))}),
        (b"\x19\xf5\x0f" + b"\x02" * 15 + b"\x00", {1: Field(thrift.LIST, Elements(thrift.I32, [1] * 15))}),
        (b"\x11\x12\x00", {1: Field(thrift.TRUE, thrift.TRUE), 2: Field(thrift.FALSE, thrift.FALSE)}),
        (b"\x16\xac\x02\x00", {1: Field(thrift.I64, 150)}),
        (b"\x18\x02ab\x00", {1: Field(thrift.BINARY, b"ab")}),
    ],
)
def test_the_protocol_is_the_one_of_the_specification(data: bytes, fields: Struct) -> None:
    """Known bytes are read and written."""
    assert decode_struct(data) == fields
    assert encode_struct(fields) == data


@given(st.binary(max_size=40))
def test_other_bytes_are_an_error_or_a_struct(data: bytes) -> None:
    """Nothing else comes out."""
    try:
        found = decode_struct(data)
    except ValueError:
        return
    assert decode_struct(encode_struct(found)) == found


@pytest.mark.parametrize(
    "data", [b"", b"\x15", b"\x15\x02", b"\x18\x05ab\x00", b"\x19\xf5\xff\xff\xff\xff\x0f\x02", b"\x1b\x00\x00"]
)
def test_what_is_cut_off_is_an_error(data: bytes) -> None:
    """As is a type that no footer has."""
    with pytest.raises(ValueError, match=r"cut off|not known"):
        decode_struct(data)
