"""The door of this package: what the platform reads and writes as Parquet, and nothing of how.

There are two kinds of files: the input table of a batch, and the parts of its result, which may also be CSV. Their row
groups are put together by code of our own, which Arrow would have to decode and encode instead; the other modules of
this package know Parquet's bytes, and are imported by each other alone (ruff sees to it, see pyproject.toml).
"""

from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.joined_rows import write_joined
from bedrock_batch_assets.parquet.part_check import DamagedPartError, count_statuses
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.part_head import read_head
from bedrock_batch_assets.parquet.tables import TableWriter, read_encoded_rows, read_rows

__all__ = [
    "DamagedPartError",
    "EncodedRows",
    "PartFile",
    "TableWriter",
    "count_statuses",
    "read_encoded_rows",
    "read_head",
    "read_rows",
    "write_joined",
]
