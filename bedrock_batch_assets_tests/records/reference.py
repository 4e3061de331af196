"""The rendering and the join as one would write them first: slow, and plain to see through."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.prompt_templates import PromptTemplate


def render(
    batch: pa.RecordBatch, first_row: int, processor: BaseProcessor, template: PromptTemplate
) -> tuple[bytes, list[int], list[tuple[int, str]]]:
    """The JSON lines, the size of each row's line, and the skipped rows."""
    lines: list[bytes] = []
    sizes: list[int] = []
    skipped: list[tuple[int, str]] = []
    for index, row in enumerate(batch.to_pylist(), start=first_row):
        try:
            text = template.render(row)
        except ValueError as error:
            skipped.append((index, str(error)))
            sizes.append(0)
            continue
        record = {"recordId": "r" + str(index).zfill(10), "modelInput": processor.process_input(text)}
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        lines.append(line)
        sizes.append(len(line))
    return b"".join(lines), sizes, skipped


WORTH = {"missing": 0, "error": 1, "truncated": 2, "ok": 3}


def join(
    rows: Sequence[dict[str, Any]],
    first_row: int,
    skipped: dict[int, str],
    waves: Sequence[Sequence[bytes]],
    processor: BaseProcessor,
) -> list[dict[str, Any]]:
    """The rows with their answers. `waves` holds the lines of each job; none of them is corrupt."""
    best: dict[str, tuple[dict[str, Any], int]] = {}
    for wave, lines in enumerate(waves):
        for line in lines:
            content = json.loads(line)
            new = _columns(content, processor)
            old, old_wave = best.get(content["recordId"], ({"record_status": "missing"}, -1))
            better = WORTH[new["record_status"]] - WORTH[old["record_status"]]
            if better > 0 or (better == 0 and new["record_status"] == "error" and wave > old_wave):
                best[content["recordId"]] = (new, wave)
    answer = "response" if processor.kind == "text" else "embedding"
    nothing = dict.fromkeys(("stop_reason", "input_tokens", "output_tokens", "answered_by", answer))
    joined = []
    for index, row in enumerate(rows, start=first_row):
        missing = {
            **nothing,
            "record_status": "missing",
            "record_error": "the job's output has no line for this record",
        }
        columns = best.get("r" + str(index).zfill(10), (missing, 0))[0]
        if index in skipped:
            columns = {**nothing, "record_status": "skipped", "record_error": skipped[index]}
        joined.append({**row, **columns})
    return joined


def _columns(content: dict[str, Any], processor: BaseProcessor) -> dict[str, Any]:
    name = "response" if processor.kind == "text" else "embedding"
    columns: dict[str, Any] = dict.fromkeys(("record_error", "stop_reason", "input_tokens", "output_tokens", name))
    if "error" in content:
        code, message = content["error"]["errorCode"], content["error"]["errorMessage"]
        return {**columns, "record_status": "error", "answered_by": "job", "record_error": f"{code}: {message}"}
    answer = processor.process_output(msgspec.convert(content["modelOutput"], processor.output_type or dict))
    value = answer.response if processor.kind == "text" else answer.embedding
    status = "truncated" if answer.truncated else "ok"
    if answer.truncated:
        columns["record_error"] = f"the answer stopped at the token limit (stop reason: {answer.stop_reason})"
    if not value:
        status = "error"
        columns["record_error"] = f"the model returned no content (stop reason: {answer.stop_reason or 'none given'})"
    return {
        **columns,
        "record_status": status,
        "answered_by": "job",
        "stop_reason": answer.stop_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        name: value or None,
    }
