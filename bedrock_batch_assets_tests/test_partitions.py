"""The key grammar: what names a batch, and how chunk keys come apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.partition_keys import MAX_BATCH_KEY_LENGTH, check_batch_key, chunk_key, split_chunk_key


@pytest.mark.parametrize("key", ["demo-run-001", "a", "2024.01.31", "test-joke-job1", "A" * MAX_BATCH_KEY_LENGTH])
def test_usable_batch_keys_are_returned_unchanged(key: str) -> None:
    """A key of letters, digits, single dashes and dots names a batch as it is."""
    assert check_batch_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["", " ", "-a", "a-", "a--b", "a..b", "..", "a...b", "a/b", "../a", "a_b", "a b", "a|b", "a\n", "ä", "a+b", "a:b"],
)
def test_keys_that_a_job_name_or_an_s3_key_cannot_hold_are_refused(key: str) -> None:
    """A key that could leave its folder, split a range or break a job name is refused with the key in the message."""
    with pytest.raises(RequestError) as error:
        check_batch_key(key)
    assert repr(key) in str(error.value)


def test_a_key_too_long_for_a_job_name_is_refused() -> None:
    """One character more than fits is refused, with the limit in the message."""
    with pytest.raises(RequestError, match=str(MAX_BATCH_KEY_LENGTH)):
        check_batch_key("a" * (MAX_BATCH_KEY_LENGTH + 1))


@given(batch=st.from_regex(r"\A[A-Za-z0-9]{1,8}([-.][A-Za-z0-9]{1,5}){0,3}\Z"), index=st.integers(0, 99_999))
def test_chunk_keys_come_apart_as_they_were_put_together(batch: str, index: int) -> None:
    """The batch and the index of a chunk key are those that it was made of, also for batches that end in digits."""
    assert split_chunk_key(chunk_key(batch, index)) == (batch, index)


@pytest.mark.parametrize("key", ["demo", "demo-1", "demo-000001", "demo-0000a", "-00001", "demo_00001"])
def test_other_keys_are_no_chunk_keys(key: str) -> None:
    """A key without a five-digit index is refused."""
    with pytest.raises(RequestError):
        split_chunk_key(key)


@pytest.mark.parametrize("index", [-1, 100_000])
def test_an_index_beyond_five_digits_is_refused(index: int) -> None:
    """An index that five digits cannot hold raises instead of making an ambiguous key."""
    with pytest.raises(ValueError, match="index"):
        chunk_key("demo", index)
