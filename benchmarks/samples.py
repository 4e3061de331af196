"""Tables and output files to measure on: made up, the same each time, and awkward in the ways that real ones are.

Prompts are English-like prose of about a kilobyte with quotes, line breaks and emoji in it; answers echo the record
that they belong to, as the service does, and come shuffled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bedrock_batch_assets.processors.anthropic import AnthropicProcessor
from bedrock_batch_assets.processors.base import BaseProcessor
from bedrock_batch_assets.processors.titan_text_embeddings_v2 import TitanTextEmbeddingsV2Processor
from bedrock_batch_assets.prompt_templates import PromptTemplate, prompt_id_to_template

PROMPT = prompt_id_to_template["sentiment"]
PROMPT_TEMPLATE = PromptTemplate.parse(PROMPT)
DIMENSIONS = 1024

_WORDS = """
about above across after again against almost alone along already also always among and another answer any area
around ask away back because become before began behind better between big black book both bring build business
but call can case change child city close come common company could country course cut day deal different door
down during each early earth end enough even every example eye face fact family far father feel few field find
first follow food for form found four free from full game general get girl give good government great ground
"""
_DISTINCT = 2_000
_ROWS_AT_A_TIME = 5_000


def text_processor() -> BaseProcessor:
    """A model that takes prompts."""
    return AnthropicProcessor()


def embedding_processor() -> BaseProcessor:
    """A model that takes `input_text`."""
    return TitanTextEmbeddingsV2Processor(dimensions=DIMENSIONS)


def prose(source: random.Random, length: int) -> str:
    """Words, quotes, line breaks, accents and emoji of at least `length` characters."""
    known = _WORDS.split()
    words: list[str] = []
    size = 0
    while size < length:
        word = source.choice(known)
        kind = source.random()
        if kind < 0.02:
            word = f'"{word}"'
        elif kind < 0.03:
            word = f"{word}.\n"
        elif kind < 0.04:
            word = f"{word} café 😀"
        words.append(word)
        size += len(word) + 1
    return " ".join(words)


def table_batches(rows: int, *, text_length: int = 850, column: str = "text") -> Iterator[pa.RecordBatch]:
    """A table of `rows` rows: `id`, a text of about `text_length` characters in `column`, `score`, `day`."""
    source = random.Random(7)
    texts = [prose(source, text_length) for _ in range(min(rows, _DISTINCT))]
    for start in range(0, rows, _ROWS_AT_A_TIME):
        numbers = range(start, min(start + _ROWS_AT_A_TIME, rows))
        yield pa.record_batch(
            {
                "id": pa.array(numbers, pa.int64()),
                # No two alike, as in most tables: else Parquet's dictionaries would make short work of them.
                column: pa.array([f"{number}: {texts[number % len(texts)]}" for number in numbers], pa.string()),
                "score": pa.array([number % 977 / 977 for number in numbers], pa.float64()),
                "day": pa.array([f"2026-11-{number % 30 + 1:02d}" for number in numbers], pa.string()),
            }
        )


def write_table(path: Path, rows: int, *, text_length: int = 850, column: str = "text") -> None:
    """Write `table_batches` as Parquet, in row groups as pandas and Spark make them."""
    batches = table_batches(rows, text_length=text_length, column=column)
    first = next(batches)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def write_text_outputs(path: Path, rows: int) -> None:
    """Write the output file of a text job over `write_table`'s rows, shuffled."""
    source = random.Random(11)
    answers = [prose(source, 250) for _ in range(_DISTINCT)]
    processor = text_processor()
    place = "{}: "
    texts = [text.partition(": ")[2] for text in next(table_batches(min(rows, _DISTINCT)))["text"].to_pylist()]
    inputs = [_json(processor.process_input(PROMPT.format(text=place + text))).split(place) for text in texts]
    outputs = [
        _json(
            {
                "model": "claude-3-haiku-20240307",
                "id": "msg_bdrk_01BrWZ4MGEW5xtd8uCYVk1ju",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": place + answer}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 190 + number % 40, "output_tokens": 50 + number % 20},
            }
        )
        for number, answer in enumerate(answers)
    ]
    order = list(range(rows))
    source.shuffle(order)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number in order:
            head, tail = inputs[number % len(inputs)]
            answer = outputs[number % len(outputs)].replace(place, f"{number}: ", 1)
            body = f"{head}{number}: {tail}"
            file.write(f'{{"modelInput":{body},"modelOutput":{answer},"recordId":"{record_id(number)}"}}\n')


def write_embedding_outputs(path: Path, rows: int, *, text_length: int = 200) -> None:
    """Write the output file of an embedding job over `write_table`'s rows, shuffled: 1024 float32 numbers a line."""
    source = random.Random(13)
    vectors = np.random.default_rng(13).standard_normal((200, DIMENSIONS)).astype(np.float32) / 32
    # The service writes 32-bit numbers with the digits of 64-bit ones: -0.023414984345436096.
    numbers = [",".join(repr(number) for number in vector.tolist()) for vector in vectors]
    processor = embedding_processor()
    bodies = [_json(processor.process_input(prose(source, text_length))) for _ in range(200)]
    order = list(range(rows))
    source.shuffle(order)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number in order:
            vector = numbers[number % len(numbers)]
            answer = f'{{"embedding":[{vector}],"inputTextTokenCount":{40 + number % 20}}}'
            body = bodies[number % len(bodies)]
            file.write(f'{{"modelInput":{body},"modelOutput":{answer},"recordId":"{record_id(number)}"}}\n')


def record_id(row: int) -> str:
    """The id that the rendered record of a row has."""
    return f"r{row:010d}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
