"""What can be set while the stand-in runs: its clock, limits and faults.

Settings are one JSON object. A change names only what it changes: of `seconds`, `record_faults` and `event_faults`
single entries, of all else the whole value. An unknown name or a value that does not fit is refused with the place
and the reason.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from bedrock_batch_assets.local_aws.errors import HTTP_STATUS

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
FinalStatus = Literal["Completed", "PartiallyCompleted", "Failed", "Expired", "Stopped"]


class StepSeconds(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How long a job stays in each status, in seconds. InProgress also takes `per_record` for each record."""

    Submitted: Seconds = 1.0
    Validating: Seconds = 1.0
    Scheduled: Seconds = 1.0
    InProgress: Seconds = 1.0
    Stopping: Seconds = 1.0
    per_record: Seconds = 0.0


class RecordFaults(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Shares of the records that go wrong, drawn by `seed`, the record's content and how often it was tried.

    `error`: an error line. `truncate`: cut short, as at the token limit. `missing`: no output line, neither counted
    nor billed. `twice`: its output line comes twice, billed once. `corrupt`: billed, but its line is broken JSON.
    """

    error: Share = 0.0
    truncate: Share = 0.0
    missing: Share = 0.0
    twice: Share = 0.0
    corrupt: Share = 0.0
    error_code: int | str = 500
    error_message: str = "The system encountered an unexpected error during processing. Try your request again."
    # Written to the error line as `retryable` if it is not None.
    error_retryable: bool | None = None
    # True: the same content meets the same fault every time. False: each try is drawn anew.
    permanent: bool = False

    def __post_init__(self) -> None:
        if self.error + self.truncate + self.missing + self.twice + self.corrupt > 1.0 + 1e-9:
            raise ValueError("the shares error, truncate, missing, twice and corrupt add up to more than 1")


class JobEnding(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Jobs that end otherwise than Completed.

    The job's name has to match the shell pattern `name`. The first `count` such jobs are taken (null: all), and of
    them a `share`. `processed_share` of the records is processed (and billed) before the end; by default half for
    PartiallyCompleted and Stopped, none for Failed and Expired.
    """

    status: FinalStatus
    name: str = "*"
    count: Count | None = None
    share: Share = 1.0
    processed_share: Share | None = None
    message: str | None = None


class ApiFault(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """API calls that go wrong.

    `operation` is an operation's name in any service, as boto3 spells it (`CreateModelInvocationJob`, `PutObject`),
    or `*`. The first `count` calls are taken (null: all), and of them a `share`. `when` is `before` or `after` the
    call takes effect. `code` is the error's code, or `drop` to close the connection without an answer: with `after`,
    that is a Create that times out for the client although the service accepted it. `expired` is the answer of each
    service to credentials that have expired; it has no body if the request is a HEAD. `delay_seconds` delays the
    answer; with `code` null the call is only slow. With `seconds`, the fault lasts for so long from its first strike.
    """

    operation: str
    code: str | None = None
    message: str = ""
    status: int | None = None
    count: Count | None = None
    share: Share = 1.0
    when: Literal["before", "after"] = "before"
    delay_seconds: Seconds = 0.0
    seconds: Seconds | None = None

    def __post_init__(self) -> None:
        if self.code is None and self.delay_seconds == 0:
            raise ValueError("code is missing: give an error code, 'drop', 'expired', or delay_seconds")
        if self.code == "expired" and self.when == "after":
            raise ValueError("code 'expired' is with when 'after', but such a call never takes effect")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("status is not between 400 and 599")
        if self.status is None and self.code not in {None, "drop", "expired", *HTTP_STATUS}:
            raise ValueError(f"code {self.code!r} is not a known one: give its HTTP status as status, too")


class EventFaults(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Shares of the state-change events that are dropped, or delivered twice."""

    drop: Share = 0.0
    twice: Share = 0.0

    def __post_init__(self) -> None:
        if self.drop + self.twice > 1.0 + 1e-9:
            raise ValueError("the shares drop and twice add up to more than 1")


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All settings, with the service's documented values as defaults, if it has any.

    Limits are those of "Amazon Bedrock endpoints and quotas" in the AWS General Reference.
    """

    # "manual": time stands still but for POST /_local/advance.
    clock: Literal["system", "manual"] = "system"
    seconds: StepSeconds = StepSeconds()
    # What an hour of `timeoutDurationInHours` lasts, in seconds.
    seconds_per_timeout_hour: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    # For so long after Create, Get answers ResourceNotFoundException.
    read_after_create_seconds: Seconds = 0.0
    max_jobs_in_flight: Count = 100
    min_records: Count = 100
    max_records: Count = 100_000
    max_records_per_file: Count = 100_000
    max_file_bytes: Count = 1024**3
    max_job_bytes: Count = 5 * 1024**3
    # Operation name, or "*" for every Bedrock operation, to calls a second. More answer ThrottlingException.
    request_rates: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}
    # The answer to a clientRequestToken seen before with the same parameters: the first job's ARN, or an error.
    repeated_token: Literal["return", "conflict"] = "return"
    stop_ended_job: Literal["ConflictException", "ValidationException"] = "ConflictException"
    # Whether batch jobs take structured output (`outputConfig.textFormat` of Converse, `output_config.format` of
    # Anthropic, `response_format` of OpenAI-shaped bodies), and tools in InvokeModel jobs. AWS's pages contradict each
    # other, so both can be had. "refuse" makes each such record an error.
    batch_structured_output: Literal["accept", "refuse"] = "refuse"
    batch_tools: Literal["accept", "refuse"] = "refuse"
    # Application inference profile id to the model id behind it.
    application_profiles: dict[str, str] = {}
    # Access key ids whose credentials have expired: every call with one of them is refused.
    expired_access_keys: list[str] = []
    # The seed of all random choices: faults, and the order of output lines.
    seed: int = 0
    record_faults: RecordFaults = RecordFaults()
    job_endings: list[JobEnding] = []
    api_faults: list[ApiFault] = []
    event_faults: EventFaults = EventFaults()


class SettingsError(ValueError):
    """A change of settings that does not fit. The message names the place."""


def changed(settings: Settings, change: Any) -> Settings:
    """The settings with a change merged in.

    Raises:
        SettingsError: `change` is not an object, has an unknown name, or a value that does not fit.
    """
    if not isinstance(change, Mapping):
        raise SettingsError("settings must be a JSON object")
    try:
        return msgspec.convert(_merged(msgspec.to_builtins(settings), change), Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_message(str(error))) from error


# The other objects have names of the user's own: they are replaced, or an entry could never be taken out again.
_MERGED = {"seconds", "record_faults", "event_faults"}


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if key in _MERGED and isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = {**old, **value}
        else:
            result[key] = value
    return result


def _message(text: str) -> str:
    """Turn "… - at `$.seconds.Submitted`", as msgspec words it, round to "seconds.Submitted: …"."""
    match = re.fullmatch(r"(?s)(?P<what>.*) - at `\$\.?(?P<where>.*)`", text)
    if match is None or not match["where"]:
        return text if match is None else match["what"]
    return f"{match['where']}: {match['what']}"
