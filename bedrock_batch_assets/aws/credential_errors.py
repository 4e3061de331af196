"""What is wrong with credentials, and what to do about it, in one line each.

Either AWS refuses them (`refused`), or there are none that could be sent (`unusable`, `not_loaded`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.aws.error_kinds import error_code, error_message, is_passing
from bedrock_batch_assets.error_codes import DENIED, MISSIGNED, UNKNOWN, is_clock_skew, is_lapsed, plain
from bedrock_batch_assets.errors import (
    AccessDeniedError,
    ConfigurationError,
    CredentialsError,
    LapsedCredentialsError,
)
from bedrock_batch_assets.internals.botocore_internals import profile_names

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

SET_CREDENTIALS = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role, or use `make dev` "
    "for the local stand-in."
)
RENEW = "renew them: sign in again (`aws sso login`), or write new ones to ~/.aws or to the AWS_* variables."
# A program's standard error can be long.
_LONGEST_TEXT = 500
# ProcessProvider's message if the program exited with 0 and printed something else (botocore/credentials.py).
_WRONG_OUTPUT = ("Unsupported version", "Missing required key")


@dataclass(frozen=True)
class Profile:
    """The profile in ~/.aws that boto3 uses, with its settings there; `name` is None for the default one."""

    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_environment(cls) -> "Profile":
        """The one that the environment names."""
        return cls(os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or None)

    def __str__(self) -> str:
        return f"the AWS profile {self.name!r}" if self.name else "the default AWS profile"

    @property
    def option(self) -> str:
        """The option of the AWS CLI that names it."""
        return f" --profile {self.name}" if self.name else ""


def one_line(text: object) -> str:
    """A message of AWS, boto3 or a program as part of a sentence: without line breaks and its full stop."""
    line = " ".join(str(text).split()).rstrip(".")
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


def refused(code: str, message: str, what: str) -> LapsedCredentialsError:
    """The error if AWS does not accept the credentials of a request.

    Args:
        code: AWS's error code.
        message: AWS's message, which may be empty.
        what: What was asked of AWS.
    """
    said = f"{code}: {one_line(message)}" if message else code
    if is_clock_skew(code, message):
        text = (
            f"AWS refuses {what} because of its time ({said}): the clock of this machine is wrong by minutes, set it, "
            "e.g. by NTP."
        )
    elif plain(code) in MISSIGNED:
        text = (
            f"AWS does not accept the signature of {what} ({said}): the secret key does not belong to the access key, "
            f"or the credentials have expired; {RENEW}"
        )
    elif plain(code) in UNKNOWN:
        text = (
            f"AWS does not know the credentials for {what} ({said}): they have expired, were deleted or are mistyped; "
            f"{RENEW}"
        )
    else:
        text = f"The AWS credentials for {what} have expired ({said}): {RENEW}"
    return LapsedCredentialsError(text)


def refused_without_reason(what: str) -> LapsedCredentialsError:
    """S3 answered 400 to a HEAD request, which has no room for a code. It does so if the credentials have expired."""
    return LapsedCredentialsError(
        f"S3 answers 400 without a reason to {what}, as it does if the credentials have expired: {RENEW}"
    )


def unusable(error: Exception, what: str = "", profile: Profile | None = None) -> CredentialsError | None:
    """The error if there are no credentials to send to AWS; None if botocore's error is about something else.

    Args:
        error: What botocore raised when it looked for credentials, or renewed them.
        what: What was to be asked of AWS, if it is known.
        profile: Where botocore looked, if it is known.
    """
    from botocore import exceptions

    where = profile or Profile.of_environment()
    purpose = f" for {what}" if what else ""
    text = one_line(error)
    match error:
        case exceptions.NoCredentialsError():
            return CredentialsError(f"There are no AWS credentials{purpose}: {SET_CREDENTIALS}")
        case exceptions.NoAuthTokenError():
            return CredentialsError(f"There is no Bedrock API key{purpose}: set AWS_BEARER_TOKEN_BEDROCK.")
        case exceptions.PartialCredentialsError():
            return CredentialsError(f"The AWS credentials{purpose} are incomplete: {_missing(error)}")
        case exceptions.ProfileNotFound():
            return CredentialsError(f"{_no_profile(error)}{f' It is needed{purpose}.' if what else ''}")
        case exceptions.SSOError() | exceptions.TokenRetrievalError():
            return LapsedCredentialsError(
                f"The AWS SSO sign-in of {where}{purpose} is missing or has expired ({text}): "
                f"run `aws sso login{where.option}`."
            )
        case exceptions.LoginInsufficientPermissions():
            return CredentialsError(f"The AWS sign-in of {where}{purpose} cannot be renewed: {text}.")
        case exceptions.LoginError():
            return LapsedCredentialsError(
                f"The AWS sign-in of {where}{purpose} is missing or has expired ({text}): "
                f"run `aws login{where.option}`."
            )
        case exceptions.CredentialRetrievalError():
            return _not_retrieved(error, where, purpose)
        case exceptions.RefreshWithMFAUnsupportedError():
            return CredentialsError(
                f"The role of {where}{purpose} asks for an MFA code, which nobody can enter here: use credentials that "
                "need none."
            )
        case (
            exceptions.InvalidConfigError()
            | exceptions.ConfigParseError()
            | exceptions.ConfigNotFound()
            | exceptions.UnknownCredentialError()
            | exceptions.UnknownTokenProviderError()
            | exceptions.MissingDependencyException()
        ):
            return CredentialsError(f"The AWS configuration of {where}{purpose} cannot be used: {text}.")
        case exceptions.NoRegionError():
            return CredentialsError(f"There is no AWS Region{purpose}: set AWS_REGION.")
        case _:
            return None


def not_loaded(error: Exception, profile: Profile) -> ConfigurationError:
    """The error if credentials could not be loaded or renewed, for whatever reason.

    Args:
        error: What botocore raised; it does not wrap errors of files and programs.
        profile: Where it looked.

    Returns:
        An AccessDeniedError if a role cannot be assumed; a LapsedCredentialsError if it can pass, or a person can renew
        something; else another CredentialsError.
    """
    from botocore.exceptions import ClientError

    text = one_line(error) or type(error).__name__
    if is_passing(error):
        return LapsedCredentialsError(f"The credentials of {profile} cannot be renewed at the moment: {text}.")
    if isinstance(error, ClientError):
        return _role_refused(error, profile)
    if (found := unusable(error, profile=profile)) is not None:
        return found
    if isinstance(error, OSError) and error.filename == _token_file(profile):
        return CredentialsError(
            f"The web identity token file {error.filename} cannot be read ({error.strerror}): it is what "
            "AWS_WEB_IDENTITY_TOKEN_FILE or `web_identity_token_file` names; see that it is mounted."
        )
    if "still expired" in text:
        return LapsedCredentialsError(
            f"The AWS credentials of {profile} have expired, and their source gives out no newer ones: {RENEW}"
        )
    program = profile.settings.get("credential_process")
    if program and isinstance(error, OSError):
        return CredentialsError(
            f"The credential_process of {profile} cannot be started ({error.strerror}: {error.filename}): write the "
            "whole path of a program that is there."
        )
    if program:
        return CredentialsError(
            f"The credential_process of {profile} prints something else than the JSON that AWS tools expect ({text}): "
            "run it by hand."
        )
    return CredentialsError(f"The AWS credentials of {profile} cannot be loaded: {type(error).__name__}: {text}.")


def _missing(error: Any) -> str:
    names = error.kwargs.get("cred_var")
    names = ", ".join(names) if isinstance(names, list | tuple | set) else str(names)
    place = {
        "env": "the environment variables lack {}, add it.",
        "shared-credentials-file": "~/.aws/credentials lacks {}, add it.",
        "config-file": "~/.aws/config lacks {}, add it.",
    }.get(str(error.kwargs.get("provider")), f"{error.kwargs.get('provider')} lacks {{}}, add it.")
    return place.format(names)


def _no_profile(error: Any) -> str:
    try:
        known = ", ".join(profile_names())
    except Exception:  # noqa: BLE001  # a broken file has an error of its own, at another place
        known = ""
    name = error.kwargs.get("profile")
    remedy = f"choose one of {known}" if known else "there are none at all"
    return f"There is no AWS profile {name!r} in ~/.aws: set AWS_PROFILE or `profile_name` right; {remedy}."


def _not_retrieved(error: Any, where: Profile, purpose: str) -> CredentialsError:
    provider, reason = str(error.kwargs.get("provider")), one_line(error.kwargs.get("error_msg", ""))
    if provider == "custom-process":
        if reason.startswith(_WRONG_OUTPUT):
            return CredentialsError(
                f"The credential_process of {where}{purpose} prints something else than AWS tools expect ({reason}): "
                "run it by hand."
            )
        said = f" ({reason})" if reason else " without a word"
        return LapsedCredentialsError(
            f"The credential_process of {where}{purpose} failed{said}: run it by hand; often it needs a new sign-in."
        )
    return LapsedCredentialsError(
        f"The AWS credentials of {where}{purpose} could not be got from {provider}: {reason}. Try again, or {RENEW}"
    )


def _role_refused(error: "ClientError", profile: Profile) -> ConfigurationError:
    """The error if AWS STS or SSO refused the credentials of a role."""
    code, message = error_code(error), error_message(error)
    said = one_line(message) or code
    role = profile.settings.get("role_arn") or os.environ.get("AWS_ROLE_ARN")
    role = str(role or profile.settings.get("sso_role_name") or "a role")
    if error.operation_name == "AssumeRoleWithWebIdentity" and (is_lapsed(code, message) or "expired" in said.lower()):
        return LapsedCredentialsError(
            f"The web identity token for the role {role} has expired ({code}: {said}): whatever writes "
            f"{_token_file(profile)} has to renew it."
        )
    if is_lapsed(code, message):
        return refused(code, message, f"assuming the role {role} of {profile}")
    if plain(code) in DENIED:
        if error.operation_name == "GetRoleCredentials":
            remedy = "have it assigned to you in IAM Identity Center."
        else:
            remedy = f"allow sts:{error.operation_name} on it, and name the caller in the role's trust policy."
        return AccessDeniedError(
            f"Access denied: {profile} may not assume the role {role}. AWS says: {said}. So {remedy}"
        )
    return CredentialsError(f"The role {role} of {profile} cannot be assumed: {code}: {said}.")


def _token_file(profile: Profile) -> str | None:
    found = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or profile.settings.get("web_identity_token_file")
    return str(found) if found else None
