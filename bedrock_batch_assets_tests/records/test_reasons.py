"""Reasons of rows without an answer: counted together if only their own ids and numbers differ."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.records.reasons import Reason, ReasonCounts, added_up

STATUSES = ["error", "skipped", "missing"]
REASONS = st.lists(
    st.builds(
        Reason,
        status=st.sampled_from(STATUSES),
        text=st.text(max_size=300),
        rows=st.integers(1, 5),
        first_row=st.integers(0, 10**6),
    ),
    max_size=50,
)


def counts_of(*reasons: Reason) -> list[Reason]:
    return added_up(reasons, 100)


def test_messages_that_differ_in_ids_and_numbers_are_one_reason() -> None:
    """They are shown as the first row has it, whichever is counted first."""
    late = Reason("error", "400: prompt is too long: 9000 tokens (request 1f2e3d4c-aaaa-bbbb-cccc-000011112222)", 1, 7)
    early = Reason("error", "400: prompt is too long: 8193 tokens (request 00aa11bb-9999-8888-7777-666655554444)", 2, 3)
    other = Reason("error", "500: the model failed", 1, 1)
    expected = [Reason("error", early.text, 3, 3), other]
    assert counts_of(late, early, other) == counts_of(early, other, late) == expected


def test_rows_of_two_statuses_are_two_reasons() -> None:
    """The same text on skipped and on failed rows is told apart."""
    assert len(counts_of(Reason("error", "empty", 1, 0), Reason("skipped", "empty", 1, 1))) == 2


@given(REASONS)
def test_every_row_is_counted_once(reasons: list[Reason]) -> None:
    """The rows of each status add up, in any order of counting; texts are short, and the first row is the least."""
    found = counts_of(*reasons)
    assert set(found) == set(counts_of(*reversed(reasons)))
    for status in STATUSES:
        given_rows = sum(reason.rows for reason in reasons if reason.status == status)
        assert sum(reason.rows for reason in found if reason.status == status) == given_rows
    assert all(len(reason.text) <= 200 for reason in found)
    if reasons:
        assert min(reason.first_row for reason in found) == min(reason.first_row for reason in reasons)
    assert [reason.rows for reason in found] == sorted((reason.rows for reason in found), reverse=True)


def test_a_reason_of_its_own_for_each_row_takes_bounded_memory() -> None:
    """Beyond a thousand reasons, rows are counted together, and none is forgotten."""
    counts = ReasonCounts()
    for row in range(3_000):
        word = "".join(chr(ord("h") + int(digit)) for digit in str(row))
        counts.add(Reason("error", f"the model says {word}", 1, row))
    kept = counts.most_frequent(10_000)
    assert len(kept) == 1_001
    assert Counter(reason.text for reason in kept)["other reasons"] == 1
    assert sum(reason.rows for reason in kept) == 3_000
