"""The errors that a person can act on."""

import difflib
from collections.abc import Iterable


class BatchError(Exception):
    """Something that a person has to change.

    The message is one sentence or two, names what is wrong (field, column, row, bucket, action) and says what to
    do. It is shown as it is, without a traceback.
    """


class RequestError(BatchError):
    """The batch request or its input cannot be used. Raised before anything is submitted or paid for."""


class ConfigurationError(BatchError):
    """The platform is not set up: a bucket, role or credential is missing, or access to it is denied."""


class AccessDeniedError(ConfigurationError):
    """The credentials are valid, but the action is not allowed to them."""


class UnreachableServiceError(ConfigurationError):
    """A service of AWS cannot be reached: an outage, or a wrong address."""


class CredentialsError(ConfigurationError):
    """There are no credentials for AWS, or none that can be used."""


class LapsedCredentialsError(CredentialsError):
    """AWS does not accept the credentials any more, and would accept renewed ones: work can go on with those."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` Did you mean 'status'?`, or an empty text if nothing is like it. Swapped letters are the likeliest mistake."""
    names = sorted(known)
    swapped = [name for name in names if sorted(name) == sorted(given)]
    found = swapped or difflib.get_close_matches(given, names, n=1)
    return f" Did you mean {found[0]!r}?" if found else ""
