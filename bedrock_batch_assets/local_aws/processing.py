"""The records of one job: read and checked, answered in shuffled order, and written out."""

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import msgspec

from bedrock_batch_assets.local_aws.account import Account
from bedrock_batch_assets.local_aws.fake_models import families
from bedrock_batch_assets.local_aws.fake_models.base import BodyError, Call
from bedrock_batch_assets.local_aws.faults import Faults
from bedrock_batch_assets.local_aws.http_messages import MALFORMED
from bedrock_batch_assets.local_aws.ledger import Entry, Ledger, canonical
from bedrock_batch_assets.local_aws.models_table import Model
from bedrock_batch_assets.local_aws.settings import Settings


class InputError(Exception):
    """The job's input is refused when it is validated. The message becomes the job's."""


class Record(msgspec.Struct):
    """One line of the input."""

    modelInput: msgspec.Raw  # noqa: N815
    recordId: str | None = None  # noqa: N815


class _Success(msgspec.Struct):
    recordId: str  # noqa: N815
    modelInput: msgspec.Raw  # noqa: N815
    modelOutput: dict[str, Any]  # noqa: N815


class _Failure(msgspec.Struct):
    recordId: str  # noqa: N815
    modelInput: msgspec.Raw  # noqa: N815
    error: dict[str, Any]


_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job reads and writes."""

    arn: str
    name: str
    model: Model
    invocation_type: families.InvocationType
    bucket: str
    key: str
    output_bucket: str
    output_prefix: str


@dataclass(slots=True)
class _File:
    """One input file: where it lies under the input folder, and its output lines so far."""

    name: str
    lines: list[bytes] = field(default_factory=list)
    repeated: list[bytes] = field(default_factory=list)


def read_lines(data: bytes) -> list[bytes]:
    """The lines of a JSONL file without blank ones. Only a line feed ends a line: JSON strings may hold the others."""
    return [line for line in data.split(b"\n") if line.strip()]


def validate(source: Source, account: Account, settings: Settings) -> None:
    """Check a job's input as the service does while the job is Validating.

    Whether a `modelInput` fits the model is not checked: that is found out record by record.

    Raises:
        InputError: No .jsonl file, a line that is not a record, too large, too few or too many records.
    """
    files = [item for item in account.input_objects(source.bucket, source.key) if item.key.endswith(".jsonl")]
    if not files:
        raise InputError(
            f"Batch job {source.arn} has no input: there is no file that ends with .jsonl at "
            f"s3://{source.bucket}/{source.key}"
        )
    total_bytes = sum(item.size for item in files)
    if total_bytes > settings.max_job_bytes:
        raise InputError(
            f"Batch job {source.arn} has a size of {total_bytes} bytes, which is more than the allowed maximum of: "
            f"{settings.max_job_bytes}"
        )
    total = 0
    for item in files:
        if item.size > settings.max_file_bytes:
            raise InputError(
                f"Batch job {source.arn} has the file {item.key} of {item.size} bytes, which is more than the allowed "
                f"maximum of: {settings.max_file_bytes}"
            )
        number = _check_lines(source, item.key, account.read(source.bucket, item.key))
        if number > settings.max_records_per_file:
            raise InputError(
                f"Batch job {source.arn} contains more records ({number}) in the file {item.key} than the allowed "
                f"maximum of: {settings.max_records_per_file}"
            )
        total += number
    if total < settings.min_records:
        raise InputError(
            f"Batch job {source.arn} contains less records ({total}) than the required minimum of: "
            f"{settings.min_records}"
        )
    if total > settings.max_records:
        raise InputError(
            f"Batch job {source.arn} contains more records ({total}) than the allowed maximum of: "
            f"{settings.max_records}"
        )


def _check_lines(source: Source, key: str, data: bytes) -> int:
    number = 0
    for number, line in enumerate(read_lines(data), start=1):
        try:
            # The decoder leaves the characters of a modelInput unread.
            line.decode()
            record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not a JSON object with a modelInput"
            raise InputError(f"Batch job {source.arn} has a malformed record {number} in {key}: {reason}") from error
        if not bytes(record.modelInput).lstrip().startswith(b"{"):
            raise InputError(f"Batch job {source.arn} has a malformed record {number} in {key}: no modelInput object")
    return number


class Work:
    """A job in progress. Used by one thread at a time.

    Attributes:
        total: Records of the job.
        done: Records gone through so far, those that went missing included.
        processed: Records answered or refused so far, success + error.
        success: Records answered.
        error: Records refused.
    """

    def __init__(self, source: Source, account: Account, faults: Faults, ledger: Ledger, settings: Settings) -> None:
        self._source = source
        self._account = account
        self._faults = faults
        self._ledger = ledger
        self._errors = settings.record_faults
        self._takes_structured_output = settings.batch_structured_output == "accept"
        self._takes_tools = settings.batch_tools == "accept"
        single = source.key.endswith(".jsonl")
        self._files: list[_File] = []
        self._records: list[tuple[_File, int, bytes]] = []
        for item in account.input_objects(source.bucket, source.key):
            if not item.key.endswith(".jsonl"):
                continue
            name = PurePosixPath(item.key).name if single else item.key[len(source.key) :].lstrip("/")
            file = _File(name)
            self._files.append(file)
            lines = read_lines(account.read(source.bucket, item.key))
            self._records.extend((file, number, line) for number, line in enumerate(lines, start=1))
        # The service does not keep the order of records.
        random.Random(f"{settings.seed}/{source.name}").shuffle(self._records)
        self.total = len(self._records)
        self.done = self.processed = self.success = self.error = 0
        self._input_tokens = self._output_tokens = 0

    def process(self, until: int, bill: bool = True) -> None:
        """Go through the records up to number `until`, and bill those answered, unless they were billed before."""
        billed: list[Entry] = []
        for index in range(self.done, min(until, self.total)):
            file, number, line = self._records[index]
            # Free the line: from here on the output holds it.
            self._records[index] = (file, number, b"")
            self._process_one(file, number, line, billed)
            self.done = index + 1
        if bill:
            self._ledger.add(billed)

    def _process_one(self, file: _File, number: int, line: bytes, billed: list[Entry]) -> None:
        source = self._source
        record = _decoder.decode(line)
        # "If you omit the recordId field, Amazon Bedrock adds it in the output"; 11 characters, as in its examples.
        record_id = record.recordId if record.recordId is not None else f"REC{number:08d}"
        try:
            body = msgspec.json.decode(record.modelInput)
            digest = hashlib.sha256(canonical(body))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            # Half a surrogate pair, a number beyond all bounds, a thousand levels of nesting.
            self.processed += 1
            self._refuse(file, record_id, record, {"errorCode": 400, "errorMessage": MALFORMED})
            return
        fault = self._faults.record(digest.digest())
        if fault == "missing":
            return
        self.processed += 1
        try:
            if fault == "error":
                raise BodyError(self._errors.error_message)
            seed = int.from_bytes(digest.digest()[:8], "big")
            call = Call(
                source.model,
                body,
                seed,
                truncate=fault == "truncate",
                structured_output=self._takes_structured_output,
                tools=self._takes_tools,
            )
            answer = families.answer(call, source.invocation_type)
        except BodyError as error:
            detail: dict[str, Any] = {"errorCode": error.code, "errorMessage": error.message}
            if fault == "error":
                detail["errorCode"] = self._errors.error_code
                if self._errors.error_retryable is not None:
                    detail["retryable"] = self._errors.error_retryable
            self._refuse(file, record_id, record, detail)
            return
        self.success += 1
        self._input_tokens += answer.input_tokens
        self._output_tokens += answer.output_tokens
        billed.append(
            Entry(
                digest=digest.hexdigest(),
                mode="batch",
                model_id=source.model.id,
                input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens,
                record_id=record_id,
                job_arn=source.arn,
                job_name=source.name,
            )
        )
        encoded = _encoder.encode(_Success(record_id, record.modelInput, answer.output))
        file.lines.append(encoded[: len(encoded) // 2] if fault == "corrupt" else encoded)
        if fault == "twice":
            file.repeated.append(encoded)

    def _refuse(self, file: _File, record_id: str, record: Record, detail: dict[str, Any]) -> None:
        self.error += 1
        file.lines.append(_encoder.encode(_Failure(record_id, record.modelInput, detail)))

    def write(self) -> None:
        """Write an .out file for each input file that has any output, and the manifest."""
        source = self._source
        folder = f"{source.output_prefix.rstrip('/')}/" if source.output_prefix.strip("/") else ""
        folder += source.arn.rpartition("/")[2]
        for file in self._files:
            lines = file.lines + file.repeated
            if lines:
                self._account.write(source.output_bucket, f"{folder}/{file.name}.out", b"\n".join(lines) + b"\n")
        manifest = {
            "totalRecordCount": self.total,
            "processedRecordCount": self.processed,
            "successRecordCount": self.success,
            "errorRecordCount": self.error,
            "inputTokenCount": self._input_tokens,
            "outputTokenCount": self._output_tokens,
        }
        self._account.write(source.output_bucket, f"{folder}/manifest.json.out", _encoder.encode(manifest))
