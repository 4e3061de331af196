"""Error codes: what they mean does not depend on how they are spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_batch_assets.error_codes import is_clock_skew, is_lapsed, passes_by_itself, plain

PASSING = (
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ModelNotReadyException",
    "InternalFailure",
    "InternalError",
    "InternalServerException",
    "InternalServerError",
    "ModelErrorException",
    "ModelTimeoutException",
    "RequestTimeout",
    "RequestTimeoutException",
)
FINAL = (
    "ValidationException",
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ServiceQuotaExceededException",
    "ExpiredTokenException",
    "NoSuchKey",
    "",
)


@st.composite
def spellings(draw: st.DrawFn, codes: tuple[str, ...]) -> str:
    """A code in some spelling: any case, with a namespace, a link, a separator, or as an exception."""
    code = draw(st.sampled_from(codes))
    cased = "".join(draw(st.sampled_from((letter.lower(), letter.upper()))) for letter in code)
    place = draw(st.integers(0, len(cased)))
    cased = cased[:place] + draw(st.sampled_from(("", "_", "-", " "))) + cased[place:]
    return f"{draw(st.sampled_from(('', 'com.amazonaws.bedrock#')))}{cased}{draw(st.sampled_from(('', ':http://x/')))}"


@given(spellings(PASSING))
def test_what_passes_does_so_in_every_spelling(code: str) -> None:
    """Throttling, outages and timeouts of any service pass by themselves, however it writes them."""
    assert passes_by_itself(code)


@given(spellings(FINAL))
def test_a_refusal_passes_in_no_spelling(code: str) -> None:
    """What trying again does not change is told from it, however it is written."""
    assert not passes_by_itself(code)


@given(st.integers(100, 599))
def test_a_status_counts_as_number_as_text_and_beside_a_code(status: int) -> None:
    """408, 424, 429 and 5xx pass, but for what is not implemented; other statuses do not."""
    expected = status in {408, 424, 429} or (status >= 500 and status not in {501, 505})
    assert passes_by_itself(status) == passes_by_itself(str(status)) == passes_by_itself("Strange", status) == expected


@given(st.none() | st.text() | st.integers() | st.floats() | st.lists(st.integers()))
def test_a_code_of_any_type_is_no_error(code: object) -> None:
    """What a service writes as a code can be anything."""
    assert passes_by_itself(code) in {True, False}


@given(
    spellings(
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "TokenRefreshRequired",
        )
    )
)
def test_refused_credentials_are_told_from_all_else(code: str) -> None:
    """Each service's word for credentials that it does not accept is known in every spelling, and does not pass."""
    assert is_lapsed(code)
    assert not passes_by_itself(code)


@pytest.mark.parametrize("code", [*PASSING, *(code for code in FINAL if code != "ExpiredTokenException")])
def test_other_errors_are_not_about_credentials(code: str) -> None:
    """Neither a passing error nor a denial says that credentials have to be renewed."""
    assert not is_lapsed(code, "is not authorized to perform: s3:GetObject")


def test_an_expired_api_key_is_not_a_denial() -> None:
    """Bedrock denies access for an API key whose time is over, and tells so in the message alone."""
    assert is_lapsed("AccessDeniedException", "Bearer Token has expired")


@pytest.mark.parametrize(
    ("code", "message", "is_about_time"),
    [
        ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", True),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z", True),
        ("SignatureDoesNotMatch", "Signature not yet current: 20260101T020000Z is still later than", True),
        ("InvalidSignatureException", "The request signature we calculated does not match", False),
        ("ExpiredToken", "The provided token has expired.", False),
    ],
)
def test_a_wrong_clock_is_told_from_wrong_keys(code: str, message: str, is_about_time: bool) -> None:
    """A signature that is too old or too new for AWS is about the clock of this machine."""
    assert is_clock_skew(code, message) == is_about_time


def test_short_codes_keep_their_name() -> None:
    """What is nothing but an ending is left."""
    assert plain("Error") == "error"
    assert plain("com.amazonaws.x#Throttling_Exception:") == "throttling"
