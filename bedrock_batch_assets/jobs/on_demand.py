"""The on-demand API, for records that are too few for a job: one call each, at the on-demand price.

The service refuses jobs of under 100 records, and InvokeModel has no idempotency token. So each record is claimed on
S3 before it is sent and its answer is stored as soon as it is there. A record that was claimed by a process that died
before the answer came may have been paid for, and is therefore not sent again; its row says so.

Two processes can be at it at once, each sending what it claimed. The first that is done writes the output file and
then takes the claims away; so who gets a claim looks for that file before sending. The other one adds its answers.
"""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from bedrock_batch_assets.aws.connection import AwsConnection
from bedrock_batch_assets.aws.error_kinds import error_code, error_message, error_status
from bedrock_batch_assets.aws.errors import errors_explained
from bedrock_batch_assets.error_codes import THROTTLED, UNAVAILABLE, plain
from bedrock_batch_assets.errors import ConfigurationError, UnreachableServiceError
from bedrock_batch_assets.jobs.clock import Clock

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from bedrock_batch_assets.storage.objects import ObjectStore

# Refusals before the model ran, which cost nothing (Amazon Bedrock User Guide, "Troubleshooting API error codes").
_TRY_AGAIN = THROTTLED | UNAVAILABLE | {plain("ServiceQuotaExceededException")}
_TRY_AGAIN_STATUSES = frozenset({429, 503})
UNKNOWN_OUTCOME = (
    "sent on demand, but the process or the connection broke before the answer was stored; it may have been paid for, "
    "so it is not sent again"
)
_UNKNOWN_CODE = "Unknown"
_LONGEST_BACKOFF_SECONDS = 30.0


class OnDemand(AwsConnection):
    """The on-demand API (InvokeModel, Converse), for batches and remainders that are too small for a batch job."""

    requests_per_second: float = Field(default=10.0, gt=0, description="At most so many requests a second, per chunk.")
    concurrency: int = Field(default=8, ge=1, le=64, description="Requests in flight at the same time, per chunk.")
    max_attempts: int = Field(
        default=1,
        ge=1,
        le=1,
        description="Always 1: boto3 would also repeat requests that may have been answered, and so paid for.",
    )
    # Long answers take minutes, and an answer that is given up is paid for and lost.
    read_timeout_seconds: int = Field(default=600, ge=1, description="Longest wait for one answer.")
    tries: int = Field(default=8, ge=1, description="Tries per record while the service is throttling.")

    def invoke(self, model_id: str, invocation_type: Literal["InvokeModel", "Converse"], body: dict[str, Any]) -> Any:
        """Send one `modelInput` and return its `modelOutput`.

        Raises:
            ConfigurationError: Access is denied, the credentials are not accepted, or the service cannot be reached:
                the model has not run.
            botocore.exceptions.ClientError: The service refuses.
            botocore.exceptions.BotoCoreError: The connection broke; nobody knows whether the model ran.
        """
        client = self.client("bedrock-runtime")
        with errors_explained("bedrock:InvokeModel", model_id):
            if invocation_type == "Converse":
                response = client.converse(modelId=model_id, **body)
                return {name: value for name, value in response.items() if name != "ResponseMetadata"}
            response = client.invoke_model(
                modelId=model_id, body=msgspec.json.encode(body), contentType="application/json"
            )
            return msgspec.json.decode(response["body"].read())


@dataclass(frozen=True)
class OnDemandPass:
    """One pass over some records. `folder` (an S3 key ending in a slash) is its own; its output file is the result."""

    service: OnDemand
    objects: "ObjectStore"
    model_id: str
    invocation_type: Literal["InvokeModel", "Converse"]
    folder: str
    output_key: str
    clock: Clock
    # This id is written into the pass's claims, to tell them from those of another process.
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, records: Iterable[bytes], on_progress: Callable[[int, int], None]) -> None:
        """Answer the records and write the output file, unless it is there already.

        Args:
            records: JSON lines with `recordId` and `modelInput`; kept in memory, so they should be few.
            on_progress: Told (answered, total) after each record.
        """
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        if self.objects.exists(self.output_key):
            return
        lines = [msgspec.json.decode(record) for record in records]
        try:
            answered = self._stored_answers()
        except ObjectNotFoundError:
            if self.objects.exists(self.output_key):
                # Another process has finished meanwhile, and has deleted its claims and answers.
                return
            raise
        todo = [line for line in lines if line["recordId"] not in answered]
        pace = Pace(self.service.requests_per_second, self.clock)
        pool = ThreadPoolExecutor(max_workers=self.service.concurrency, thread_name_prefix="on-demand")
        try:
            futures = [pool.submit(self._answer, line, pace) for line in todo]
            for future in as_completed(futures):
                answer = future.result()
                if answer is not None:
                    answered[answer["recordId"]] = answer
                    on_progress(len(answered), len(lines))
        finally:
            # Calls in flight are paid for, so their answers are awaited and stored. No further calls begin.
            pace.stop()
            pool.shutdown(wait=True, cancel_futures=True)
        self._write_output([line["recordId"] for line in lines], answered)
        self.objects.delete_prefix(self.folder)

    def _stored_answers(self) -> dict[str, dict[str, Any]]:
        """The answers of an earlier process, and a line of error "outcome unknown" for each claim without one."""
        answers: dict[str, dict[str, Any]] = {}
        claims: set[str] = set()
        for info in self.objects.list(self.folder):
            name = info.key.removeprefix(self.folder)
            kind, _, record_id = name.partition("/")
            if kind == "answers":
                answers[record_id] = msgspec.json.decode(self.objects.get_bytes(info.key))
            elif kind == "claims":
                claims.add(record_id)
        for record_id in claims - set(answers):
            answers[record_id] = _error_line(record_id, _UNKNOWN_CODE, UNKNOWN_OUTCOME)
        return answers

    def _write_output(self, order: list[str], answered: dict[str, dict[str, Any]]) -> None:
        """Write the output file, or add to it the answers that another process did not have when it wrote it."""
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        for record_id in [name for name in order if _is_unknown(answered.get(name))]:
            try:
                stored = self.objects.get_bytes(f"{self.folder}answers/{record_id}")
            except ObjectNotFoundError:
                continue
            answered[record_id] = msgspec.json.decode(stored)
        if all(name in answered for name in order) and self.objects.put_new(
            self.output_key, _lines(answered, order), content_type="application/jsonl"
        ):
            return
        while True:
            before, etag = self.objects.get_version(self.output_key)
            known = {line["recordId"]: line for line in map(msgspec.json.decode, before.splitlines())}
            known |= {name: line for name, line in answered.items() if name in order and _is_unknown(known.get(name))}
            after = _lines(known, order)
            # Only over what was read: a third process may have added paid answers of its own since.
            if after == before or self.objects.put_over(self.output_key, after, etag, content_type="application/jsonl"):
                return

    def _answer(self, line: Mapping[str, Any], pace: "Pace") -> dict[str, Any] | None:
        """Claim a record, send it, and store the answer. None if another process has ended the pass."""
        record_id = line["recordId"]
        pace.wait()
        if not self._claim(record_id):
            return _error_line(record_id, _UNKNOWN_CODE, UNKNOWN_OUTCOME)
        if self.objects.exists(self.output_key):
            # The claim was free only because all claims were deleted.
            return None
        try:
            answer = self._send(line, pace)
        except (ConfigurationError, InterruptedError):
            # The service refused before the model ran: nothing was paid, and the next pass sends the record again.
            self.objects.delete([f"{self.folder}claims/{record_id}"])
            raise
        self.objects.put_bytes(f"{self.folder}answers/{record_id}", msgspec.json.encode(answer))
        return answer

    def _claim(self, record_id: str) -> bool:
        """Claim a record. False if another process has claimed it."""
        from bedrock_batch_assets.storage.objects import ObjectNotFoundError

        key = f"{self.folder}claims/{record_id}"
        if self.objects.put_new(key, self.owner.encode()):
            return True
        # boto3 repeats a write whose answer was lost. S3 then refuses it, since the first try has written the object.
        try:
            return self.objects.get_bytes(key) == self.owner.encode()
        except ObjectNotFoundError:
            return False

    def _send(self, line: Mapping[str, Any], pace: "Pace") -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        record_id = line["recordId"]
        for attempt in range(self.service.tries):
            try:
                output = self.service.invoke(self.model_id, self.invocation_type, line["modelInput"])
            except UnreachableServiceError:
                # There was no connection: nothing was sent.
                if attempt == self.service.tries - 1:
                    raise
            except ClientError as error:
                if not _is_worth_another_try(error) or attempt == self.service.tries - 1:
                    return _refused_line(record_id, error)
            except BotoCoreError:
                return _error_line(record_id, _UNKNOWN_CODE, UNKNOWN_OUTCOME)
            else:
                return {"recordId": record_id, "modelOutput": output}
            self.clock.sleep(self.clock.backoff(attempt, _LONGEST_BACKOFF_SECONDS))
            pace.wait()
        raise AssertionError("the last try returns")


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
    return _error_line(record_id, error_status(error) or 400, error_message(error) or error_code(error))


def _is_unknown(line: Mapping[str, Any] | None) -> bool:
    return line is None or (line.get("error") or {}).get("errorCode") == _UNKNOWN_CODE


def _lines(answers: Mapping[str, Mapping[str, Any]], order: Iterable[str]) -> bytes:
    return b"".join(msgspec.json.encode(answers[name]) + b"\n" for name in order)


def _error_line(record_id: str, code: int | str, message: str) -> dict[str, Any]:
    """A line as the batch service writes it for a record that failed."""
    return {"recordId": record_id, "error": {"errorCode": code, "errorMessage": message}}
