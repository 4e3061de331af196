"""The stages as users of Polars and DuckDB would write them, each at its best: streaming, and no column too many.

As the plain way, they take every line for an answer: no statuses, no repairs, no check of what comes out. Rows leave
in input order, since the table that they are for promises that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.samples import PROMPT

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_MAX_TOKENS = 1024
_VERSION = "bedrock-2023-05-31"


def polars_prepare(table: Path, result: Path) -> None:
    """A Parquet file to a JSONL file."""
    import polars as pl

    prompt = pl.format(PROMPT.replace("{text}", "{}"), pl.col("text"))
    content = pl.concat_list(pl.struct(type=pl.lit("text"), text=prompt))
    message = pl.struct(role=pl.lit("user"), content=content)
    body = pl.struct(
        anthropic_version=pl.lit(_VERSION), max_tokens=pl.lit(_MAX_TOKENS), messages=pl.concat_list(message)
    )
    rows = pl.scan_parquet(table).select("text").with_row_index("row")
    rows.select(recordId=_polars_record_id(), modelInput=body).sink_ndjson(result)


def polars_join_text(table: Path, outputs: Path, result: Path) -> None:
    """A text job's output file and its rows to Parquet."""
    import polars as pl

    output = pl.Struct(
        {
            "content": pl.List(pl.Struct({"text": pl.String})),
            "stop_reason": pl.String,
            "usage": pl.Struct({"input_tokens": pl.Int64, "output_tokens": pl.Int64}),
        }
    )
    answer = pl.col("modelOutput").struct
    usage, stop_reason = answer.field("usage").struct, answer.field("stop_reason")
    answers = pl.scan_ndjson(outputs, schema={"recordId": pl.String, "modelOutput": output}).select(
        "recordId",
        record_status=pl.when(stop_reason == "max_tokens").then(pl.lit("truncated")).otherwise(pl.lit("ok")),
        stop_reason=stop_reason,
        input_tokens=usage.field("input_tokens"),
        output_tokens=usage.field("output_tokens"),
        response=answer.field("content").list.first().struct.field("text"),
    )
    _polars_join(table, answers, result)


def polars_join_embeddings(table: Path, outputs: Path, result: Path) -> None:
    """An embedding job's output file and its rows to Parquet."""
    import polars as pl

    output = pl.Struct({"embedding": pl.List(pl.Float32), "inputTextTokenCount": pl.Int64})
    answer = pl.col("modelOutput").struct
    answers = pl.scan_ndjson(outputs, schema={"recordId": pl.String, "modelOutput": output}).select(
        "recordId",
        record_status=pl.lit("ok"),
        input_tokens=answer.field("inputTextTokenCount"),
        embedding=answer.field("embedding"),
    )
    _polars_join(table, answers, result)


def _polars_record_id() -> pl.Expr:
    import polars as pl

    return pl.format("r{}", pl.col("row").cast(pl.String).str.zfill(10))


def _polars_join(table: Path, answers: pl.LazyFrame, result: Path) -> None:
    import polars as pl

    rows = pl.scan_parquet(table).with_row_index("row").with_columns(recordId=_polars_record_id())
    joined = rows.join(answers, on="recordId", how="left", maintain_order="left").drop("row", "recordId")
    joined.sink_parquet(result, compression="snappy")


def duckdb_prepare(table: Path, result: Path) -> None:
    """A Parquet file to a JSONL file."""
    before, after = (_quoted(part) for part in PROMPT.split("{text}"))
    _duckdb().execute(
        f"""
        COPY (
            SELECT {_DUCKDB_RECORD_ID} AS recordId,
                {{
                    'anthropic_version': '{_VERSION}',
                    'max_tokens': {_MAX_TOKENS},
                    'messages': [
                        {{'role': 'user', 'content': [{{'type': 'text', 'text': {before} || text || {after}}}]}}
                    ]
                }} AS modelInput
            FROM read_parquet('{table}', file_row_number=true)
        ) TO '{result}' (FORMAT json)
        """
    )


def duckdb_join_text(table: Path, outputs: Path, result: Path) -> None:
    """A text job's output file and its rows to Parquet."""
    output = (
        "STRUCT(content STRUCT(text VARCHAR)[], stop_reason VARCHAR, usage STRUCT(input_tokens BIGINT, "
        "output_tokens BIGINT))"
    )
    answers = """
        CASE modelOutput.stop_reason WHEN 'max_tokens' THEN 'truncated' ELSE 'ok' END AS record_status,
        modelOutput.stop_reason AS stop_reason,
        modelOutput.usage.input_tokens AS input_tokens,
        modelOutput.usage.output_tokens AS output_tokens,
        modelOutput.content[1].text AS response
    """
    _duckdb_join(table, outputs, result, output, answers)


def duckdb_join_embeddings(table: Path, outputs: Path, result: Path) -> None:
    """An embedding job's output file and its rows to Parquet."""
    output = "STRUCT(embedding FLOAT[], inputTextTokenCount BIGINT)"
    answers = """
        'ok' AS record_status,
        modelOutput.inputTextTokenCount AS input_tokens,
        modelOutput.embedding AS embedding
    """
    _duckdb_join(table, outputs, result, output, answers)


_DUCKDB_RECORD_ID = "'r' || lpad(file_row_number::VARCHAR, 10, '0')"


def _duckdb() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect()


def _duckdb_join(table: Path, outputs: Path, result: Path, output: str, answers: str) -> None:
    _duckdb().execute(
        f"""
        COPY (
            SELECT rows.* EXCLUDE (file_row_number), answers.* EXCLUDE (recordId)
            FROM read_parquet('{table}', file_row_number=true) AS rows
            LEFT JOIN (
                SELECT recordId, {answers}
                FROM read_json(
                    '{outputs}', format='newline_delimited', columns={{recordId: 'VARCHAR', modelOutput: '{output}'}}
                )
            ) AS answers ON answers.recordId = {_DUCKDB_RECORD_ID}
            ORDER BY file_row_number
        ) TO '{result}' (FORMAT parquet, COMPRESSION snappy)
        """
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
