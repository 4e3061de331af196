"""The door of this package: everything that the rest of the platform may import from it.

There are two kinds of files: the input table of a batch, and the parts of its result, which may also be CSV. The other
modules write footers and pages of Parquet themselves, so that rows need not be decoded and encoded again. They import
each other, and nobody else imports them: the linter checks that, see pyproject.toml.
"""

from bedrock_batch_assets.parquet.damage import DamagedPartError
from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.joined_rows import write_joined
from bedrock_batch_assets.parquet.part_check import count_statuses
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.part_head import read_head, read_row
from bedrock_batch_assets.parquet.referenced_rows import AnswerSpools, References, write_referenced
from bedrock_batch_assets.parquet.tables import TableWriter, read_encoded_rows, read_rows

__all__ = [
    "AnswerSpools",
    "DamagedPartError",
    "EncodedRows",
    "PartFile",
    "References",
    "TableWriter",
    "count_statuses",
    "read_encoded_rows",
    "read_head",
    "read_row",
    "read_rows",
    "write_joined",
    "write_referenced",
]
