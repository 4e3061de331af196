"""What the stages are measured against: the plain way, as a Lambda function around pandas does it.

Rows are dicts, prompts come from `str.format`, record ids from uuid4, JSON from the standard library, lines from
botocore's own `iter_lines`, and the join is a DataFrame merge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pandas as pd
import pyarrow as pa
from botocore.response import StreamingBody

from benchmarks.samples import PROMPT, record_id


def render(batches: Iterable[pa.RecordBatch]) -> bytes:
    """Arrow batches to JSON lines, in memory."""
    lines = []
    for batch in batches:
        for row in batch.to_pylist():
            record = {"recordId": str(uuid4()), "modelInput": _text_body(PROMPT.format(**row))}
            lines.append(json.dumps(record))
    return "\n".join(lines).encode()


def prepare(table: Path, result: Path) -> None:
    """A Parquet or CSV file to a JSONL file, one string for the chunk."""
    frame = pd.read_csv(table) if table.suffix == ".csv" else pd.read_parquet(table)
    lines = []
    for row in cast("list[dict[str, Any]]", frame.to_dict("records")):
        record = {"recordId": str(uuid4()), "modelInput": _text_body(PROMPT.format(**row))}
        lines.append(json.dumps(record))
    result.write_text("\n".join(lines))


def join_text(table: Path, outputs: Path, result: Path) -> None:
    """A text job's output file and its rows to Parquet."""
    records = []
    with outputs.open("rb") as file:
        for line in StreamingBody(file, outputs.stat().st_size).iter_lines():
            record = json.loads(line)
            output = record["modelOutput"]
            records.append(
                {
                    "record_id": record["recordId"],
                    "record_status": "truncated" if output["stop_reason"] == "max_tokens" else "ok",
                    "stop_reason": output["stop_reason"],
                    "input_tokens": output["usage"]["input_tokens"],
                    "output_tokens": output["usage"]["output_tokens"],
                    "response": output["content"][0]["text"],
                }
            )
    _merge(table, records, result)


def join_embeddings(table: Path, outputs: Path, result: Path) -> None:
    """An embedding job's output file and its rows to Parquet."""
    records = []
    with outputs.open("rb") as file:
        for line in StreamingBody(file, outputs.stat().st_size).iter_lines():
            record = json.loads(line)
            output = record["modelOutput"]
            records.append(
                {
                    "record_id": record["recordId"],
                    "record_status": "ok",
                    "input_tokens": output["inputTextTokenCount"],
                    "embedding": output["embedding"],
                }
            )
    _merge(table, records, result)


def _merge(table: Path, records: list[dict[str, Any]], result: Path) -> None:
    frame = pd.read_parquet(table)
    frame["record_id"] = [record_id(row) for row in range(len(frame))]
    frame.merge(pd.DataFrame(records), on="record_id", how="left").drop(columns="record_id").to_parquet(result)


def _text_body(prompt: str) -> dict[str, Any]:
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
    }
