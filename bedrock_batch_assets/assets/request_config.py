"""The requests as config of Dagster's: what the launchpad takes."""

import dagster as dg

from bedrock_batch_assets.request import BatchRequest, CsvSettings, PilotRequest


class CsvConfig(CsvSettings, dg.Config):
    """How CSV files are written, if not by RFC 4180 in UTF-8."""


class BatchConfig(BatchRequest, dg.Config):
    """One input table, one model, one prompt. The batch's name is the partition key (`job_name_prefix`)."""

    csv: CsvConfig | None = BatchRequest.model_fields["csv"]  # type: ignore[assignment]


class PilotConfig(PilotRequest, dg.Config):
    """The request of a batch, and how many of its rows to try."""

    csv: CsvConfig | None = BatchRequest.model_fields["csv"]  # type: ignore[assignment]
