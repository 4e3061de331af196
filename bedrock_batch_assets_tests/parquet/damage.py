"""Parts that are wrong, each in one way: with a footer that says something else, or with other pages below it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bedrock_batch_assets.parquet.thrift_compact import (
    I32,
    Elements,
    Field,
    Struct,
    decode_first_struct,
    decode_struct,
    encode_struct,
)

# Ids of fields in parquet.thrift. FileMetaData, RowGroup, ColumnChunk:
_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _COLUMNS, _GROUP_ROWS, _META_DATA = 2, 3, 4, 1, 3, 3
# SchemaElement and ColumnMetaData:
_REPETITION, _NAME, _CONVERTED_TYPE, _LOGICAL_TYPE = 3, 4, 6, 10
_TYPE, _PATH, _CODEC, _NUM_VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE = 1, 3, 4, 5, 6, 7, 9, 11
# PageHeader, DataPageHeader:
_PAGE_UNCOMPRESSED, _PAGE_COMPRESSED, _DATA_PAGE_HEADER, _PAGE_VALUES = 2, 3, 5, 1
_INT64 = 2
_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "ZSTD": 6}


@dataclass(frozen=True)
class Damage:
    """A damaged part. `is_in_footer`: its pages are as they were."""

    name: str
    data: bytes
    is_in_footer: bool


def damaged(part: bytes, column: str) -> Iterator[Damage]:
    """The part damaged in all ways that are known here: those of a column are done to `column`."""
    for name, change in _footer_changes(column):
        yield Damage(name, with_footer(part, change), is_in_footer=True)
    for name, data in _page_changes(part, column):
        yield Damage(name, data, is_in_footer=False)
    for name, data in _file_changes(part):
        yield Damage(name, data, is_in_footer=False)


def footer(part: bytes) -> Struct:
    """What the footer of a file says."""
    return decode_struct(part[-8 - int.from_bytes(part[-8:-4], "little") : -8])


def with_footer(part: bytes, change: Callable[[Struct], None]) -> bytes:
    """The file with a footer that was changed."""
    found = footer(part)
    change(found)
    data = encode_struct(found)
    return part[: -8 - int.from_bytes(part[-8:-4], "little")] + data + len(data).to_bytes(4, "little") + b"PAR1"


def metadata_of(file_metadata: Struct, column: str, group: int = 0) -> Struct:
    """`ColumnMetaData` of a leaf column, by its path with dots."""
    chunks = file_metadata[_ROW_GROUPS].value.values[group][_COLUMNS].value.values
    found: list[Struct] = [chunk[_META_DATA].value for chunk in chunks]
    return next(one for one in found if b".".join(one[_PATH].value.values).decode() == column)


def _add(struct: Struct, field: int, by: int) -> None:
    struct[field] = struct[field]._replace(value=struct[field].value + by)


def _footer_changes(column: str) -> Iterator[tuple[str, Callable[[Struct], None]]]:
    def of_column(field: int, by: int) -> Callable[[Struct], None]:
        return lambda found: _add(metadata_of(found, column), field, by)

    def of_group(by: int) -> Callable[[Struct], None]:
        return lambda found: _add(found[_ROW_GROUPS].value.values[0], _GROUP_ROWS, by)

    def all_rows(by: int) -> Callable[[Struct], None]:
        """A footer that is not at odds with itself."""

        def change(found: Struct) -> None:
            _add(found, _NUM_ROWS, by)
            group = found[_ROW_GROUPS].value.values[0]
            _add(group, _GROUP_ROWS, by)
            for chunk in group[_COLUMNS].value.values:
                _add(chunk[_META_DATA].value, _NUM_VALUES, by)

        return change

    def codec(name: str) -> Callable[[Struct], None]:
        def change(found: Struct) -> None:
            of = metadata_of(found, column)
            of[_CODEC] = Field(I32, _CODECS[name] if of[_CODEC].value != _CODECS[name] else _CODECS["GZIP"])

        return change

    def groups(change: Callable[[list[Struct]], list[Struct]]) -> Callable[[Struct], None]:
        def changed(found: Struct) -> None:
            kind, values = found[_ROW_GROUPS].value
            kept = change(values)
            found[_ROW_GROUPS] = found[_ROW_GROUPS]._replace(value=Elements(kind, kept))
            found[_NUM_ROWS] = found[_NUM_ROWS]._replace(value=sum(group[_GROUP_ROWS].value for group in kept))

        return changed

    def pages_of_another(found: Struct) -> None:
        of = metadata_of(found, column)
        chunks = found[_ROW_GROUPS].value.values[0][_COLUMNS].value.values
        other = next(chunk[_META_DATA].value for chunk in chunks if chunk[_META_DATA].value is not of)
        for field in {_CODEC, _NUM_VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE}:
            of[field], other[field] = other.get(field), of.get(field)
            for one in (of, other):
                if one[field] is None:
                    del one[field]

    def type_of_the_chunk(found: Struct) -> None:
        metadata_of(found, column)[_TYPE] = Field(I32, _INT64)

    def type_in_the_schema(found: Struct) -> None:
        name = column.rpartition(".")[2].encode()
        leaf = next(one for one in found[_SCHEMA].value.values if one[_NAME].value == name)
        leaf[_TYPE] = Field(I32, _INT64)

    def without(*fields: int) -> Callable[[Struct], None]:
        def change(found: Struct) -> None:
            name = column.rpartition(".")[2].encode()
            leaf = next(one for one in found[_SCHEMA].value.values if one[_NAME].value == name)
            for field in fields:
                leaf.pop(field, None)

        return change

    def never_null(found: Struct) -> None:
        name = column.partition(".")[0].encode()
        top = next(one for one in found[_SCHEMA].value.values if one[_NAME].value == name)
        top[_REPETITION] = Field(I32, 1 - top[_REPETITION].value)

    for by in (-1, 1, -50, 50):
        yield f"row count of the file {by:+}", partial(_add, field=_NUM_ROWS, by=by)
        yield f"row count of a row group {by:+}", of_group(by)
        yield f"row counts everywhere {by:+}", all_rows(by)
        yield f"num_values {by:+}", of_column(_NUM_VALUES, by)
    for by in (-1, 1, 7, 100_000, -100_000):
        yield f"data page offset {by:+}", of_column(_DATA_PAGE, by)
        yield f"size {by:+}", of_column(_COMPRESSED, by)
    for name in _CODECS:
        yield f"codec {name}", codec(name)
    yield "a row group is not named", groups(lambda values: values[1:])
    yield "a row group is named twice", groups(lambda values: [values[0], *values])
    yield "row groups in another order", groups(lambda values: values[::-1])
    yield "pages of another column", pages_of_another
    yield "type of the column chunk", type_of_the_chunk
    yield "type in the schema", type_in_the_schema
    yield "null or not", never_null
    if "." not in column:
        yield "logical type", without(_CONVERTED_TYPE, _LOGICAL_TYPE)


def _page_changes(part: bytes, column: str) -> Iterator[tuple[str, bytes]]:
    of = metadata_of(footer(part), column)
    first = of[_DATA_PAGE].value
    end = min(first, of[_DICTIONARY_PAGE].value if _DICTIONARY_PAGE in of else first) + of[_COMPRESSED].value
    header, header_size = decode_first_struct(part[first:end])

    def replaced(new: bytes) -> bytes:
        """With other bytes in the place of the first data page's header, and the footer moved as need be."""
        moved = len(new) - header_size

        def move(found: Struct) -> None:
            _add(metadata_of(found, column), _COMPRESSED, moved)
            _add(metadata_of(found, column), _UNCOMPRESSED, moved)
            for group in found[_ROW_GROUPS].value.values:
                for chunk in group[_COLUMNS].value.values:
                    for field in (_DATA_PAGE, _DICTIONARY_PAGE):
                        if field in chunk[_META_DATA].value and chunk[_META_DATA].value[field].value > first:
                            _add(chunk[_META_DATA].value, field, moved)

        return with_footer(part[:first] + new + part[first + header_size :], move)

    def with_values(by: int) -> bytes:
        """A page and its column that agree on another number of values."""
        return with_footer(
            with_header(_PAGE_VALUES, by, of_data=True), lambda found: _add(metadata_of(found, column), _NUM_VALUES, by)
        )

    def with_header(field: int, by: int, *, of_data: bool = False) -> bytes:
        changed = decode_struct(encode_struct(header))
        _add(changed[_DATA_PAGE_HEADER].value if of_data else changed, field, by)
        return replaced(encode_struct(changed))

    for by in (-1, 1, 50):
        yield f"num_values of a page and its column {by:+}", with_values(by)
        yield f"num_values of a page {by:+}", with_header(_PAGE_VALUES, by, of_data=True)
        yield f"size of a page {by:+}", with_header(_PAGE_COMPRESSED, by)
        yield f"uncompressed size of a page {by:+}", with_header(_PAGE_UNCOMPRESSED, by)
    yield "a page of negative size", with_header(_PAGE_COMPRESSED, -header[_PAGE_COMPRESSED].value - header_size)
    yield "zeros for the first page", part[:first] + bytes(end - first) + part[end:]
    yield "ones for the first page", part[:first] + b"\xff" * (end - first) + part[end:]
    yield "a page is missing", part[:first] + part[end:]
    yield "a page is there twice", part[:end] + part[first:end] + part[end:]


def _file_changes(part: bytes) -> Iterator[tuple[str, bytes]]:
    for share in (0.0, 0.1, 0.5, 0.9):
        yield f"cut off after {share:.0%}", part[: int(len(part) * share)]
    yield "cut off by one byte", part[:-1]
    yield "begins one byte later", part[1:]
    yield "longer by one byte", part + b"\0"
    yield "no first bytes", b"PAR1" + part[104:]
    yield "a hole in the middle", part[: len(part) // 2] + part[len(part) // 2 + 40 :]
    yield "the footer twice", part + part[-8 - int.from_bytes(part[-8:-4], "little") :]
    yield "a footer of no length", part[:-8] + bytes(4) + b"PAR1"
    yield "a footer of any length", part[:-8] + b"\xff" * 4 + b"PAR1"
    yield "text", b"record_status\nok\n"
