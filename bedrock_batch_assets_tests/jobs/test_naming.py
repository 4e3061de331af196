"""Job names and tokens: one piece of work, one name."""

from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.jobs.naming import JobName, content_digest
from bedrock_batch_assets.partition_keys import MAX_BATCH_KEY_LENGTH, chunk_key
from bedrock_batch_assets_tests.service_model import shape_pattern

_names = st.builds(
    JobName,
    chunk=st.builds(
        chunk_key, st.from_regex(r"\A[A-Za-z0-9]{1,8}([-.][A-Za-z0-9]{1,5}){0,3}\Z"), st.integers(0, 99_999)
    ),
    digest=st.builds(content_digest, st.text()),
    wave=st.integers(0, 99),
)


@given(name=_names)
def test_names_and_tokens_fit_the_services_patterns(name: JobName) -> None:
    """Name, token and their lengths are what botocore's service model allows."""
    assert shape_pattern("CreateModelInvocationJob", "jobName").fullmatch(str(name))
    assert len(str(name)) <= 63
    assert shape_pattern("CreateModelInvocationJob", "clientRequestToken").fullmatch(name.client_request_token)
    assert shape_pattern("ListModelInvocationJobs", "nameContains").fullmatch(name.family)


def test_the_longest_batch_key_fits_into_a_job_name() -> None:
    """The longest key, index and wave make a name of at most 63 characters."""
    assert len(str(JobName(chunk_key("a" * MAX_BATCH_KEY_LENGTH, 99_999), content_digest("x"), 99))) <= 63


@given(name=_names)
def test_a_name_is_read_back_as_it_was_written(name: JobName) -> None:
    """Chunk, digest and wave come back from the job's name alone."""
    assert JobName.parse(str(name)) == name


def test_names_of_others_are_not_ours() -> None:
    """A job that somebody else named is not taken for one of ours."""
    assert JobName.parse("nightly-job") is None
    assert JobName.parse("demo-00001-abcdef") is None
    assert JobName.parse("demo-00001-0123456789ab-w0") is None


def test_tokens_differ_where_names_do() -> None:
    """A later wave has a token of its own, or the service would hand back the earlier job."""
    first = JobName("demo-00000", content_digest("x"))
    assert first.client_request_token != JobName(first.chunk, first.digest, 1).client_request_token


@given(parts=st.lists(st.text(), min_size=2, max_size=4))
def test_content_digests_keep_parts_apart(parts: list[str]) -> None:
    """Moving a character from one part to the next changes the digest."""
    joined = ["".join(parts), *[""] * (len(parts) - 1)]
    assert (content_digest(*parts) == content_digest(*joined)) == (parts == joined)
