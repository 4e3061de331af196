"""The account of a part as its object's metadata."""

from typing import Any

import msgspec
import pytest

from bedrock_batch_assets.records.reasons import Reason
from bedrock_batch_assets.storage.manifests import PartSummary, add_summaries, summary_metadata

COUNTS: dict[str, Any] = {"rows": 100_000, "ok": 0, "error": 100_000, "truncated": 0, "skipped": 0, "missing": 0}


def summary(*reasons: Reason) -> PartSummary:
    return PartSummary(version="0123456789abcdef", **COUNTS, reasons=list(reasons))


@pytest.mark.parametrize("letter", ["a", "\N{GRINNING FACE}", '"', "\n"])
def test_it_fits_into_the_metadata_of_an_object(letter: str) -> None:
    """S3 takes 2 KB of it: ten long reasons in any script leave the counts whole, and the most frequent ones."""
    reasons = [Reason("error", f"{place}{letter * 199}", 1_000 - place, place) for place in range(10)]
    metadata = summary_metadata(summary(*reasons))
    assert sum(len(name) + len(text) for name, text in metadata.items()) <= 2_048
    assert metadata["summary"].isascii()
    assert metadata["summary"].isprintable()
    read = msgspec.json.decode(metadata["summary"], type=PartSummary)
    assert msgspec.structs.replace(read, reasons=[]) == summary()
    assert read.reasons == reasons[: len(read.reasons)]


def test_reasons_of_parts_are_counted_together() -> None:
    """Equal reasons of two parts are one of the table, of the first row of all."""
    parts = [summary(Reason("error", "odd", 2, 150)), summary(Reason("error", "odd", 3, 20))]
    assert add_summaries(parts, "v").reasons == [Reason("error", "odd", 5, 20)]


def test_a_part_of_an_earlier_release_has_no_reasons() -> None:
    """Its account is read as it was written."""
    assert msgspec.json.decode(msgspec.json.encode({"version": "v", **COUNTS}), type=PartSummary).reasons == []
