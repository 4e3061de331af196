import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.records import spool
from bedrock_batch_assets.records.spool import Spool


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(0, 40))
def test_what_was_put_is_found(values: list[bytes], memory_bytes: int) -> None:
    """Every value, at every time, wherever the limit of memory falls: before, between and after values."""
    with pytest.MonkeyPatch.context() as patch, Spool() as values_spool:
        patch.setattr(spool, "_MEMORY_BYTES", memory_bytes)
        places: list[int] = []
        for value in values:
            places.append(values_spool.append(value))
            known = zip(places, values, strict=False)
            assert all(values_spool.get(place, len(expected)) == expected for place, expected in known)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as is allowed stays in memory, and one byte more moves everything into the file."""
    monkeypatch.setattr(spool, "_MEMORY_BYTES", 4)
    with Spool() as values:
        held = []
        for data in (b"abcd", b"e"):
            values.append(data)
            held.append((len(values._memory), values._file is not None))
        assert held == [(4, False), (0, True)]
        assert values.get(0, 5) == b"abcde"


def test_the_file_goes_with_the_spool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no name, and is closed, also where something went wrong."""
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
