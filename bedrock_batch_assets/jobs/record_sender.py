"""Records, one call each: paced, tried again while the service throttles, and in the cheapest tier that there is."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bedrock_batch_assets.aws.error_kinds import error_code, error_message, error_status
from bedrock_batch_assets.error_codes import THROTTLED, UNAVAILABLE, plain
from bedrock_batch_assets.errors import UnreachableServiceError
from bedrock_batch_assets.jobs.clock import Clock
from bedrock_batch_assets.jobs.on_demand import FLEX, InvocationType, OnDemand, OnDemandAnswer

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Refusals before the model ran, which cost nothing (Amazon Bedrock User Guide, "Troubleshooting API error codes").
_TRY_AGAIN = THROTTLED | UNAVAILABLE | {plain("ServiceQuotaExceededException")}
_TRY_AGAIN_STATUSES = frozenset({429, 503})
UNKNOWN_OUTCOME = (
    "sent on demand, but the process or the connection broke before the answer was stored; it may have been paid for, "
    "so it is not sent again"
)
_UNKNOWN_CODE = "Unknown"
_LONGEST_BACKOFF_SECONDS = 30.0


class RecordSender:
    """Sends records of one model, from several threads.

    The flex tier costs what a batch does, and not every model has it; nothing says beforehand which. So a record is
    sent in it first. If the service refuses that and takes the record without it, the model has no such tier.
    """

    def __init__(self, service: OnDemand, model_id: str, invocation_type: InvocationType, clock: Clock) -> None:
        """Send to `model_id`, at the pace of the service's settings."""
        self._service = service
        self._model_id = model_id
        self._invocation_type = invocation_type
        self._clock = clock
        self._has_flex = service.flex
        self.pace = Pace(service.requests_per_second, clock)

    def send(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Send one record, `{recordId, modelInput}`, and return its line of output.

        An answer's line has `serviceTier` behind its id unless that is the default. A refusal is a line with an error,
        and so is an outcome that nobody knows.

        Raises:
            ConfigurationError: The service refused before the model ran: nothing was paid.
            InterruptedError: The pass was stopped before the record was sent.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        record_id = line["recordId"]
        tries = self._service.tries
        for attempt in range(tries):
            # The flex tier is the first to be short of capacity.
            in_flex = self._has_flex and attempt < max(1, tries // 2)
            try:
                answer = self._invoke(line["modelInput"], in_flex=in_flex)
            except UnreachableServiceError:
                # There was no connection: nothing was sent.
                if attempt == tries - 1:
                    raise
            except ClientError as error:
                if not _is_worth_another_try(error) or attempt == tries - 1:
                    return _refused_line(record_id, error)
            except BotoCoreError:
                return unknown_line(record_id)
            else:
                tier = {} if answer.tier == "default" else {"serviceTier": answer.tier}
                return {"recordId": record_id, **tier, "modelOutput": answer.output}
            self._clock.sleep(self._clock.backoff(attempt, _LONGEST_BACKOFF_SECONDS))
            self.pace.wait()
        raise AssertionError("the last try returns")

    def _invoke(self, body: dict[str, Any], *, in_flex: bool) -> OnDemandAnswer:
        from botocore.exceptions import ClientError

        if in_flex:
            try:
                return self._service.invoke(self._model_id, self._invocation_type, body, tier=FLEX)
            except ClientError as error:
                # A refused request costs nothing. It may be the record that is refused: then the next one is, too.
                if plain(error_code(error)) != plain("ValidationException"):
                    raise
        answer = self._service.invoke(self._model_id, self._invocation_type, body)
        if in_flex:
            self._has_flex = False
        return answer


class Pace:
    """Spaces requests evenly over all threads of a pass."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        """Allow the first request at once."""
        self._interval = 1 / per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock.now()
        self._stopped = False

    def wait(self) -> None:
        """Wait for a turn.

        Raises:
            InterruptedError: The pass was stopped.
        """
        with self._lock:
            self._check()
            now = self._clock.now()
            delay = max(0.0, self._next - now)
            self._next = max(now, self._next) + self._interval
        if delay:
            self._clock.sleep(delay)
            with self._lock:
                self._check()

    def stop(self) -> None:
        """Give no more turns."""
        with self._lock:
            self._stopped = True

    def _check(self) -> None:
        if self._stopped:
            raise InterruptedError("the pass was stopped")


def _is_worth_another_try(error: "ClientError") -> bool:
    return plain(error_code(error)) in _TRY_AGAIN or error_status(error) in _TRY_AGAIN_STATUSES


def _refused_line(record_id: str, error: "ClientError") -> dict[str, Any]:
    return error_line(record_id, error_status(error) or 400, error_message(error) or error_code(error))


def is_unknown(line: Mapping[str, Any] | None) -> bool:
    """Whether a line, or None, leaves it open whether the model answered."""
    return line is None or (line.get("error") or {}).get("errorCode") == _UNKNOWN_CODE


def error_line(record_id: str, code: int | str, message: str) -> dict[str, Any]:
    """A line as the batch service writes it for a record that failed."""
    return {"recordId": record_id, "error": {"errorCode": code, "errorMessage": message}}


def unknown_line(record_id: str) -> dict[str, Any]:
    """A line for a record of which nobody knows whether the model answered it."""
    return error_line(record_id, _UNKNOWN_CODE, UNKNOWN_OUTCOME)
