"""The file formats of the result table."""

from enum import Enum


class OutputFormat(Enum):
    """File format of the result table."""

    parquet = "parquet"
    csv = "csv"
