"""The batch request: what a person fills in to start a batch."""

import codecs
import json
import os
from enum import Enum
from typing import Any

from pydantic import BaseModel, Field

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.output_format import OutputFormat

DEFAULT_MAX_RECORDS_PER_JOB = 1_000
# "Records per batch inference job", default quota per model and region (AWS General Reference, Bedrock quotas).
MAX_RECORDS_PER_JOB_QUOTA = 100_000
MAX_PILOT_ROWS = 500
# "false" keeps values of all batches out of Dagster's database, whatever their requests say.
PREVIEW_VARIABLE = "BEDROCK_BATCH_PREVIEW"
# What people write for a tab that they cannot type.
TAB_NAMES = ("\\t", "tab")
# Codecs that Python counts among its text encodings, and that no file is written in.
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "unicode_escape", "unicode-escape", "raw_unicode_escape"}
# The types that columns from folder names can have.
PARTITION_TYPE_NAMES = ("text", "integer", "number", "date")


class CsvSettings(BaseModel, frozen=True, extra="forbid"):
    """How CSV files are written, if not by RFC 4180 in UTF-8."""

    delimiter: str | None = Field(
        default=None, description='What separates cells, e.g. ; or | or "\\t" for a tab. Default: a comma.'
    )
    quote: str | None = Field(
        default=None, description='What encloses cells; "" if nothing does, so that quotes are text. Default: ".'
    )
    escape: str | None = Field(
        default=None,
        description="What makes a quote inside quotes text, e.g. the backslash of Spark and MySQL. Default: a quote "
        "inside quotes is doubled.",
    )
    escape_unquoted: bool | None = Field(
        default=None,
        description="Whether escape has its meaning outside quotes, too: false for Spark, true for MySQL and Python's "
        "csv module. Needed only for files that have it there.",
    )
    encoding: str | None = Field(
        default=None, description="Encoding by Python's name, e.g. cp1252, utf-16, shift_jis. Default: UTF-8."
    )
    null_text: str | None = Field(
        default=None, description="Cells of this text, without quotes, are null, e.g. \\N or NULL. Default: none is."
    )

    def check(self) -> None:
        """Check each setting, and that no character has two meanings.

        Raises:
            RequestError: A setting cannot be used. Names it.
        """
        self._check_characters()
        delimiter, quote = self._delimiter, '"' if self.quote is None else self.quote
        for name, other in (("quote", quote), ("escape", self.escape)):
            if other == delimiter:
                raise RequestError(
                    f"csv.{name} is {json.dumps(other)}, which is the delimiter, too: change one of them."
                )
        if self.escape_unquoted is not None and (self.escape is None or self.escape == quote):
            raise RequestError("csv.escape_unquoted is given without an escape character: set csv.escape, too.")
        if self.null_text is not None and any(
            mark and mark in self.null_text for mark in (delimiter, quote, "\r", "\n")
        ):
            raise RequestError(
                f"csv.null_text is {json.dumps(self.null_text)}: a cell without quotes holds no delimiter, quote or "
                "line end."
            )
        if self.encoding is not None:
            _check_encoding(self.encoding)

    @property
    def _delimiter(self) -> str:
        return "\t" if self.delimiter in TAB_NAMES else self.delimiter or ","

    def _check_characters(self) -> None:
        for name in ("delimiter", "quote", "escape"):
            text = getattr(self, name)
            if text is None or (text == "" and name == "quote") or (name == "delimiter" and text in TAB_NAMES):
                continue
            if len(text) != 1 or not text.isascii() or text in "\r\n\0":
                more = ", or empty if nothing encloses cells" if name == "quote" else ""
                raise RequestError(f"csv.{name} is {json.dumps(text)}: it must be a single ASCII character{more}.")


class Duplicates(Enum):
    """How often rows with the same record are asked for."""

    once = "once"
    each = "each"


class BatchRequest(BaseModel, frozen=True, extra="forbid"):
    """One input table, one model, one prompt. The batch's name is the partition key (`job_name_prefix`)."""

    model_id: str = Field(
        description="Bedrock model id, inference profile id or ARN, e.g. anthropic.claude-3-haiku-20240307-v1:0."
    )
    s3_uri: str | None = Field(
        default=None,
        description="Input table on S3: a .csv, .jsonl or .parquet file, or a folder of such files. Give this or "
        "dataset_id.",
    )
    dataset_id: str | None = Field(
        default=None,
        description="Input table on the Hugging Face Hub (e.g. w601sxs/simpleCoT), or a local dataset folder. "
        "Give this or s3_uri.",
    )
    split: str = Field(default="train", description="Split of the Hugging Face dataset. Ignored with s3_uri.")
    csv: CsvSettings | None = Field(
        default=None,
        description="How the CSV files of the input are written, if not by RFC 4180 in UTF-8: {delimiter, quote, "
        "escape, escape_unquoted, encoding, null_text}. An error about a file proposes what to set.",
    )
    partition_types: dict[str, str] = Field(
        default={},
        description="Types of the columns that come from folder names (year=2023/), which are text unless said here: "
        "{year: integer}. One of text, integer, number, date.",
    )
    prompt_id: str | None = Field(
        default=None,
        description="Prompt template, a key of prompt_id_to_template. Required for text models; embedding "
        "models take none and read the column input_text.",
    )
    max_records_total: int | None = Field(
        default=None,
        description="Use only the first so many rows. Default: MAX_TOTAL_RECORDS from the environment, else all.",
    )
    max_num_jobs: int | None = Field(
        default=None, description="Make at most so many jobs; rows beyond them are left out of the batch."
    )
    max_records_per_job: int | None = Field(
        default=None,
        description="Records per job at most. Default: MAX_RECORDS_PER_JOB from the environment, else 1000.",
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.parquet,
        description="parquet, or csv (embeddings as JSON lists).",
    )
    inference_parameters: dict[str, Any] = Field(
        default={},
        description="Overrides of the processor's settings for this batch, e.g. {max_tokens: 300, temperature: 0}.",
    )
    processor: str | None = Field(
        default=None,
        description="Name of the processor, needed only if the model id does not name the model family "
        "(application inference profiles, custom models).",
    )
    preview: bool = Field(
        default=True,
        description="Show some rows, prompts and answers in the UI, which stores them in Dagster's database. False "
        "keeps them on S3 alone. BEDROCK_BATCH_PREVIEW=false does so for all batches.",
    )
    max_cost_usd: float | None = Field(
        default=None,
        description="Refuse the batch, before anything is submitted, if it may cost more: the estimated input, and "
        "every answer as long as max_tokens allows. Needs a price table (BEDROCK_BATCH_PRICES).",
    )

    reuse: bool = Field(
        default=True,
        description="Use answers to the same records that were paid for before, by this batch or another. False asks "
        "for all records anew, and pays for them again, once.",
    )
    duplicates: Duplicates = Field(
        default=Duplicates.once,
        description="Rows with the same prompt: once asks for one answer to all of them; each asks for an answer to "
        "each, to sample several.",
    )

    def check(self) -> None:
        """Check what can be checked without looking anything up. `resolve_request` checks the rest.

        Raises:
            RequestError: Neither or both sources, or a number out of range. Names the field.
        """
        if bool(self.s3_uri) == bool(self.dataset_id):
            given = "both are given" if self.s3_uri else "neither is given"
            raise RequestError(f"Give exactly one of s3_uri and dataset_id: {given}.")
        if self.dataset_id and not self.split:
            raise RequestError("split is empty: name a split of the dataset, e.g. train.")
        for column, kind in self.partition_types.items():
            if kind not in PARTITION_TYPE_NAMES:
                raise RequestError(
                    f"partition_types gives {column!r} the type {kind!r}: choose one of "
                    f"{', '.join(PARTITION_TYPE_NAMES)}."
                )
        if self.partition_types and self.dataset_id:
            raise RequestError("partition_types is for folders on S3: leave it out with dataset_id.")
        if self.csv is not None:
            self.csv.check()
        for name in ("max_records_total", "max_num_jobs", "max_records_per_job"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name} is {value}: it must be at least 1.")
        if self.max_cost_usd is not None and not 0 < self.max_cost_usd < float("inf"):
            raise RequestError(f"max_cost_usd is {self.max_cost_usd}: it must be a number of USD above 0.")
        if self.records_per_job > MAX_RECORDS_PER_JOB_QUOTA:
            raise RequestError(
                f"max_records_per_job is {self.records_per_job}: Bedrock takes at most "
                f"{MAX_RECORDS_PER_JOB_QUOTA} records a job."
            )
        _ = self.records_total, self.shows_values

    @property
    def shows_values(self) -> bool:
        """Whether values of rows, prompts and answers may be stored in Dagster's database.

        Raises:
            RequestError: BEDROCK_BATCH_PREVIEW is neither true nor false.
        """
        text = os.environ.get(PREVIEW_VARIABLE, "").strip().lower()
        if text not in {"", "true", "false"}:
            raise RequestError(f"The environment variable {PREVIEW_VARIABLE} is {text!r}: it must be true or false.")
        return self.preview and text != "false"

    @property
    def records_per_job(self) -> int:
        """Records per job at most: the request's, else the environment's, else 1000."""
        if self.max_records_per_job is not None:
            return self.max_records_per_job
        return _positive_int_from_environment("MAX_RECORDS_PER_JOB") or DEFAULT_MAX_RECORDS_PER_JOB

    @property
    def records_total(self) -> int | None:
        """Rows to use at most: the request's, else the environment's, else None for all."""
        if self.max_records_total is not None:
            return self.max_records_total
        return _positive_int_from_environment("MAX_TOTAL_RECORDS")

    @property
    def max_rows(self) -> int | None:
        """Rows to read at most, by the bounds on records and jobs; None for all."""
        bounds = [self.records_total, self.max_num_jobs and self.max_num_jobs * self.records_per_job]
        return min((rows for rows in bounds if rows), default=None)


class PilotSample(Enum):
    """Which rows a pilot takes."""

    random = "random"
    first = "first"


class PilotRequest(BatchRequest, frozen=True):
    """The request of a batch, and how many of its rows to try."""

    rows: int = Field(default=20, description="Rows to try, 1 to 500. They are asked on demand.")
    sample: PilotSample = Field(
        default=PilotSample.random, description="random rows of the whole table, or its first ones."
    )
    seed: int = Field(default=0, description="Another number takes other random rows.")

    def check(self) -> None:
        """See `BatchRequest.check`.

        Raises:
            RequestError: See there; or `rows` is out of range.
        """
        super().check()
        if not 1 <= self.rows <= MAX_PILOT_ROWS:
            raise RequestError(f"rows is {self.rows}: a pilot takes 1 to {MAX_PILOT_ROWS} rows.")


def _check_encoding(name: str) -> None:
    try:
        # This also refuses codecs that are no text encoding, such as base64.
        b"".decode(name)
        codec = codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise RequestError(
            f"csv.encoding is {json.dumps(name)}, which is no encoding that Python knows: name one such as cp1252, "
            "latin-1, utf-16 or shift_jis."
        ) from error
    if codec.incrementaldecoder is None or codec.name in _NOT_FOR_FILES:
        raise RequestError(f"csv.encoding is {json.dumps(name)}, which no file is written in: name one such as cp1252.")


def _positive_int_from_environment(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RequestError(f"The environment variable {name} is {text!r}: it must be a whole number of at least 1.")
    return int(text)
