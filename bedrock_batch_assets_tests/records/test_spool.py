import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.records import spool
from bedrock_batch_assets.records.spool import Spool


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(0, 40), st.data())
def test_what_was_put_is_found(values: list[bytes], memory_bytes: int, data: st.DataObject) -> None:
    """Any of the values, in any order, at any time, wherever the limit of memory falls: before, between and after."""
    with pytest.MonkeyPatch.context() as patch, Spool() as values_spool:
        patch.setattr(spool, "_MEMORY_BYTES", memory_bytes)
        places: list[int] = []
        for value in values:
            places.append(values_spool.append(value))
            wanted = data.draw(st.lists(st.integers(0, len(places) - 1), unique=True))
            starts = np.array([places[index] for index in wanted], np.int64)
            lengths = np.array([len(values[index]) for index in wanted], np.int64)
            found = bytes(values_spool.gather(starts, lengths))
            assert found == b"".join(values[index] for index in wanted)


def test_pieces_are_put_as_one() -> None:
    """Their bytes follow each other, from the place that is told."""
    with Spool() as values:
        values.append(b"ab")
        assert values.append_all([b"cd", b"", memoryview(b"ef")]) == 2
        assert bytes(values.gather(np.array([2]), np.array([4]))) == b"cdef"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as is allowed stays in memory, and one byte more moves everything into the file."""
    monkeypatch.setattr(spool, "_MEMORY_BYTES", 4)
    with Spool() as values:
        held = []
        for data in (b"abcd", b"e"):
            values.append(data)
            held.append((len(values._memory), values._file is not None))
        assert held == [(4, False), (0, True)]
        assert bytes(values.gather(np.array([0]), np.array([5]))) == b"abcde"


def test_the_file_goes_with_the_spool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file has no name, and is closed, also if something went wrong."""
    monkeypatch.setattr(spool, "_MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    values = Spool()
    handles: list[int] = []

    def use() -> None:
        with values:
            values.append(b"a")
            assert values._file is not None
            handles.append(values._file)
            assert list(tmp_path.iterdir()) == []
            raise KeyError("join")

    with pytest.raises(KeyError, match="join"):
        use()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])
    values.close()
