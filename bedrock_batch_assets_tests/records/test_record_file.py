import hashlib
import io
import itertools
import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.prompt_templates import PromptTemplate
from bedrock_batch_assets.records import record_file
from bedrock_batch_assets.records.record_file import RecordFile, write_records
from bedrock_batch_assets.records.rendering import RecordRenderer
from bedrock_batch_assets_tests.records import reference

SCHEMA = pa.schema([("topic", pa.string())])
TEMPLATE = PromptTemplate.parse("About {topic}")


class SlowAnthropicProcessor(AnthropicProcessor):
    """The same bodies, one at a time."""

    input_is_template = False


def renderer(processor: BaseProcessor | None = None) -> RecordRenderer:
    return RecordRenderer(processor or AnthropicProcessor(), TEMPLATE, SCHEMA)


def batch(topics: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(topics, pa.string())], schema=SCHEMA)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=6), max_size=6),
    st.sampled_from([AnthropicProcessor(), SlowAnthropicProcessor()]),
    st.integers(0, 10**9),
)
def test_the_file_is_all_records_in_order(
    batches: list[list[str | None]], processor: BaseProcessor, first_row: int
) -> None:
    """Byte for byte what the plain way writes, with its digest and counts, however the rows are batched."""
    file = io.BytesIO()
    written = write_records(renderer(processor), map(batch, batches), first_row, file)
    rows = batch([topic for topics in batches for topic in topics])
    jsonl, sizes, skipped = reference.render(rows, first_row, processor, TEMPLATE)
    assert file.getvalue() == jsonl
    assert written == RecordFile(
        records=len(sizes) - len(skipped),
        skipped=len(skipped),
        size_bytes=len(jsonl),
        sha256=hashlib.sha256(jsonl).digest(),
        first_record=jsonl.partition(b"\n")[0],
    )


class FullDisk(io.BytesIO):
    """Takes nothing."""

    def write(self, data: object) -> int:
        raise OSError("no space left")

    def writelines(self, lines: object) -> None:
        raise OSError("no space left")


@pytest.mark.parametrize(
    ("file", "bad_row", "error"), [(io.BytesIO(), True, RequestError), (FullDisk(), False, OSError)]
)
def test_what_goes_wrong_comes_out_and_ends_all_work(
    monkeypatch: pytest.MonkeyPatch, file: io.BytesIO, bad_row: bool, error: type[Exception]
) -> None:
    """A text that is none, or a full disk: rows are not read on, and no thread is left."""
    monkeypatch.setattr(record_file, "_READ_AHEAD_BYTES", 1)
    taken = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(100):
            taken.append(number)
            texts = pa.array([b"\xff" if bad_row and number == 2 else b"a"]).view(pa.string())
            yield pa.RecordBatch.from_arrays([texts], schema=SCHEMA)

    with pytest.raises(error):
        write_records(renderer(), batches(), 0, file)
    assert len(taken) <= 3 + 2 * 4 + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("prefetch", "batches", "digest"))]


@pytest.mark.parametrize("bad", [0, 9])
def test_what_cannot_be_digested_comes_out(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    """At whichever batch: a job's name is made of the digest, so none is better than that of some records."""
    calls = itertools.count()

    def fail(*_: object) -> None:
        if next(calls) == bad:
            raise MemoryError("no digest")

    monkeypatch.setattr(record_file, "_update", fail)
    with pytest.raises(MemoryError, match="no digest"):
        write_records(renderer(), (batch(["a"]) for _ in range(10)), 0, io.BytesIO())
