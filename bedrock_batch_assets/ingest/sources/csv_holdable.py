"""Tables whose result will be CSV, which holds only text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources.conversion import InexactError, exactly
from bedrock_batch_assets.records.nested_columns import is_nested, with_leaves

if TYPE_CHECKING:
    from bedrock_batch_assets.ingest.sources.source import Source

_ADVICE = "choose output_format parquet, or leave the column out"


class CsvHoldableSource:
    """A source whose bytes and texts are all UTF-8, so that its result can be CSV once it is paid for."""

    def __init__(self, source: Source) -> None:
        """Check the types.

        Raises:
            RequestError: A struct has two fields of one name, which JSON cannot have. Names the column.
        """
        self._source = source
        self.name = source.name
        self.schema = source.schema
        for field in self.schema:
            if name := _doubled_field(field.type):
                raise RequestError(
                    f"{self.name}: column {field.name!r} has two fields named {name!r}, which a CSV result cannot "
                    f"hold: {_ADVICE}."
                )
        self._places = [place for place, field in enumerate(self.schema) if _holds_texts(field.type)]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises:
            RequestError: A value is not UTF-8. Names column and row.
        """
        row = 0
        for batch in self._source.batches():
            for place in self._places:
                self._check(batch.schema.field(place).name, batch.column(place), row)
            yield batch
            row += batch.num_rows

    def _check(self, column: str, values: pa.Array, first_row: int) -> None:
        try:
            exactly(values, lambda some: with_leaves(some, _checked))
        except InexactError as error:
            raise RequestError(
                f"{self.name}: column {column!r}, row {first_row + error.position + 1} (counted from 1), holds bytes "
                f"that are not UTF-8, which a CSV result cannot hold: {_ADVICE}."
            ) from error


def _checked(leaf: pa.Array) -> pa.Array:
    """The leaf, once its texts and bytes are seen to be UTF-8."""
    kind = leaf.type
    if isinstance(kind, pa.BaseExtensionType):
        return leaf
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        leaf.validate(full=True)
    elif pa.types.is_fixed_size_binary(kind):
        leaf.cast(pa.binary()).cast(pa.string())
    elif _is_bytes(kind):
        leaf.cast(pa.large_string())
    return leaf


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _holds_texts(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if is_nested(kind):
        return any(_holds_texts(kind.field(index).type) for index in range(kind.num_fields))
    types = pa.types
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(is_text or _is_bytes(kind) or types.is_fixed_size_binary(kind))


def _doubled_field(kind: pa.DataType) -> str | None:
    if not is_nested(kind):
        return None
    fields = [kind.field(index) for index in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        twice = [name for name, count in Counter(field.name for field in fields).items() if count > 1]
        if twice:
            return str(twice[0])
    return next((name for field in fields if (name := _doubled_field(field.type)) is not None), None)
