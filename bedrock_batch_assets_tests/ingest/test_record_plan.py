"""Which records are new, and where the answers to the others are: compared with a plain dictionary."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from bedrock_batch_assets.ingest.record_plan import KnownRecords, plan_records, tell_repetitions_apart
from bedrock_batch_assets.records.record_digests import DIGEST, INDEX


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def claim(folder: Path, name: str, records: dict[str, tuple[int, int]]) -> Path:
    """An index file: by text, the chunk's place and the record's place in it."""
    index = np.array([(digest_of(text), *where) for text, where in records.items()], INDEX)
    path = folder / name
    index[np.argsort(index["digest"])].tofile(path)
    return path


@pytest.mark.parametrize("seed", range(8))
def test_the_plan_is_that_of_a_dictionary(tmp_path: Path, seed: int) -> None:
    """The newest usable claim has the answer; else the first row with the record is new, and the others repeat it."""
    generator = random.Random(seed)
    texts = [f"text {generator.randrange(400)}" for _ in range(600)]
    sent = [generator.random() > 0.1 for _ in texts]
    known, model = [], {}
    for number in range(3):
        records = {f"text {n}": (n % 4, n) for n in generator.sample(range(500), 80)}
        sources = [4 * number + place if generator.random() > 0.3 else -1 for place in range(4)]
        bad = {place: generator.sample(range(500), 40) for place in range(2)}
        path = claim(tmp_path, f"claim-{number}", records)
        known.append(KnownRecords(path, np.array(sources, np.int32), bad))
        for text, (place, position) in records.items():
            if sources[place] >= 0 and position not in bad.get(place, []):
                model[text] = (sources[place], position)
    digests = np.array([digest_of(text) for text in texts], DIGEST)
    digests.tofile(tmp_path / "digests")
    plan = plan_records(tmp_path / "digests", np.array(sent), known, tmp_path)
    first: dict[str, int] = {}
    new: list[str] = []
    for row, text in enumerate(texts):
        if not sent[row]:
            assert plan.source[row] == -1
            continue
        assert plan.is_repeated[row] == (text in first)
        first.setdefault(text, row)
        assert plan.is_new[row] == (text not in model and first[text] == row)
        if plan.is_new[row]:
            new.append(text)
        if text in model:
            assert (plan.source[row], plan.position[row]) == model[text]
    assert plan.new_count == len(new)
    # Two chunks, of 10 records and of the others.
    plan.place_new([10, len(new)], 100, by_row=False)
    for row, text in enumerate(texts):
        if sent[row] and text not in model:
            place = new.index(text)
            assert (plan.source[row], plan.position[row]) == ((100, place) if place < 10 else (101, place - 10))


def test_repetitions_have_digests_of_their_own(tmp_path: Path) -> None:
    """The first keeps its digest, the n-th has the same one each time, and rows that are not sent stay as they are."""
    texts = ["a", "b", "a", "a", "c", "b"] * 20
    sent = np.array([text != "c" for text in texts])
    digests = np.array([digest_of(text) for text in texts], DIGEST)
    before = digests.copy()
    tell_repetitions_apart(digests, sent)
    assert len(set(digests[sent].tolist())) == int(sent.sum())
    assert (digests[~sent] == before[~sent]).all()
    assert [digests[row] for row in (0, 1)] == [before[row] for row in (0, 1)]
    again = before.copy()
    tell_repetitions_apart(again, sent)
    assert (again == digests).all()
