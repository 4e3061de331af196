"""Writes a chunk's rows with their answers into a part. Rows that are encoded stay so."""

from collections.abc import Iterable

import pyarrow as pa

from bedrock_batch_assets.parquet.encoded_rows import EncodedRows
from bedrock_batch_assets.parquet.part_file import PartFile
from bedrock_batch_assets.parquet.row_group_writer import as_file
from bedrock_batch_assets.parquet.tables import read_rows
from bedrock_batch_assets.records.joining import OutputJoin, joined_schema

# A row group whose answers have more bytes is cut, so that memory does not grow with them.
_MOST_ANSWER_BYTES = 48 << 20


def write_joined(
    part: PartFile, join: OutputJoin, rows: Iterable[EncodedRows | pa.RecordBatch], *, all_sent: bool
) -> None:
    """Append a chunk's rows with their answers. What is encoded stays so, unless its answers are many bytes.

    Args:
        part: The file.
        join: With all outputs added.
        rows: The chunk's rows, in order.
        all_sent: Whether it is known that none of the rows was skipped. Else it is seen from what the prompt reads.

    Raises:
        RequestError: The input has a column that the join adds.
    """
    renderer = join.renderer
    for some in rows:
        if not isinstance(some, EncodedRows):
            part.write(join.join(some))
        elif join.answer_bytes(some.row_count) > _MOST_ANSWER_BYTES:
            for batch in read_rows(as_file(some)):
                part.write(join.join(batch))
        else:
            joined_schema(some.schema, renderer)
            skipped: list[tuple[int, str]] = []
            row = join.next_row
            for batch in () if all_sent else read_rows(as_file(some), columns=renderer.columns):
                skipped += renderer.skipped_rows(batch, row)
                row += batch.num_rows
            part.write_beside(some, join.answers(some.row_count, skipped))
