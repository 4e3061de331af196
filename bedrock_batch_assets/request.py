"""The batch request: what a person fills in to start a batch."""

import os
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from bedrock_batch_assets.errors import RequestError

DEFAULT_MAX_RECORDS_PER_JOB = 1_000
# "Records per batch inference job", default quota per model and region (AWS General Reference, Bedrock quotas).
MAX_RECORDS_PER_JOB_QUOTA = 100_000
# What columns from folder names may be.
PARTITION_TYPE_NAMES = ("text", "integer", "number", "date")


class OutputFormat(Enum):
    """File format of the result table."""

    parquet = "parquet"
    csv = "csv"


class BatchRequest(dg.Config):
    """One input table, one model, one prompt. The batch's name is the partition key (`job_name_prefix`)."""

    model_id: str = Field(
        description="Bedrock model id, inference profile id or ARN, e.g. anthropic.claude-3-haiku-20240307-v1:0."
    )
    s3_uri: str | None = Field(
        default=None,
        description="Input table on S3: a .csv or .parquet file, or a prefix that holds Parquet files. "
        "Give this or dataset_id.",
    )
    dataset_id: str | None = Field(
        default=None,
        description="Input table on the Hugging Face Hub (e.g. w601sxs/simpleCoT), or a local dataset folder. "
        "Give this or s3_uri.",
    )
    split: str = Field(default="train", description="Split of the Hugging Face dataset. Ignored with s3_uri.")
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
        description="Name of the processor, only where the model id does not tell the model family "
        "(application inference profiles, custom models).",
    )
    max_cost_usd: float | None = Field(
        default=None,
        description="Refuse the batch, before anything is submitted, if it may cost more: the estimated input, and "
        "every answer as long as max_tokens allows. Needs a price table (BEDROCK_BATCH_PRICES).",
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
        _ = self.records_total

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


def _positive_int_from_environment(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RequestError(f"The environment variable {name} is {text!r}: it must be a whole number of at least 1.")
    return int(text)
