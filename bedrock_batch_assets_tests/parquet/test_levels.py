"""Levels in Parquet's hybrid of runs and packed bits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.parquet import levels
from bedrock_batch_assets.parquet.levels import count_levels
from bedrock_batch_assets.parquet.thrift_compact import encode_number

RUNS = st.tuples(st.integers(1, 300), st.integers(0, 3))
PACKED = st.lists(st.integers(0, 3), min_size=8, max_size=8)


def encoded(pieces: list[tuple[int, int] | list[int]]) -> tuple[bytes, list[int]]:
    """Runs and packed groups as bytes, and the levels that they are. Levels have two bits."""
    data, expected = b"", []
    for piece in pieces:
        if isinstance(piece, tuple):
            count, level = piece
            data += encode_number(count << 1) + bytes([level])
            expected += [level] * count
        else:
            bits = sum(level << 2 * place for place, level in enumerate(piece))
            data += encode_number(1 << 1 | 1) + bits.to_bytes(2, "little")
            expected += piece
    return data, expected


@settings(deadline=None)
@given(st.lists(RUNS | PACKED, max_size=6), st.integers(1, 700), st.integers(0, 3), st.sampled_from([1, 3, 256]))
def test_levels_are_counted(pieces: list[tuple[int, int] | list[int]], times: int, level: int, compared: int) -> None:
    """All of them and those of a kind, whatever repeats and however often."""
    data, expected = encoded(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "_COMPARED_RUNS", compared)
        found = count_levels(data * times, 2, level, len(expected) * times)
    assert found == (len(expected) * times, expected.count(level) * times)


@pytest.mark.parametrize("written", range(1, 9))
def test_packed_levels_end_where_they_should(written: int) -> None:
    """Packed levels come eight at a time: the last ones may be none."""
    assert count_levels(b"\x03\xff", 1, 1, written) == (written, written)
    assert count_levels(b"\x02\x00\x03\xff", 1, 1, written + 1) == (written + 1, written)


@pytest.mark.parametrize("data", [b"\x80", b"\x02", b"\x03", b"\x05\x00", b"\x02\x00\x02"])
def test_levels_that_are_cut_off_are_an_error(data: bytes) -> None:
    """A run without its level, a number without its end, and packed bits that are too few."""
    with pytest.raises(ValueError, match="cut off"):
        count_levels(data, 1, 0, 8)
