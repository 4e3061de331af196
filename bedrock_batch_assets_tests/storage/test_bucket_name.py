"""BEDROCK_BATCH_BUCKET: a name is taken, and of all else one line says how to write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.storage.bucket_name import checked_bucket
from bedrock_batch_assets.storage.resource import BatchStorage

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9]|-|\.[a-z0-9]){1,20}[a-z0-9]", fullmatch=True)


@pytest.mark.parametrize(
    "written",
    [
        "s3://{}",
        "s3://{}/",
        "s3://{}/some/folder",
        "s3a://{}",
        "s3:{}",
        "{}/",
        "{}/some/folder/",
        "/{}",
        " {}",
        "{}\n",
        "'{}'",
        '"s3://{}"',
        "arn:aws:s3:::{}",
        "arn:aws-us-gov:s3:::{}/*",
        "https://{}.s3.eu-west-1.amazonaws.com",
        "https://s3.us-west-2.amazonaws.com/{}",
        "https://us-east-1.console.aws.amazon.com/s3/buckets/{}?region=us-east-1&tab=objects",
    ],
)
def test_what_is_written_around_a_name_is_refused_with_the_name(written: str) -> None:
    """A URI, an ARN, a folder, blanks, quotes or an address is one line that repeats it and says how to write it."""
    value = written.format("my-bucket")
    with pytest.raises(ConfigurationError) as raised:
        checked_bucket(value)
    text = str(raised.value)
    assert repr(value) in text
    assert "write BEDROCK_BATCH_BUCKET=my-bucket." in text
    assert "\n" not in text
    assert ("some/folder" in text.replace(repr(value), "")) == ("some/folder" in value)


@pytest.mark.parametrize(
    "value",
    [
        "s3://x",
        "s3://",
        "My-Bucket",
        "my_bucket",
        "my bucket",
        "x",
        "a..b",
        "-ab",
        "a" * 64,
        "/",
        "arn:aws:s3:eu:1:ap/a",
    ],
)
def test_what_is_no_name_at_all_is_refused_with_the_rule(value: str) -> None:
    """If no name can be proposed, the line says what a name looks like."""
    with pytest.raises(ConfigurationError, match=r"without s3:// and without a folder\. It has 3 to 63"):
        checked_bucket(value)


@pytest.mark.parametrize("value", ["", " "])
def test_none_is_told_from_a_wrong_one(value: str) -> None:
    """An empty variable is an unset one."""
    with pytest.raises(ConfigurationError, match="No bucket configured"):
        checked_bucket(value)


@given(NAMES)
def test_names_are_taken_as_they_are(name: str) -> None:
    """Whatever follows the naming rules is left alone."""
    assert checked_bucket(name) == name


def test_a_wrong_name_reaches_nobody() -> None:
    """The storage refuses it before it asks S3 for anything, and before it makes a client."""
    storage = BatchStorage(bucket="s3://my-bucket/results")
    with pytest.raises(ConfigurationError, match="write BEDROCK_BATCH_BUCKET=my-bucket"):
        storage.find_batch_manifest("demo")
    assert storage._clients == {}
